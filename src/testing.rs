//! The internals that the tests under tests/ and the benchmarks use, under their internal paths. This is no
//! interface for anybody else: it changes with the internals.

/// What the fuzzer calls: integration/fuzz.
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../integration/fuzz/targets/mod.rs"]
pub mod fuzz;

pub mod bundle {
    pub use crate::bundle::{TemplateTarget, read_config, read_process, write_template};
}

pub mod cgroup {
    pub use crate::cgroup::{Group, Manager, Plan};

    pub mod live {
        pub mod oom {
            pub use crate::cgroup::live::oom::{OomEvent, OomWatch};
        }
    }

    pub mod plan {
        pub use crate::cgroup::plan::{Request, new_group, update};

        pub mod systemd {
            pub use crate::cgroup::plan::systemd::{Property, Unit};

            pub mod properties {
                pub use crate::cgroup::plan::systemd::properties::unit_properties;
            }
        }
    }

    pub mod systemd {
        pub mod client {
            pub use crate::cgroup::systemd::client::Client;
        }
    }
}

pub mod container_id {
    pub use crate::container_id::ContainerId;
}

pub mod error {
    pub use crate::error::{Error, Kind};
}

pub mod host {
    pub use crate::host::Facts;

    pub mod cgroup {
        pub use crate::host::cgroup::{Layout, Mode, Unified};
    }

    pub mod probe {
        pub mod cgroup {
            pub use crate::host::probe::cgroup::{read_layout, with_controllers};
        }

        pub mod resctrl {
            pub use crate::host::probe::resctrl::read_resctrl;
        }
    }
}

pub mod image {
    pub mod archive {
        pub use crate::image::archive::{Archive, Entry, EntryKind, Input};
    }

    pub mod blob {
        pub mod compression {
            pub use crate::image::blob::compression::{Compression, Decompressed};
        }

        pub mod digest {
            pub use crate::image::blob::digest::{Hasher, VerifyingReader, sha256_of};
        }
    }

    pub mod bundle {
        pub mod seccomp {
            pub use crate::image::bundle::seccomp::default_profile;
        }
    }

    pub mod document {
        pub mod manifest {
            pub use crate::image::document::manifest::read_image;
        }
    }

    pub mod source {
        pub use crate::image::source::{ImageSource, ref_name};

        pub mod layout {
            pub use crate::image::source::layout::Layout;
        }
    }
}

pub mod init {
    pub mod console {
        pub use crate::init::console::set_up;
    }

    pub mod hook {
        pub use crate::init::hook::{HookError, HookOptions, Output, run_all};
    }
}

pub mod inroot {
    pub use crate::inroot::Root;
}

pub mod launch {
    pub mod console {
        pub use crate::launch::console::{Console, Incoming, adopt};
    }

    pub mod foreground {
        pub use crate::launch::foreground::Foreground;
    }

    pub mod rdt {
        pub use crate::launch::rdt::{join, make, remove, to_record};
    }
}

pub mod lifecycle {
    pub mod options {
        pub use crate::lifecycle::options::{
            CgroupsMode, Checkpoint, Create, Criu, Delete, Events, Exec, Explain, Kill, Plan, Restore,
            Rootless, Run, Spec, Targets, Update,
        };
    }
}

pub mod log {
    pub use crate::log::Level;
}

pub mod plan {
    pub use crate::plan::{Request, plan_container};

    pub mod service_manager {
        pub use crate::plan::service_manager::Activation;
    }

    pub mod capabilities {
        pub use crate::plan::capabilities::{bit, names};
    }

    pub mod hooks {
        pub use crate::plan::hooks::Hook;
    }

    pub mod rdt {
        pub use crate::plan::rdt::{Rdt, plan_rdt};
    }

    pub mod seccomp {
        pub use crate::plan::seccomp::{Filter, compile};
    }
}

pub mod spec {
    pub use crate::spec::{
        CheckedSpec, check_process, parse, parse_alone, parse_process, parse_resources, template,
    };
}
