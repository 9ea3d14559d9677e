//! The functions that the fuzzer calls with bytes of its own (`integration/fuzz/run`), one for each thing that tare reads from
//! somebody it does not trust. A function panics where what it was promised does not hold; most of them also
//! compare two ways to the same answer. They are part of the crate, with the feature `fuzzing` and in its unit
//! tests, so that they reach what is private to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archives;
mod configuration;
mod image_documents;
mod indexes;
mod kernel_files;
mod layers;
mod messages;
mod paths;
mod registry;
mod seccomp;
mod state;
mod words;

/// What takes the bytes.
pub type Target = fn(&[u8]);

/// Each target by its name, which is also that of its directory in integration/fuzz/corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archives::archive),
    ("capability_and_ids", words::capability_and_ids),
    ("configuration", configuration::configuration),
    ("credentials", registry::credentials),
    ("criu", messages::criu),
    ("group_files", kernel_files::group_files),
    ("handshake", messages::handshake),
    ("image_document", image_documents::image_document),
    ("indexes", indexes::indexes),
    ("layers", layers::layers),
    ("mount_options", words::mount_options),
    ("mountinfo", kernel_files::mountinfo),
    ("path", paths::path),
    ("process", configuration::process),
    ("references", words::references),
    ("registry_answer", registry::answer),
    ("resources", configuration::resources),
    ("seccomp", seccomp::seccomp),
    ("state", state::state),
    ("users", words::users),
];

/// Returns the target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Splits the input at its first zero byte; the second part is empty where there is none.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..at], input.get(at + 1..).unwrap_or_default())
}

#[cfg(test)]
mod replay;
