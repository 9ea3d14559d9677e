//! A blob on its way: when the connection breaks, a new one goes on at the byte where the old one stopped.

use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::Descriptor;

use super::endpoint::{Body, Endpoint};
use crate::error::Result;
use crate::image::io_error::{into_io, out_of_io};
use crate::log;

/// Reads one blob to its full size, over as many connections as it takes.
pub struct Reader {
    endpoint: Arc<Endpoint>,
    path: String,
    at: u64,
    size: u64,
    /// None where a new connection must be made first.
    body: Option<Body>,
    /// Connections that brought nothing since the last byte.
    failures: u32,
}

impl Reader {
    /// Opens the blob at byte `start`.
    pub fn open(endpoint: &Arc<Endpoint>, blob: &Descriptor, start: u64) -> Result<Self> {
        let path = format!("blobs/{}", blob.digest());
        let endpoint = Arc::clone(endpoint);
        let mut reader = Self { endpoint, path, at: start, size: blob.size(), body: None, failures: 0 };
        // An empty blob needs no connection, and a Range behind the end is an error.
        if start < blob.size() || start == 0 {
            reader.connect()?;
        }
        Ok(reader)
    }

    fn connect(&mut self) -> Result<()> {
        let range = format!("bytes={}-", self.at);
        let headers = [("range", range.as_str())];
        let response = self.endpoint.get(&self.path, if self.at == 0 { &[] } else { &headers })?;
        let skip = match response.status() {
            206 => self.at - response.range_start().unwrap_or(self.at).min(self.at),
            // A server without ranges sends everything: what is known already is read past.
            _ => self.at,
        };
        let mut body = response.into_reader();
        match io::copy(&mut (&mut body).take(skip), &mut io::sink()) {
            Ok(passed) if passed == skip => self.body = Some(body),
            Ok(_) => self.broken(io::ErrorKind::UnexpectedEof.into())?,
            Err(error) => self.broken(error)?,
        }
        Ok(())
    }

    /// After a break: waits a little, unless that has not helped often enough.
    fn broken(&mut self, error: io::Error) -> Result<()> {
        self.body = None;
        self.failures += 1;
        if self.failures > self.endpoint.retries() {
            let (path, at, size) = (&self.path, self.at, self.size);
            return Err(out_of_io(error).context(format!("{path}: broke off at byte {at} of {size}")));
        }
        log::debug(format_args!("{}: broke off at byte {}: {error}", self.path, self.at));
        std::thread::sleep(super::endpoint::pause(self.failures));
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.body.is_none() {
                if self.at >= self.size {
                    return Ok(0);
                }
                self.connect().map_err(into_io)?;
            }
            let Some(body) = &mut self.body else { continue };
            match body.read(buffer) {
                Ok(0) if self.at < self.size && !buffer.is_empty() => {
                    self.broken(io::ErrorKind::UnexpectedEof.into()).map_err(into_io)?;
                }
                Ok(count) => {
                    self.at += count as u64;
                    self.failures = 0;
                    return Ok(count);
                }
                Err(error) => self.broken(error).map_err(into_io)?,
            }
        }
    }
}
