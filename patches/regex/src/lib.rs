//! What `oci-spec` asks of the crate `regex`, answered by `regex-lite`.
//!
//! `oci-spec` has two expressions, both ASCII: the CPU lists of `execCPUAffinity`, and the names of images. For these the
//! large engine with its Unicode tables would be a seventh of `tare`, and no feature of `oci-spec` leaves it out.

pub use regex_lite::{Regex, RegexBuilder};
