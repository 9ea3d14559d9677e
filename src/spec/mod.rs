//! config.json: parsing, located errors, rules that need no host, the `spec` template.
//!
//! The usual case is one pass over the bytes. [`lenient`] mends what other runtimes accept and the `oci-spec`
//! types do not, [`locate`] finds the places of errors, and each object has its rules in a file of its name.
//! A [`CheckedSpec`] is a document that has passed all of them.

mod block_io;
mod capability;
mod config_error;
mod container_requirements;
pub(crate) mod cpu_list;
mod devices;
mod diagnostics;
mod document;
mod empty_values;
mod hooks;
mod json_pointer;
mod lenient;
mod linux;
mod locate;
mod mappings;
mod memory_policy;
pub(crate) mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod nul_characters;
mod process;
mod rdt;
mod read;
mod removed;
mod resources;
mod root;
mod scheduling;
pub(crate) mod spelling;
pub(crate) mod strict;
pub(crate) mod sysctl;
mod template;
mod tree;
mod type_messages;

use std::ops::Deref;

use oci_spec::runtime::{LinuxBuilder, LinuxResources, LinuxSeccomp, Process, Spec};

use crate::error::Result;
use diagnostics::Diagnostics;
use json_pointer::JsonPointer;

pub(crate) use capability::parse_capability;
pub(crate) use config_error::ConfigError;
pub(crate) use diagnostics::sentences;
pub(crate) use locate::Places;
pub(crate) use removed::Removed;
pub use template::template;
pub(crate) use template::{MASKED, READONLY};
pub(crate) use tree::escape;

/// The version of the runtime specification that tare implements. Not `oci_spec::runtime::VERSION`, which
/// lags.
pub(crate) const VERSION: &str = "1.3.0";

/// A configuration that obeys every rule that needs no host. Empty strings that mean "not given" are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSpec {
    /// Boxed: several KiB.
    spec: Box<Spec>,
    /// Oddities that are no reason to refuse, each with its JSON pointer, for the log.
    pub warnings: Vec<String>,
}

impl Deref for CheckedSpec {
    type Target = Spec;

    fn deref(&self) -> &Spec {
        &self.spec
    }
}

impl CheckedSpec {
    /// Replaces `linux.seccomp` by a profile that has been parsed by the same rules.
    pub(crate) fn set_seccomp(&mut self, profile: LinuxSeccomp) {
        // Not `Linux::default`, which has namespaces.
        let empty = || {
            LinuxBuilder::default().build().ok().map(|mut linux| {
                linux.set_namespaces(None);
                linux
            })
        };
        if let Some(mut linux) = self.spec.linux().clone().or_else(empty) {
            linux.set_seccomp(Some(profile));
            self.spec.set_linux(Some(linux));
        }
    }
}

/// Parses the configuration in `bytes`, of which a container will be made.
pub fn parse(bytes: &[u8]) -> Result<CheckedSpec> {
    check(bytes, container_rules)
}

/// Parses the document in `bytes` by itself. It may lack what a container needs, such as a process, which the
/// specification requires only at the start.
pub fn parse_alone(bytes: &[u8]) -> Result<CheckedSpec> {
    check(bytes, root::rules)
}

fn check(bytes: &[u8], rules: impl Fn(&Spec, &mut Diagnostics)) -> Result<CheckedSpec> {
    let mut diagnostics = Diagnostics::default();
    let read: Option<Box<Spec>> = read::read_document(bytes, &mut diagnostics)?;
    let spec = read.map(|spec| judge(spec, bytes, rules, &mut diagnostics));
    let warnings = diagnostics.into_result(Some(bytes))?;
    spec.map(|spec| CheckedSpec { spec, warnings }).ok_or_else(read::unreadable)
}

fn judge(
    mut spec: Box<Spec>,
    bytes: &[u8],
    rules: impl Fn(&Spec, &mut Diagnostics),
    diagnostics: &mut Diagnostics,
) -> Box<Spec> {
    empty_values::empty_to_none(&mut spec, bytes, diagnostics);
    rules(&spec, diagnostics);
    nul_characters::config(bytes, diagnostics);
    spec
}

/// Everything that can be said about a configuration by itself.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// The readable part, whatever is wrong with the rest.
    pub spec: Option<Box<Spec>>,
    pub errors: Vec<ConfigError>,
    /// Each begins with a JSON pointer.
    pub warnings: Vec<String>,
    /// Members that nobody reads, and names that occur twice.
    pub unknown: Vec<ConfigError>,
    /// The parts of the text that `spec` lacks.
    pub removed: Removed,
}

/// Parses like [`parse`], but reports everything: it is slower, and continues where that one fails.
pub(crate) fn examine(bytes: &[u8]) -> Examined {
    let mut diagnostics = Diagnostics::default();
    let spec = match read::examine::<Spec>(bytes, &mut diagnostics) {
        Err(error) => {
            let errors = vec![ConfigError::new("", error.to_string())];
            return Examined { errors, ..Examined::default() };
        }
        Ok(spec) => spec.map(|spec| judge(spec, bytes, container_rules, &mut diagnostics)),
    };
    let Diagnostics { errors, warnings, unknown, removed, .. } = diagnostics;
    Examined { spec, errors, warnings, unknown, removed }
}

fn container_rules(spec: &Spec, diagnostics: &mut Diagnostics) {
    root::rules(spec, diagnostics);
    container_requirements::rules(spec, diagnostics);
}

/// Parses the process in `bytes`.
pub fn parse_process(bytes: &[u8]) -> Result<(Process, Vec<String>)> {
    let mut diagnostics = Diagnostics::default();
    let mut process: Option<Box<Process>> = read::read_document(bytes, &mut diagnostics)?;
    if let Some(process) = &mut process {
        empty_values::process(process);
        process::rules(process, &JsonPointer::ROOT, &mut diagnostics);
        nul_characters::whole(bytes, &mut diagnostics);
    }
    let warnings = diagnostics.into_result(Some(bytes))?;
    process.map(|process| (*process, warnings)).ok_or_else(read::unreadable)
}

/// Parses the resources in `bytes`, a document of their own (`update --resources`). Also returns the
/// warnings.
pub fn parse_resources(bytes: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    let mut diagnostics = Diagnostics::default();
    let mut resources: Option<Box<LinuxResources>> = read::read_document(bytes, &mut diagnostics)?;
    if let Some(resources) = &mut resources {
        empty_values::resources(resources, &JsonPointer::ROOT, bytes, &mut diagnostics);
        resources::rules(resources, &JsonPointer::ROOT, &mut diagnostics);
        nul_characters::whole(bytes, &mut diagnostics);
    }
    let warnings = diagnostics.into_result(Some(bytes))?;
    resources.map(|resources| (*resources, warnings)).ok_or_else(read::unreadable)
}

/// Checks a process that was made from flags.
pub fn check_process(process: &Process) -> Result<()> {
    let mut diagnostics = Diagnostics::default();
    process::rules(process, &JsonPointer::ROOT, &mut diagnostics);
    diagnostics.into_result(None).map(drop)
}
