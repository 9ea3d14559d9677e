//! Writes a layer as a blob: the layer is hashed before and after compression, and stored in a file
//! without a name.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use flate2::write::GzEncoder;
use oci_spec::image::{Descriptor, Digest, MediaType};

use crate::error::{Context, Result};
use crate::image::blob::compression::Compression;
use crate::image::blob::digest::Hasher;
use crate::image::limits::{Limits, Usage, check_ratio};
use crate::image::source::indexed_tar::RangeReader;
use crate::image::unpack::layer_stream::LayerStream;

/// A written layer.
#[derive(Debug)]
pub(super) struct LayerBlob {
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    /// Open, without a name (O_TMPFILE).
    pub(crate) file: Arc<File>,
    /// The size before compression, in bytes.
    unpacked: u64,
}

impl LayerBlob {
    /// Makes a blob of what `fill` writes, in a temporary file in `dir`.
    pub(crate) fn write(
        dir: &Path,
        compression: Compression,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Self> {
        let place = || "make a temporary file";
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(dir);
        let packed = HashingWriter::new(file.with_context(place)?);
        let mut plain = HashingWriter::new(Encoder::new(compression, packed).context("compress")?);
        fill(&mut plain)?;
        let (encoder, diff_id, unpacked) = plain.finish();
        let (file, digest, size) = encoder.finish().context("compress")?.finish();
        let media_type = match compression {
            Compression::Plain => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        };
        let descriptor = Descriptor::new(media_type, size, digest);
        Ok(Self { descriptor, diff_id, file: Arc::new(file), unpacked })
    }

    /// Whether `unpack` with these limits would accept the layer. A layer that compresses very well looks
    /// like a decompression bomb, unless it is mostly zeros.
    pub(super) fn is_acceptable(&self, limits: &Limits) -> Result<bool> {
        if check_ratio(self.descriptor.size(), self.unpacked, limits).is_ok() {
            return Ok(true);
        }
        let reader = RangeReader::whole(Arc::clone(&self.file), self.descriptor.size());
        let used = Usage::default();
        let stream = LayerStream::open(Box::new(reader), &self.descriptor, &self.diff_id, limits, &used)?;
        Ok(stream.finish().is_ok())
    }
}

/// Hashes and counts the bytes that are written.
struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> HashingWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::sha256(), count: 0 }
    }

    /// Returns the writer, the digest, and the number of bytes.
    fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[allow(clippy::large_enum_variant)] // there is one of it
enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    fn new(compression: Compression, to: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::Plain => Self::Plain(to),
            // Its header has no time: the same changes give the same blob.
            Compression::Gzip => Self::Gzip(GzEncoder::new(to, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(to, 0)?),
        })
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(inner) => Ok(inner),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(zstd) => zstd.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(inner) => inner.flush(),
            Self::Gzip(gzip) => gzip.flush(),
            Self::Zstd(zstd) => zstd.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compresses_well_is_acceptable_if_it_is_zeros_or_not_compressed() {
        let limits = Limits { ratio_from: 1 << 16, ..Limits::default() };
        for (byte, compression, expected) in [
            (0, Compression::Gzip, true),
            (0, Compression::Zstd, true),
            (1, Compression::Gzip, false),
            (1, Compression::Zstd, false),
            (1, Compression::Plain, true),
        ] {
            let bytes = vec![byte; 1 << 20];
            let fill = |out: &mut dyn Write| out.write_all(&bytes).context("write");
            let blob = LayerBlob::write(&std::env::temp_dir(), compression, fill).unwrap();
            assert_eq!(blob.is_acceptable(&limits).unwrap(), expected, "{byte} {compression}");
        }
    }
}
