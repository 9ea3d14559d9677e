//! Puts the device filter into force: `list` writes it to the v1 interface, `program` makes the v2 eBPF
//! program, and `attach` sets either.

pub(super) mod attach;
mod list;
mod program;
