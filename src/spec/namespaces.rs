//! The namespaces that a configuration names: rules about other fields depend on them.

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType as Type};

/// The namespaces of a configuration.
pub(super) struct Namespaces<'a>(&'a [LinuxNamespace]);

impl<'a> Namespaces<'a> {
    pub(super) fn new(linux: Option<&'a Linux>) -> Self {
        Self(linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default())
    }

    pub(super) fn find(&self, typ: Type) -> Option<&'a LinuxNamespace> {
        self.0.iter().find(|namespace| namespace.typ() == typ)
    }

    pub(super) fn has(&self, typ: Type) -> bool {
        self.find(typ).is_some()
    }

    /// Whether a namespace is joined by path, and not new.
    pub(super) fn joined(&self, typ: Type) -> bool {
        self.find(typ).is_some_and(|namespace| namespace.path().is_some())
    }
}
