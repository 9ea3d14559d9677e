//! The command line of a shim, in the notation of Go's `flag` package, as containerd writes it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, Kind, Result};

/// What containerd has asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// containerd's gRPC socket. It is part of the name of our own socket.
    pub(crate) address: String,
    pub(crate) publish_binary: String,
    pub(crate) bundle: String,
    pub(crate) socket: String,
    /// For a profiler, which this shim has not: it is taken, and nothing listens there.
    pub(crate) debug_socket: String,
    pub(crate) debug: bool,
    pub(crate) version: bool,
    pub(crate) info: bool,
    /// `start`, `delete` or nothing, which is to serve.
    pub(crate) action: String,
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// Returns an error for a flag that no shim has, or one without its value.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine> {
    let mut line = CommandLine::default();
    let mut words = arguments.into_iter().map(text);
    while let Some(word) = words.next() {
        let word = word?;
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            line.action = word;
            // Go's flags end at the first word that is none.
            return Ok(line);
        };
        let (name, value) =
            flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        match (is_switch(name), place(&mut line, name)) {
            (true, _) => set_switch(&mut line, name, value.as_deref())?,
            (false, Some(place)) => {
                *place = match value {
                    Some(value) => value,
                    None => {
                        words.next().ok_or_else(|| usage(format!("flag needs an argument: -{name}")))??
                    }
                }
            }
            (false, None) => return Err(usage(format!("flag provided but not defined: -{name}"))),
        }
    }
    Ok(line)
}

fn text(word: OsString) -> Result<String> {
    String::from_utf8(word.into_vec()).map_err(|_| usage("an argument is not UTF-8".to_owned()))
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

fn is_switch(name: &str) -> bool {
    matches!(name, "debug" | "v" | "version" | "info")
}

fn set_switch(line: &mut CommandLine, name: &str, value: Option<&str>) -> Result<()> {
    let on = match value {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => true,
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => false,
        Some(other) => return Err(usage(format!("invalid boolean value {other:?} for -{name}"))),
    };
    match name {
        "debug" => line.debug = on,
        "info" => line.info = on,
        _ => line.version = on,
    }
    Ok(())
}

fn place<'a>(line: &'a mut CommandLine, name: &str) -> Option<&'a mut String> {
    match name {
        "namespace" => Some(&mut line.namespace),
        "id" => Some(&mut line.id),
        "address" => Some(&mut line.address),
        "publish-binary" => Some(&mut line.publish_binary),
        "bundle" => Some(&mut line.bundle),
        "socket" => Some(&mut line.socket),
        "debug-socket" => Some(&mut line.debug_socket),
        _ => None,
    }
}
