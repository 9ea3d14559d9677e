//! Decompresses a layer in a separate thread, while earlier bytes are hashed and unpacked. The number of
//! chunks that are ready is limited, and the thread ends when the receiver is dropped.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use crate::image::blob::compression::Decompressed;
use crate::image::io_error::to_io_error;

/// The size of a chunk in bytes: large, so that large files take few writes.
pub(super) const CHUNK_SIZE: usize = 256 << 10;
/// How many decompressed chunks may wait for the reader.
const CHUNKS_AHEAD: usize = 4;

type Blob = Decompressed<Box<dyn Read + Send>>;

/// The source of a layer's decompressed bytes.
#[allow(clippy::large_enum_variant)] // there is one of it for each layer being read
pub(super) enum ChunkSource {
    /// Decompresses when asked for the next chunk.
    Inline(Blob),
    /// Receives chunks from the thread, and sends used buffers back.
    Threaded { full: Receiver<io::Result<Chunk>>, empty: SyncSender<Box<[u8]>> },
}

/// A buffer of decompressed bytes; only the last one is not full.
pub(super) struct Chunk {
    bytes: Box<[u8]>,
    count: usize,
    /// How many compressed bytes were read when the chunk was complete.
    compressed_bytes: u64,
}

impl ChunkSource {
    /// Starts a thread that decompresses `blob`. It ends when the returned source is dropped.
    pub(crate) fn spawn<'scope>(scope: &'scope Scope<'scope, '_>, blob: Blob) -> io::Result<Self> {
        let (to_reader, full) = sync_channel(CHUNKS_AHEAD);
        let (empty, from_reader) = sync_channel::<Box<[u8]>>(CHUNKS_AHEAD);
        for _ in 0..CHUNKS_AHEAD {
            let _ = empty.send(vec![0; CHUNK_SIZE].into_boxed_slice());
        }
        let work = move || decompress(blob, &from_reader, &to_reader);
        Builder::new().name("decompress".into()).spawn_scoped(scope, work)?;
        Ok(Self::Threaded { full, empty })
    }

    /// Puts the next chunk into `buffer`; returns its length, and how many compressed bytes were read so far.
    pub(crate) fn next(&mut self, buffer: &mut Box<[u8]>) -> io::Result<(usize, u64)> {
        match self {
            Self::Inline(blob) => fill(blob, buffer).map(|count| (count, blob.seen())),
            Self::Threaded { full, empty } => {
                // The thread ends without a message at the end of the blob.
                let Ok(chunk) = full.recv() else { return Ok((0, 0)) };
                let chunk = chunk?;
                let used = std::mem::replace(buffer, chunk.bytes);
                // Fails at the end, when the thread needs no more buffers.
                let _ = empty.try_send(used);
                Ok((chunk.count, chunk.compressed_bytes))
            }
        }
    }

    /// Checks digest and size, which can be done only after the last byte. With a thread, the thread has
    /// already checked.
    pub(crate) fn finish(self) -> crate::error::Result<()> {
        match self {
            Self::Inline(blob) => blob.finish(),
            Self::Threaded { .. } => Ok(()),
        }
    }
}

/// Sends chunks until the end of the blob, an error, or the receiver is gone.
fn decompress(mut blob: Blob, empty: &Receiver<Box<[u8]>>, full: &SyncSender<io::Result<Chunk>>) {
    while let Ok(mut bytes) = empty.recv() {
        let chunk = match fill(&mut blob, &mut bytes) {
            Ok(0) => {
                let compressed_bytes = blob.seen();
                let _ = full.send(
                    blob.finish().map(|()| Chunk { bytes, count: 0, compressed_bytes }).map_err(to_io_error),
                );
                return;
            }
            Ok(count) => Ok(Chunk { bytes, count, compressed_bytes: blob.seen() }),
            Err(error) => Err(error),
        };
        let is_over = chunk.is_err();
        if full.send(chunk).is_err() || is_over {
            return;
        }
    }
}

fn fill(blob: &mut Blob, buffer: &mut [u8]) -> io::Result<usize> {
    let mut end = 0;
    while end < buffer.len() {
        match blob.read(&mut buffer[end..])? {
            0 => break,
            count => end += count,
        }
    }
    Ok(end)
}
