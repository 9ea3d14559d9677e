//! Decompresses layers: gzip, zstd or none, as the media type says. Decompression happens in this process: no
//! helper program is ever run on behalf of an image.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use oci_spec::image::{Descriptor, MediaType};

use super::content;
use super::digest::VerifyingReader;
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::io_error::{from_io_error, to_io_error};
use crate::image::limits;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// Bytes of compressed data that are read at once.
const BUFFER_SIZE: usize = 128 << 10;

impl Compression {
    /// Returns the compression that the media type of a layer's descriptor names.
    ///
    /// # Errors
    ///
    /// `Kind::Spec` or `Kind::Unsupported` for any other media type.
    pub fn from_descriptor(blob: &Descriptor) -> Result<Self> {
        match blob.media_type() {
            MediaType::ImageLayer | MediaType::ImageLayerNonDistributable => Ok(Self::Plain),
            MediaType::ImageLayerGzip | MediaType::ImageLayerNonDistributableGzip => Ok(Self::Gzip),
            MediaType::ImageLayerZstd | MediaType::ImageLayerNonDistributableZstd => Ok(Self::Zstd),
            MediaType::Other(name) => match name.as_str() {
                "application/vnd.docker.image.rootfs.diff.tar" => Ok(Self::Plain),
                "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Self::Gzip),
                "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Self::Zstd),
                name if name.starts_with("application/vnd.docker.image.rootfs.foreign") => {
                    Err(fail!(Kind::Unsupported, "a foreign layer ({name}) is not fetched from elsewhere"))
                }
                name => Err(fail!(Kind::Unsupported, "no support for layers of media type {name:?}")),
            },
            other => Err(fail!(Kind::Spec, "media type {other} is not that of a layer")),
        }
    }

    /// Guesses the compression from the first bytes of a stream, for sources that name no media type.
    pub(crate) fn from_magic(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // Skippable frames may come first (zstd:chunked).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

type Input<R> = BufReader<VerifyingReader<R>>;

/// The decompressed bytes of a verified blob.
pub struct Decompressed<R: Read>(Decoder<R>);

#[allow(clippy::large_enum_variant)] // there is one of it for each layer being read
enum Decoder<R: Read> {
    Plain(Input<R>),
    /// None only between two members.
    Gzip(Option<GzDecoder<Input<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<R>>),
}

impl<R: Read> Decompressed<R> {
    /// Reads `blob` as its media type says; the first bytes must agree with it.
    pub fn new(compression: Compression, blob: VerifyingReader<R>) -> Result<Self> {
        let mut input = BufReader::with_capacity(BUFFER_SIZE, blob);
        let found = Compression::from_magic(input.fill_buf().map_err(from_io_error)?);
        if found != compression {
            let known = input.buffer().get(..8).and_then(content::name);
            // Every writer of this century puts that word there.
            let is_archive = input.buffer().get(257..262) == Some(b"ustar");
            let found = match known {
                Some(known) => known.to_owned(),
                None if found == Compression::Plain && !is_archive => {
                    "neither compressed nor an archive".into()
                }
                None => found.to_string(),
            };
            return Err(fail!(Kind::Spec, "media type says {compression}, the content is {found}"));
        }
        Ok(Self(match compression {
            Compression::Plain => Decoder::Plain(input),
            Compression::Gzip => Decoder::Gzip(Some(GzDecoder::new(input))),
            Compression::Zstd => Decoder::Zstd(zstd(input)?),
        }))
    }

    /// How many compressed bytes were read so far.
    pub(crate) fn seen(&self) -> u64 {
        match &self.0 {
            Decoder::Plain(input) => input.get_ref().seen(),
            Decoder::Gzip(gzip) => gzip.as_ref().map_or(0, |gzip| gzip.get_ref().get_ref().seen()),
            Decoder::Zstd(zstd) => zstd.get_ref().get_ref().seen(),
        }
    }

    /// Reads the rest of the blob, because its size and digest are checked only at the end.
    pub(crate) fn finish(self) -> Result<()> {
        let mut input = match self.0 {
            Decoder::Plain(input) => input,
            Decoder::Zstd(zstd) => zstd.finish(),
            Decoder::Gzip(Some(gzip)) => gzip.into_inner(),
            Decoder::Gzip(None) => return Ok(()),
        };
        let left = input.fill_buf().map_err(from_io_error)?.len();
        if left != 0 {
            return Err(fail!(Kind::Spec, "the blob goes on after the end of its compressed data"));
        }
        Ok(())
    }
}

fn zstd<R: Read>(input: Input<R>) -> Result<zstd::stream::read::Decoder<'static, Input<R>>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(from_io_error)?;
    decoder.window_log_max(limits::MAX_ZSTD_WINDOW_LOG).map_err(from_io_error)?;
    Ok(decoder)
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Decoder::Plain(input) => input.read(buffer),
            Decoder::Zstd(zstd) => zstd.read(buffer).map_err(|e| decoder_error("zstd", e)),
            Decoder::Gzip(gzip) => read_members(gzip, buffer),
        }
    }
}

/// A gzip blob may have several members (pigz, estargz), and zeros after the last one.
fn read_members<R: Read>(slot: &mut Option<GzDecoder<Input<R>>>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let Some(gzip) = slot else { return Ok(0) };
        let count = gzip.read(buffer).map_err(|e| decoder_error("gzip", e))?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if !skip_to_next_member(gzip.get_mut())? {
            return Ok(0);
        }
        *slot = slot.take().map(|gzip| GzDecoder::new(gzip.into_inner()));
    }
}

/// Skips zeros after a member. Returns false at the end of the blob.
fn skip_to_next_member<R: Read>(input: &mut Input<R>) -> io::Result<bool> {
    loop {
        let ahead = input.fill_buf()?;
        if ahead.is_empty() {
            return Ok(false);
        }
        let zeros = ahead.iter().take_while(|&&byte| byte == 0).count();
        if zeros == 0 {
            return Ok(true);
        }
        input.consume(zeros);
    }
}

/// Names the decoder in an error, because decoders report damage as a bare `InvalidInput` or `UnexpectedEof`.
fn decoder_error(format: &str, error: io::Error) -> io::Error {
    if error.get_ref().is_some_and(|inner| inner.is::<crate::error::Error>())
        || error.raw_os_error().is_some()
    {
        return error;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => to_io_error(fail!(Kind::Spec, "the {format} data is cut off")),
        _ => to_io_error(fail!(Kind::Spec, "the {format} data is damaged: {error}")),
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "an uncompressed archive",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

impl<R: Read> fmt::Debug for Decompressed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressed")
    }
}
