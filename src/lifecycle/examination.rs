//! Finds everything that is wrong with a configuration on this host: in the document itself, and in the plan.
//! It uses the rules and the plan of `create`, but does not stop at the first fault.

use std::path::Path;

use crate::bundle;
use crate::error::printable::counted;
use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::host::Facts;
use crate::host::probe::{Needed, NeededCgroup, read_facts};
use crate::plan::seccomp::{self, system_calls};
use crate::plan::{Request, plan_or_warn};
use crate::spec::{self, ConfigError, Examined, Removed, spelling};

/// How many faults or warnings are reported at most: nobody reads more, and each one is compared with the
/// others.
const MOST_TOLD: usize = 500;

/// The result of an examination.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    /// Reasons why no container would be made.
    pub faults: Vec<ConfigError>,
    /// Parts of the configuration that the container would be made without.
    pub losses: Vec<ConfigError>,
    /// The configuration without the parts that cannot be read. `None` if nothing can be read.
    pub spec: Option<Box<oci_spec::runtime::Spec>>,
    /// The parts of the text that `spec` is without.
    pub removed: Removed,
    /// What would be done with control groups. `None` if the plan was refused.
    pub cgroup: Option<crate::cgroup::Plan>,
}

/// Examines the configuration `bytes`.
pub(crate) fn examine(bytes: &[u8], facts: &Facts, request: &Request<'_>) -> Examination {
    let Examined { spec, errors, warnings, unknown, removed } = spec::examine(bytes);
    let mut found = Examination { faults: errors, ..Examination::default() };
    found.losses = unknown.into_iter().chain(warnings.iter().map(|warning| located(warning))).collect();
    let Some(spec) = spec else { return found };
    // If a namespace could not be read, the plan is for another container, and its faults are not reported.
    let hides = |fault: &ConfigError| fault.concerns("/linux/namespaces") && !fault.has_guess();
    let is_whole = !found.faults.iter().any(hides);
    let mut warnings = Vec::new();
    let placed = |text: &str| {
        let ConfigError { pointer, message } = located(text);
        ConfigError::new(removed.original(&pointer), with_system_call(message))
    };
    let planned = plan_or_warn(&spec, facts, request, &mut warnings);
    let planned = planned.map(|plan| found.cgroup = Some(plan.cgroup));
    let parts = planned.err().into_iter().flat_map(Error::parts).take(MOST_TOLD);
    for fault in parts.map(|part| placed(&part.to_string())) {
        // The plan fails again at fields that the rules have already reported.
        if !found.faults.iter().any(|told| told.concerns(&fault.pointer)) {
            found.faults.push(fault);
        }
    }
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    warnings.extend(profile.into_iter().flat_map(|profile| seccomp::warnings(profile, facts.seccomp_flags)));
    if is_whole {
        found.losses.extend(warnings.iter().take(MOST_TOLD).map(|warning| placed(warning)));
        if let Some(more) = warnings.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            found.losses.push(ConfigError::new("", format!("and {}", counted(more, "more warning"))));
        }
    }
    found.spec = Some(spec);
    found.removed = removed;
    found
}

/// Splits a sentence that begins with the pointer of its field.
fn located(sentence: &str) -> ConfigError {
    match sentence.split_once(": ").filter(|(pointer, _)| pointer.starts_with('/')) {
        // `/linux/resources/memory/swappiness has no effect`.
        Some((pointer, message)) => match pointer.split_once(" has no effect") {
            Some((pointer, "")) => ConfigError::new(pointer, format!("has no effect: {message}")),
            // The sentence is about the document itself.
            _ => ConfigError::new(pointer.trim_end_matches('/'), message),
        },
        None => ConfigError::new("", sentence),
    }
}

/// Adds a suggestion for a misspelt system call. The search takes too long for the plan of every container,
/// so it is done only here.
fn with_system_call(message: String) -> String {
    let meant = message.strip_prefix("no such system call, skipped: ");
    let meant = meant.and_then(|name| spelling::nearest(name, system_calls()));
    let hint = spelling::hint(meant);
    message + &hint
}

/// Reads all facts of this host that a plan can depend on.
pub(crate) fn all_facts() -> Result<Facts> {
    read_facts(Needed { cgroup: NeededCgroup::OwnGroup, seccomp: true, resctrl: true, labels: true })
}

/// Makes the error of a refused configuration, with its other errors: in the plan, in the rootfs, and in
/// names that are probably misspelt. Returns `refusal` if there is nothing to add.
#[cold]
#[inline(never)]
pub(super) fn all_faults(
    refusal: Error,
    path: &Path,
    request: &Request<'_>,
    facts: impl FnOnce() -> Result<Facts>,
) -> Error {
    if refusal.kind() != Kind::Spec {
        return refusal;
    }
    let Ok((bytes, facts)) = bundle::read_config_bytes(path).and_then(|bytes| Ok((bytes, facts()?))) else {
        return refusal;
    };
    let mut found = examine(&bytes, &facts, request);
    let Some(spec) = &found.spec else { return refusal };
    found.faults.extend(missing_rootfs(spec, &request.bundle));
    let is_misspelt = |loss: &ConfigError| loss.message.starts_with("no such member (did you mean");
    let misspelt: Vec<_> = found.losses.into_iter().filter(is_misspelt).collect();
    found.faults.extend(misspelt);
    let file = path.file_name().unwrap_or_default().display().to_string();
    let file = if file == bundle::CONFIG { file } else { path.display().to_string() };
    fail!(Kind::Spec, "{file}: {}", spec::sentences(&found.faults, Some(&bytes)))
}

/// Returns the error of a rootfs that does not exist or is not a directory.
pub(crate) fn missing_rootfs(spec: &oci_spec::runtime::Spec, bundle: &Path) -> Option<ConfigError> {
    let root = spec.root().as_ref().filter(|root| !root.path().as_os_str().is_empty())?;
    let path = bundle.join(root.path());
    let why = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => format!("rootfs is not a directory: {}", path.display()),
        Err(error) => format!("rootfs {}: {}", path.display(), Error::from(error)),
    };
    Some(ConfigError::new("/root/path", why))
}
