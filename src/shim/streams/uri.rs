//! Where a stream goes, as a request names it: a fifo by its path, `file:///path`, or `binary:///path?key=value`.

use crate::shim::wire::rpc::{Code, Failure};

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A fifo, or a file that exists.
    Path(String),
    /// A file, made where it is missing, and written at its end.
    File(String),
    /// A program that gets the output as its descriptors 3 and 4. `strict` is `binary-v2`, which must say that it is
    /// ready.
    Logger { program: String, arguments: Vec<String>, strict: bool },
}

/// Reads the name of a destination.
pub(crate) fn parse(text: &str) -> Result<Destination, Failure> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(Destination::Path(text.to_owned())) };
    let (path, query) = rest.split_once('?').map_or((rest, ""), |(path, query)| (path, query));
    let path = unescape(path);
    match scheme {
        "fifo" => Ok(Destination::Path(path)),
        "file" => Ok(Destination::File(path)),
        "binary" | "binary-v2" => Ok(Destination::Logger {
            program: path,
            arguments: arguments(query),
            strict: scheme == "binary-v2",
        }),
        _ => Err(Failure::new(Code::InvalidArgument, format!("unknown STDIO scheme {scheme}"))),
    }
}

/// Each key of the query is an argument, followed by its value where that is not empty.
fn arguments(query: &str) -> Vec<String> {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (unescape(&key.replace('+', " ")), unescape(&value.replace('+', " "))))
        .collect();
    // Go keeps the query as a map: its order is lost there, and is that of the keys here.
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    pairs.into_iter().flat_map(|(key, value)| [key, value]).filter(|word| !word.is_empty()).collect()
}

/// Replaces `%41` by `A`. What is no such sequence stays as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_is_read() {
        let path = |text: &str| Destination::Path(text.to_owned());
        assert_eq!(parse("/run/x/fifo"), Ok(path("/run/x/fifo")));
        assert_eq!(parse("fifo:///run/x"), Ok(path("/run/x")));
        assert_eq!(parse("file:///var/log/a%20b"), Ok(Destination::File("/var/log/a b".to_owned())));
        let logger = |arguments: &[&str], strict| Destination::Logger {
            program: "/bin/log".to_owned(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            strict,
        };
        assert_eq!(parse("binary:///bin/log?id=a%3Db&flag"), Ok(logger(&["flag", "id", "a=b"], false)));
        assert_eq!(parse("binary-v2:///bin/log"), Ok(logger(&[], true)));
        assert!(parse("ftp://host/x").is_err());
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(unescape("%zz%4"), "%zz%4");
        assert_eq!(unescape("é%é"), "é%é");
    }
}
