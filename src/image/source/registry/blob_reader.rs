//! `BlobReader` reads a blob. When the connection breaks, it opens a new one and continues at the byte where
//! the old one stopped (HTTP range requests).

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oci_spec::image::Descriptor;

use super::endpoint::{Body, Endpoint, retry_delay};
use crate::error::Result;
use crate::image::io_error::{from_io_error, to_io_error};
use crate::log;

/// How many bytes must come between two failures for the second to be the first of a new row.
const PROGRESS: u64 = 4 << 10;
/// The bytes a second below which a connection is as good as silent.
const SLOWEST: u64 = 1 << 10;

/// How fast a connection is. The time that the reader of the blob takes does not count.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    got: u64,
}

impl Pace {
    /// Counts what has come after a wait; returns whether less than a trickle has come for as long as `limit`.
    fn is_trickle(&mut self, waited: Duration, count: u64, limit: Duration) -> bool {
        self.waited += waited;
        self.got += count;
        if self.waited < limit {
            return false;
        }
        let is_slow = self.got < SLOWEST.saturating_mul(self.waited.as_secs());
        *self = Self::default();
        is_slow
    }
}

/// Reads one blob to its full size, over as many connections as it takes.
pub(super) struct BlobReader {
    endpoint: Arc<Endpoint>,
    path: String,
    offset: u64,
    size: u64,
    /// None if a new connection must be made before the next read.
    body: Option<Body>,
    /// Connections in a row that delivered next to nothing.
    failures: u32,
    /// Bytes since the last failure.
    passed: u64,
    pace: Pace,
}

impl BlobReader {
    /// Opens the blob at byte `start`.
    pub(crate) fn open(endpoint: &Arc<Endpoint>, blob: &Descriptor, start: u64) -> Result<Self> {
        let path = format!("blobs/{}", blob.digest());
        let endpoint = Arc::clone(endpoint);
        let mut reader = Self {
            endpoint,
            path,
            offset: start,
            size: blob.size(),
            body: None,
            failures: 0,
            passed: 0,
            pace: Pace::default(),
        };
        // An empty blob needs no connection, and a Range behind the end is an error.
        if start < blob.size() || start == 0 {
            reader.connect_at_offset()?;
        }
        Ok(reader)
    }

    /// Opens a connection and skips to byte `offset` of the blob.
    fn connect_at_offset(&mut self) -> Result<()> {
        let range = format!("bytes={}-", self.offset);
        let headers = [("range", range.as_str())];
        let response = self.endpoint.get(&self.path, if self.offset == 0 { &[] } else { &headers })?;
        let skip = match response.status() {
            206 => self.offset - response.range_start().unwrap_or(self.offset).min(self.offset),
            // A server without range requests sends the whole blob: the bytes before `offset` are skipped.
            _ => self.offset,
        };
        let mut body = response.into_reader();
        match io::copy(&mut (&mut body).take(skip), &mut io::sink()) {
            Ok(passed) if passed == skip => self.body = Some(body),
            Ok(_) => self.resume(io::ErrorKind::UnexpectedEof.into())?,
            Err(error) => self.resume(error)?,
        }
        Ok(())
    }

    /// Prepares a new connection after `error` broke the last one: waits, and fails if there were too many
    /// failures in a row.
    fn resume(&mut self, error: io::Error) -> Result<()> {
        self.body = None;
        self.pace = Pace::default();
        // A server could break off after each byte.
        self.failures = if self.passed < PROGRESS { self.failures + 1 } else { 1 };
        self.passed = 0;
        if self.failures > self.endpoint.retries() {
            let (path, offset, size) = (&self.path, self.offset, self.size);
            return Err(from_io_error(error).context(format!("{path}: broke off at byte {offset} of {size}")));
        }
        log::debug(format_args!("{}: broke off at byte {}: {error}", self.path, self.offset));
        std::thread::sleep(retry_delay(self.failures));
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.body.is_none() {
                if self.offset >= self.size {
                    return Ok(0);
                }
                self.connect_at_offset().map_err(to_io_error)?;
            }
            let Some(body) = &mut self.body else { continue };
            let begun = Instant::now();
            match body.read(buffer) {
                Ok(0) if self.offset < self.size && !buffer.is_empty() => {
                    self.resume(io::ErrorKind::UnexpectedEof.into()).map_err(to_io_error)?;
                }
                Ok(count) => {
                    self.offset += count as u64;
                    self.passed += count as u64;
                    let is_trickle =
                        self.pace.is_trickle(begun.elapsed(), count as u64, self.endpoint.timeout());
                    if is_trickle && self.offset < self.size {
                        let error = format!("less than {SLOWEST} bytes come in a second");
                        let error = io::Error::new(io::ErrorKind::TimedOut, error);
                        self.resume(error).map_err(to_io_error)?;
                    }
                    return Ok(count);
                }
                Err(error) => self.resume(error).map_err(to_io_error)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_as_good_as_silence() {
        let (limit, second) = (Duration::from_secs(60), Duration::from_secs(1));
        let mut pace = Pace::default();
        assert!((0..59).all(|_| !pace.is_trickle(second, 1, limit)));
        assert!(pace.is_trickle(second, 1, limit));
        // Slow, and steady.
        assert!((0..600).all(|_| !pace.is_trickle(second, SLOWEST, limit)));
        // One long read of much.
        assert!(!pace.is_trickle(limit, 1 << 20, limit));
    }
}
