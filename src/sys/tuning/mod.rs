//! What is there for speed or size alone, behind the feature `tuning`. Without it everything works the same, by the C
//! library's own start and heap. `make` switches it on; build.rs refuses it where it would not be sound.

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
