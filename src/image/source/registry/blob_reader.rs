//! `BlobReader` reads a blob. When the connection breaks, it opens a new one and continues at the byte where
//! the old one stopped (HTTP range requests).

use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::Descriptor;

use super::endpoint::{Body, Endpoint, retry_delay};
use crate::error::Result;
use crate::image::io_error::{from_io_error, to_io_error};
use crate::log;

/// Reads one blob to its full size, over as many connections as it takes.
pub(super) struct BlobReader {
    endpoint: Arc<Endpoint>,
    path: String,
    offset: u64,
    size: u64,
    /// None if a new connection must be made before the next read.
    body: Option<Body>,
    /// Connections in a row that delivered no byte.
    failures: u32,
}

impl BlobReader {
    /// Opens the blob at byte `start`.
    pub(crate) fn open(endpoint: &Arc<Endpoint>, blob: &Descriptor, start: u64) -> Result<Self> {
        let path = format!("blobs/{}", blob.digest());
        let endpoint = Arc::clone(endpoint);
        let mut reader = Self { endpoint, path, offset: start, size: blob.size(), body: None, failures: 0 };
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
        self.failures += 1;
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
            match body.read(buffer) {
                Ok(0) if self.offset < self.size && !buffer.is_empty() => {
                    self.resume(io::ErrorKind::UnexpectedEof.into()).map_err(to_io_error)?;
                }
                Ok(count) => {
                    self.offset += count as u64;
                    self.failures = 0;
                    return Ok(count);
                }
                Err(error) => self.resume(error).map_err(to_io_error)?,
            }
        }
    }
}
