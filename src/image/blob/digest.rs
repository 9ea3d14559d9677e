//! Digests (image-spec, descriptor.md), and `VerifyingReader`, a reader that fails at the end of the data if
//! the digest differs.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use oci_spec::image::{Descriptor, Digest, DigestAlgorithm};
use ring::digest::{Algorithm, Context as Sum, SHA256, SHA384, SHA512};

use crate::error::{Kind, Result};
use crate::fail;
use crate::image::io_error::to_io_error;
use crate::weak::{Defence, stands};

/// Parses `algorithm:hex`. A digest is a parsed type everywhere, because it becomes part of a path
/// (CVE-2024-3727).
pub(crate) fn parse(text: &str) -> Result<Digest> {
    let digest = Digest::from_str(text).map_err(|e| fail!(Kind::Spec, "digest {text:?}: {e}"))?;
    algorithm(&digest)?;
    Ok(digest)
}

/// The path of a blob below `blobs/` of an image layout: `sha256/0123…`.
pub(crate) fn path(digest: &Digest) -> Result<String> {
    algorithm(digest)?;
    Ok(format!("{}/{}", digest.algorithm(), digest.digest()))
}

/// The first twelve digits, for messages.
pub(crate) fn short(digest: &Digest) -> &str {
    digest.digest().get(..12).unwrap_or_else(|| digest.digest())
}

/// Returns the SHA-256 digest of `bytes`.
pub fn sha256_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher(Sum::new(&SHA256), DigestAlgorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

fn algorithm(digest: &Digest) -> Result<&'static Algorithm> {
    match digest.algorithm() {
        DigestAlgorithm::Sha256 => Ok(&SHA256),
        DigestAlgorithm::Sha384 => Ok(&SHA384),
        DigestAlgorithm::Sha512 => Ok(&SHA512),
        other => Err(fail!(Kind::Unsupported, "digest {digest}: no support for algorithm {other}")),
    }
}

/// Computes a digest of bytes as they come.
pub struct Hasher(Sum, DigestAlgorithm);

impl Hasher {
    /// Starts a digest of the algorithm that `digest` has.
    pub(crate) fn for_digest(digest: &Digest) -> Result<Self> {
        Ok(Self(Sum::new(algorithm(digest)?), digest.algorithm().clone()))
    }

    pub fn sha256() -> Self {
        Self(Sum::new(&SHA256), DigestAlgorithm::Sha256)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[allow(clippy::expect_used)] // the text is made here, of hexadecimal digits only
    pub fn finish(self) -> Digest {
        let mut text = format!("{}:", self.1);
        for byte in self.0.finish().as_ref() {
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        }
        Digest::from_str(&text).expect("a digest made of hexadecimal digits")
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({})", self.1)
    }
}

/// A reader that compares size and digest with a descriptor: the last read fails if they differ.
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    /// Becomes None at the end, so that the check happens once.
    hasher: Option<Hasher>,
    digest: Digest,
    size: u64,
    seen: u64,
}

impl<R: Read> VerifyingReader<R> {
    /// Reads `inner`, which must be the blob that the descriptor names.
    pub fn new(inner: R, blob: &Descriptor) -> Result<Self> {
        let hasher = Some(Hasher::for_digest(blob.digest())?);
        Ok(Self { inner, hasher, digest: blob.digest().clone(), size: blob.size(), seen: 0 })
    }

    /// Makes a reader like `new`, for a blob whose first `seen` bytes `hasher` has already hashed.
    pub(crate) fn resume(inner: R, blob: &Descriptor, hasher: Hasher, seen: u64) -> Self {
        Self { inner, hasher: Some(hasher), digest: blob.digest().clone(), size: blob.size(), seen }
    }

    /// Whether as many bytes were read as the descriptor says.
    pub(crate) fn is_full(&self) -> bool {
        self.seen == self.size
    }

    /// Bytes read so far.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    fn wrong_size(&self) -> io::Error {
        let more = if self.seen > self.size { "at least " } else { "" };
        let (digest, size, seen) = (&self.digest, self.size, self.seen);
        to_io_error(fail!(
            Kind::Spec,
            "blob {digest}: size is {more}{seen} bytes, its descriptor says {size}"
        ))
    }

    fn end(&mut self) -> io::Result<()> {
        if self.seen != self.size {
            return Err(self.wrong_size());
        }
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        if found != self.digest && stands(Defence::Digest) {
            return Err(to_io_error(fail!(Kind::Spec, "blob {}: content has digest {found}", self.digest)));
        }
        Ok(())
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.end()?;
            return Ok(0);
        }
        self.seen += count as u64;
        if self.seen > self.size {
            return Err(self.wrong_size());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::io_error::from_io_error;
    use oci_spec::image::MediaType;

    fn verify(bytes: &[u8], size: u64, digest: &str) -> Result<Vec<u8>> {
        let blob = Descriptor::new(MediaType::ImageLayer, size, parse(digest)?);
        let mut out = Vec::new();
        VerifyingReader::new(bytes, &blob)?.read_to_end(&mut out).map_err(from_io_error)?;
        Ok(out)
    }

    const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn the_bytes_that_were_named_are_read() {
        assert_eq!(verify(b"hello", 5, HELLO).unwrap(), b"hello");
        assert_eq!(sha256_of(b"hello").to_string(), HELLO);
    }

    #[test]
    fn other_bytes_are_refused_at_their_end() {
        let error = verify(b"jello", 5, HELLO).unwrap_err().to_string();
        assert!(error.starts_with(&format!("blob {HELLO}: content has digest sha256:")), "{error}");
    }

    #[test]
    fn a_size_too_small_or_too_large_is_refused() {
        let error = verify(b"hello", 4, HELLO).unwrap_err().to_string();
        assert_eq!(error, format!("blob {HELLO}: size is at least 5 bytes, its descriptor says 4"));
        let error = verify(b"hello", 6, HELLO).unwrap_err().to_string();
        assert_eq!(error, format!("blob {HELLO}: size is 5 bytes, its descriptor says 6"));
    }

    #[test]
    fn a_digest_that_would_be_a_path_does_not_parse() {
        for bad in [
            "sha256:../../etc/passwd",
            "sha256:",
            "../x:abc",
            "sha256:ABC",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
