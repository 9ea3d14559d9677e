//! The device filter put into force: `list` writes it to the v1 interface, `program` makes the v2 eBPF program of it,
//! and `attach` sets either.

pub(super) mod attach;
mod list;
mod program;
