//! User namespaces: mappings of ids, and a namespace for users without privileges to unpack in.

pub(crate) mod mapping;
pub(crate) mod namespace;
