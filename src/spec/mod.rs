//! config.json: loading, located errors, rules that need no host, the `spec` template.
//!
//! The happy path is one read and one pass over the bytes. What other runtimes read and the `oci-spec` types do not
//! is mended in [`lenient`], faults get their place from [`locate`], and each object has its rules in a file of its
//! name. A [`Checked`] is a document that went through all of them.

mod absent;
mod block_io;
pub mod cpuset;
mod devices;
mod fault;
mod hooks;
mod lenient;
mod linux;
mod locate;
mod mappings;
mod memory_policy;
pub mod mounts;
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
pub mod sysctl;
mod template;
mod tree;
mod words;

use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::error::{Context, Error, Kind, Result, matched};
use crate::fail;
use fault::{At, Faults};

pub use template::{MASKED, READONLY, Target, template, write_template};

/// The version of the runtime specification that tare implements. Not `oci_spec::runtime::VERSION`, which lags.
pub const VERSION: &str = "1.3.0";

/// The name of the configuration in a bundle.
pub const CONFIG: &str = "config.json";

/// The largest document that is read, in bytes. The largest known real ones have some 100 KiB.
pub const LARGEST: u64 = 16 << 20;

/// A configuration that keeps every rule which needs no host. Empty strings that mean "not given" are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Some KiB: moved by its address.
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

/// The configuration of `bundle`.
///
/// # Errors
/// Of kind `NotFound` if there is none; of kind `Spec` with all faults of the first sort met: no JSON, then members
/// of the wrong type, then broken rules.
pub fn load(bundle: &Path) -> Result<Checked> {
    load_with_bytes(bundle).map(|(checked, _)| checked)
}

/// The same, with the file as it is: for keeping a copy.
pub fn load_with_bytes(bundle: &Path) -> Result<(Checked, Vec<u8>)> {
    let path = bundle.join(CONFIG);
    let bytes = read_config(&path).map_err(|error| match error.errno() {
        Some(nix::errno::Errno::ENOENT) => Error::new(Kind::NotFound, matched::NO_CONFIG),
        _ => error,
    })?;
    parse(&bytes).context(CONFIG).map(|checked| (checked, bytes))
}

/// A configuration that is not its bundle's own, likewise.
pub fn load_from(path: &Path) -> Result<(Checked, Vec<u8>)> {
    let bytes = read_config(path)?;
    parse(&bytes).with_context(|| path.display().to_string()).map(|checked| (checked, bytes))
}

/// The configuration in `bytes`, for making a container of it.
pub fn parse(bytes: &[u8]) -> Result<Checked> {
    check(bytes, |spec, faults| {
        root::rules(spec, faults);
        needs::rules(spec, faults);
    })
}

/// The document in `bytes`, judged alone: also one that lacks what a container needs, such as a process, which
/// the specification asks for only when it is started.
pub fn document(bytes: &[u8]) -> Result<Checked> {
    check(bytes, root::rules)
}

fn check(bytes: &[u8], rules: impl Fn(&Spec, &mut Faults)) -> Result<Checked> {
    let mut faults = Faults::default();
    let mut spec: Box<Spec> = read::document(bytes, &mut faults)?;
    absent::settle(&mut spec, bytes, &mut faults);
    rules(&spec, &mut faults);
    nul::config(bytes, &mut faults);
    let warnings = faults.settle(Some(bytes))?;
    Ok(Checked { spec, warnings })
}

/// The process of `exec --process`, with the warnings about it.
pub fn load_process(path: &Path) -> Result<(Process, Vec<String>)> {
    let bytes = read_file(path)?;
    parse_process(&bytes).with_context(|| path.display().to_string())
}

/// The process in `bytes`.
pub fn parse_process(bytes: &[u8]) -> Result<(Process, Vec<String>)> {
    let mut faults = Faults::default();
    let mut process: Process = *read::document(bytes, &mut faults)?;
    absent::process(&mut process);
    process::rules(&process, &At::ROOT, &mut faults);
    nul::whole(bytes, &mut faults);
    Ok((process, faults.settle(Some(bytes))?))
}

/// The resources in `bytes`, a document of their own (`update --resources`), with the warnings about them.
pub fn parse_resources(bytes: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    let mut faults = Faults::default();
    let mut resources: LinuxResources = *read::document(bytes, &mut faults)?;
    absent::resources(&mut resources, &At::ROOT, bytes, &mut faults);
    resources::rules(&resources, &At::ROOT, &mut faults);
    nul::whole(bytes, &mut faults);
    Ok((resources, faults.settle(Some(bytes))?))
}

/// The rules for a process that was put together from flags.
pub fn check_process(process: &Process) -> Result<()> {
    let mut faults = Faults::default();
    process::rules(process, &At::ROOT, &mut faults);
    faults.settle(None).map(drop)
}

/// Whoever made the bundle may have put anything there: a fifo would hang us.
fn read_config(path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).with_context(doing)?;
    let metadata = file.metadata().with_context(doing)?;
    if metadata.file_type().is_fifo() {
        return Err(fail!(Kind::Spec, "{}: is a fifo, not a file", path.display()));
    }
    read_all(file, metadata.len(), path)
}

/// From any file: a pipe of the caller's too.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    read_all(file, size, path)
}

/// `size` is about what is expected.
fn read_all(file: File, size: u64, path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(LARGEST)).unwrap_or(0) + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes).with_context(doing)?;
    if bytes.len() as u64 > LARGEST {
        return Err(fail!(Kind::Spec, "{}: larger than {} MiB", path.display(), LARGEST >> 20));
    }
    Ok(bytes)
}
