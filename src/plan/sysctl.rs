//! `linux.sysctl`: kernel parameters as files below /proc/sys and what is written to them.

use std::ffi::CString;

use oci_spec::runtime::Linux;

use super::c_string::c_string;
use super::namespaces::Namespace;
use crate::error::{Faults, Result};
use crate::spec::ConfigError;
use crate::spec::sysctl::dotted;

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// As the configuration spells it.
    pub key: String,
    /// Below /proc/sys.
    pub file: CString,
    pub value: Vec<u8>,
    /// The namespace that the parameter belongs to.
    pub namespace: Namespace,
}

/// Plans the parameters in the order of their names: the configuration's has no order.
pub(super) fn plan_sysctls(linux: Option<&Linux>) -> Result<Vec<Sysctl>> {
    let parameters = linux.and_then(|linux| linux.sysctl().as_ref());
    let mut sorted: Vec<_> = parameters.into_iter().flatten().collect();
    sorted.sort();
    Faults::collect(sorted.into_iter().map(|(key, value)| sysctl(key, value)))
}

fn sysctl(key: &str, value: &str) -> Result<Sysctl, ConfigError> {
    // In a name with dots, a slash stands for a dot within a part. So the two are swapped for the file's
    // path.
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let name = dotted(key);
    let file: String = name.chars().map(swap).collect();
    let file = c_string(file, || format!("/linux/sysctl/{key}"))?;
    Ok(Sysctl { key: key.into(), file, value: value.into(), namespace: namespace(&name) })
}

/// Returns the namespace that the parameter `name` (with dots) belongs to. The rules of the configuration
/// refuse all others.
fn namespace(name: &str) -> Namespace {
    match name.split_once('.') {
        Some(("net", _)) => Namespace::NETWORK,
        Some(("user", _)) => Namespace::USER,
        Some(("kernel", "domainname")) => Namespace::UTS,
        _ => Namespace::IPC,
    }
}
