//! config.json: loading, located errors, rules that need no host, the `spec` template.
//!
//! The happy path is one read and one pass over the bytes. What other runtimes read and the `oci-spec` types do not
//! is mended in [`lenient`], diagnostics get their place from [`locate`], and each object has its rules in a file of its
//! name. A [`Checked`] is a document that went through all of them.

mod absent;
mod block_io;
mod capability;
pub(crate) mod cpu_list;
mod devices;
mod document;
mod diagnostics;
mod config_error;
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
mod needs;
mod net_devices;
mod nul;
mod process;
mod rdt;
mod read;
mod resources;
mod root;
mod scheduling;
mod strict;
pub(crate) mod sysctl;
mod template;
mod tree;
mod type_messages;

use std::ops::Deref;

use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::error::Result;
use diagnostics::Diagnostics;
use json_pointer::JsonPointer;

pub(crate) use capability::capability;
pub(crate) use config_error::ConfigError;
pub use template::template;
pub(crate) use template::{MASKED, READONLY};

/// The version of the runtime specification that tare implements. Not `oci_spec::runtime::VERSION`, which lags.
pub(crate) const VERSION: &str = "1.3.0";

/// A configuration that keeps every rule which needs no host. Empty strings that mean "not given" are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Boxed: several KiB.
    spec: Box<Spec>,
    /// What is odd but no reason to refuse, each with its JSON pointer: for the log.
    pub warnings: Vec<String>,
}

impl Deref for Checked {
    type Target = Spec;

    fn deref(&self) -> &Spec {
        &self.spec
    }
}

/// The configuration in `bytes`, for making a container of it.
pub fn parse(bytes: &[u8]) -> Result<Checked> {
    check(bytes, |spec, diagnostics| {
        root::rules(spec, diagnostics);
        needs::rules(spec, diagnostics);
    })
}

/// The document in `bytes`, judged alone: also one that lacks what a container needs, such as a process, which
/// the specification asks for only when it is started.
pub fn document(bytes: &[u8]) -> Result<Checked> {
    check(bytes, root::rules)
}

fn check(bytes: &[u8], rules: impl Fn(&Spec, &mut Diagnostics)) -> Result<Checked> {
    let mut diagnostics = Diagnostics::default();
    let mut spec: Box<Spec> = read::document(bytes, &mut diagnostics)?;
    absent::empty_to_none(&mut spec, bytes, &mut diagnostics);
    rules(&spec, &mut diagnostics);
    nul::config(bytes, &mut diagnostics);
    let warnings = diagnostics.into_result(Some(bytes))?;
    Ok(Checked { spec, warnings })
}

/// The process in `bytes`.
pub fn parse_process(bytes: &[u8]) -> Result<(Process, Vec<String>)> {
    let mut diagnostics = Diagnostics::default();
    let mut process: Process = *read::document(bytes, &mut diagnostics)?;
    absent::process(&mut process);
    process::rules(&process, &JsonPointer::ROOT, &mut diagnostics);
    nul::whole(bytes, &mut diagnostics);
    Ok((process, diagnostics.into_result(Some(bytes))?))
}

/// The resources in `bytes`, a document of their own (`update --resources`), with the warnings about them.
pub fn parse_resources(bytes: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    let mut diagnostics = Diagnostics::default();
    let mut resources: LinuxResources = *read::document(bytes, &mut diagnostics)?;
    absent::resources(&mut resources, &JsonPointer::ROOT, bytes, &mut diagnostics);
    resources::rules(&resources, &JsonPointer::ROOT, &mut diagnostics);
    nul::whole(bytes, &mut diagnostics);
    Ok((resources, diagnostics.into_result(Some(bytes))?))
}

/// The rules for a process that was put together from flags.
pub fn check_process(process: &Process) -> Result<()> {
    let mut diagnostics = Diagnostics::default();
    process::rules(process, &JsonPointer::ROOT, &mut diagnostics);
    diagnostics.into_result(None).map(drop)
}
