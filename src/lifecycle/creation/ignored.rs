//! Members of a configuration that nobody reads. Runtimes ignore them, as the specification says, so nobody hears
//! of a misspelt one. `check` tells them all; a creation tells them to the debug log, and in a hint where it has
//! failed without one.

use std::path::Path;

use crate::error::Error;
use crate::log::{self, Level};
use crate::spec::{self, ConfigError};

/// How many are named in a hint.
const MOST_NAMED: usize = 3;

/// Tells the debug log. The configuration is read again for it, and only where somebody reads that log.
pub(super) fn tell(config: &[u8]) {
    if !log::enabled(Level::Debug) {
        return;
    }
    for ConfigError { pointer, message } in spec::examine(config).unknown {
        log::debug(format_args!("config.json: {pointer}: ignored: {message}"));
    }
}

/// Adds a hint to the error of a creation that has none: a member that is ignored may be the reason.
#[cold]
pub(super) fn with_hint(error: Error, config: &[u8], bundle: &Path) -> Error {
    let unknown = if error.hint().is_none() { spec::examine(config).unknown } else { Vec::new() };
    let named: Vec<_> = unknown.iter().take(MOST_NAMED).map(|member| member.pointer.as_str()).collect();
    let (names, bundle) = (named.join(", "), bundle.display());
    match unknown.len() {
        0 => error,
        1 => error
            .with_hint(format!("{names} of config.json is read by nobody: `tare check {bundle}` says more")),
        count if count > MOST_NAMED => error.with_hint(format!(
            "{count} members of config.json are read by nobody, {names} among them: `tare check {bundle}` says more"
        )),
        _ => error
            .with_hint(format!("{names} of config.json are read by nobody: `tare check {bundle}` says more")),
    }
}
