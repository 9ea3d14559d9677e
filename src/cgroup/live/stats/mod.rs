//! The statistics of a group: the numbers of `events`, in runc's JSON.
//!
//! Members that Go leaves out at zero are left out here too. Times are in nanoseconds, sizes in bytes, and
//! the largest number means "no limit".

mod model;
pub(crate) mod read;
mod sample;
mod v1;
mod v2;

pub(crate) use model::*;
