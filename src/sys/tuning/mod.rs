//! Everything that is only for speed or size, behind the feature `tuning`. Without it everything works in the
//! same way, with the C library's own start and heap. `make` switches it on; build.rs refuses it if it would
//! not be sound.
//!
//! Each trick, and what a release without it costs (musl, static; CPU time is user and system, medians of 300
//! alternating calls of `run` with Docker's configuration):
//!
//! | trick | without it |
//! |---|---|
//! | [`early_seal`]: the first instructions execute the read-only clone | 3.4 % more CPU time for `run` |
//! | `integration/layout/order.ld`: code that runs is adjacent | 2.7 % for `run`, 8 % for `list` |
//! | both of these | 6 % for `run` |
//! | `heap`: dlmalloc in place of musl's allocator | 40 system calls and 0.2 ms more for `run`, 4 % |
//! | `pages`: a container that waits gives memory back | 920 KiB in place of 108 |
//! | `no_unwinding.ld`: no tables for panics, which abort a release | 200 KiB, 6 % of the binary |

#[cfg(feature = "tuning")]
pub mod early_seal;
#[cfg(feature = "tuning")]
mod heap;
#[cfg(feature = "tuning")]
mod pages;

#[cfg(feature = "tuning")]
pub(crate) use pages::read_byte_releasing_pages;

#[cfg(not(feature = "tuning"))]
pub(crate) use super::file::read_byte as read_byte_releasing_pages;
