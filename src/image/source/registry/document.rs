//! Reads the documents of servers: manifests, lists, tokens, errors.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Reads a document to its end, or one byte more than `most`. The whole document must arrive `within` this
/// time: without that limit, a server that sends a byte now and then could keep us waiting for ever.
pub(super) fn read(mut body: impl Read, most: u64, within: Duration) -> io::Result<Vec<u8>> {
    let (until, mut bytes) = (Instant::now() + within, Vec::new());
    let mut buffer = [0; 8192];
    while bytes.len() as u64 <= most {
        match body.read(&mut buffer)? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        if Instant::now() > until {
            let text = format!("the server takes more than {} seconds for a document", within.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }
    Ok(bytes)
}
