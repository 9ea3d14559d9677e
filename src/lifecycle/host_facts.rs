//! The facts of a host as a document: `features --facts` writes it, `plan --facts` reads it on another host.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::examination::all_facts;
use super::load;
use super::options::{Globals, Rootless};
use crate::bundle::read_config_bytes;
use crate::error::{Kind, Result};
use crate::fail;
use crate::host::Facts;

/// The document. A member that is missing or unknown is an error: the plan would be for no host at all.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostFacts {
    /// The name from `uname -m`, without the variants of a family.
    pub architecture: String,
    /// What `--rootless auto` means for the user who wrote the document.
    pub rootless: bool,
    pub facts: Facts,
}

impl HostFacts {
    pub(crate) fn of_this_host(globals: &Globals) -> Result<Self> {
        Ok(Self {
            architecture: std::env::consts::ARCH.to_owned(),
            rootless: load::rootless(globals, globals.cgroup_manager)?,
            facts: all_facts()?,
        })
    }

    /// Reads the document in the file `path`.
    ///
    /// # Errors
    /// Also for a host of another architecture: system calls have other numbers there.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = read_config_bytes(path)?;
        let host: Self = serde_json::from_slice(&bytes).map_err(|error| {
            fail!(Kind::Spec, "{}: {error}", path.display())
                .with_hint("`tare features --facts` writes such a file")
        })?;
        match &*host.architecture {
            std::env::consts::ARCH => Ok(host),
            other => Err(fail!(
                Kind::Unsupported,
                "{}: the facts of a host of {other}: this tare plans for {}",
                path.display(),
                std::env::consts::ARCH
            )),
        }
    }

    /// Whether the container is rootless on that host.
    pub(crate) fn rootless(&self, globals: &Globals) -> bool {
        match globals.rootless {
            Rootless::Yes => true,
            Rootless::No => false,
            Rootless::Auto => self.rootless,
        }
    }
}
