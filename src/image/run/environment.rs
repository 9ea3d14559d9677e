//! `--env` and `--env-file`: a name without a value has that of this process.

use std::path::Path;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::filesystem::input_file::read_at_most;

/// The largest file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A variable as `ConfigOverrides` takes it. A name that this process does not have removes the image's.
pub(crate) fn variable(text: &str) -> Result<String> {
    match text.split_once('=') {
        Some(("", _)) => Err(fail!(Kind::Usage, "--env {text:?}: a variable has a name")),
        None if text.is_empty() => Err(fail!(Kind::Usage, "--env: a variable has a name")),
        Some(_) => Ok(text.to_owned()),
        None => match std::env::var(text) {
            Ok(value) => Ok(format!("{text}={value}")),
            Err(std::env::VarError::NotPresent) => Ok(text.to_owned()),
            Err(_) => Err(fail!(Kind::Usage, "--env {text:?}: its value is no UTF-8")),
        },
    }
}

/// The variables of a file: a line each, values as they stand, and comments after `#`. It may be a pipe.
pub(crate) fn read_file(path: &Path) -> Result<Vec<String>> {
    let place = || format!("--env-file {}", path.display());
    let file = std::fs::File::open(path).with_context(place)?;
    let bytes = read_at_most(file, path, MAX_FILE).with_context(place)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| fail!(Kind::Usage, "it is no UTF-8")).with_context(place)?;
    parse_file(text.strip_prefix('\u{feff}').unwrap_or(text)).with_context(place)
}

fn parse_file(text: &str) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or(line);
        if name.is_empty() || name.contains(char::is_whitespace) || line.contains('\0') {
            return Err(fail!(Kind::Usage, "line {}: {name:?} is no name of a variable", number + 1));
        }
        let found = variable(line)?;
        // One that is nowhere set is not set here either.
        variables.extend(found.contains('=').then_some(found));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_variable_in_each_line() {
        let read = parse_file("# all\n\n  A=1 2 \"x\" # no comment\r\nPATH\nNOT_SET_ANYWHERE\nB=\n").unwrap();
        assert_eq!(read[0], "A=1 2 \"x\" # no comment");
        assert!(read[1].starts_with("PATH=/"));
        assert_eq!(read[2..], ["B="]);
        for bad in ["A B=1", "=1", "A =1"] {
            assert!(parse_file(bad).is_err(), "{bad}");
        }
        assert!(variable("").is_err() && variable("=x").is_err());
        assert_eq!(variable("NOT_SET_ANYWHERE").unwrap(), "NOT_SET_ANYWHERE");
    }
}
