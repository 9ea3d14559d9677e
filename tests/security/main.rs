//! Known attacks on container runtimes, each as an attempt that must fail. Those that are about paths of the image are
//! in tests/rootfs/symlinks.rs, those about ids in tests/bad_input/ids.rs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod documents;
mod host_nodes;
mod leaked_descriptors;
mod older_kernels;
mod own_binary;
mod planted;
mod procfs;
mod racer;
mod races;
mod strangers;
mod swappers;
mod sweeps;
mod targets;

/// What integration/security/test switches off is not in what anybody runs.
#[test]
fn no_defence_can_be_switched_off() {
    let programs = [
        env!("CARGO_BIN_EXE_tare"),
        env!("CARGO_BIN_EXE_tare-image"),
        env!("CARGO_BIN_EXE_containerd-shim-tare-v2"),
    ];
    for program in programs {
        let bytes = std::fs::read(program).unwrap();
        assert!(!bytes.windows(9).any(|part| part == b"TARE_WEAK"), "{program} has the feature `weak`");
    }
}
