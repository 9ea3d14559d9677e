//! User namespaces: which ids there are, and unpacking inside one without privileges.

pub(crate) mod mapping;
pub(crate) mod namespace;
