//! Bad input, through the binary: one clear sentence that names the place, a failure, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod documents;
mod extremes;
mod fields;
mod ids;
mod paths;
mod verbs;

use std::time::{Duration, Instant};

use support::{Answer, Bundle};

/// Longer than any refusal may take, on a busy machine.
fn soon() -> Duration {
    support::timeout(5)
}

/// A refusal: a failure of one sentence with these words in it, soon.
#[track_caller]
fn refused(what: &str, words: &str, call: impl FnOnce() -> Answer) -> String {
    let started = Instant::now();
    let answer = call();
    assert!(started.elapsed() < soon(), "{what}: took {:?}", started.elapsed());
    assert!(answer.code == 1 || answer.code == 255, "{what}: {answer:?}");
    let message = answer.message();
    assert!(message.contains(words), "{what}: no {words:?} in {message:?}");
    assert!(!message.contains('\n') && !message.ends_with('.'), "{what}: no sentence of ours: {message:?}");
    assert!(!message.contains("panicked") && !answer.stderr.contains("panicked"), "{what}: {answer:?}");
    message
}

/// `create` and `run` refuse the bundle, and leave nothing.
#[track_caller]
fn bundle_is_refused(bundle: &Bundle, what: &str, words: &str) {
    for verb in ["create", "run"] {
        refused(&format!("{verb}: {what}"), words, || bundle.tare(&[verb, &bundle.id]));
    }
    bundle.leaves_nothing();
}
