//! What a group has used: the numbers of `events`, in the JSON that runc gave them.
//!
//! Members that Go leaves out when they are zero are left out here too; times are nanoseconds, sizes bytes, and the
//! largest number is "no limit".

mod model;
mod read;
mod sample;
mod v1;
mod v2;

pub(crate) use model::*;
