//! User namespaces: which ids there are, and unpacking inside one without privileges.

pub mod mapping;
pub mod namespace;
