//! Decompressing ahead: a layer's bytes are read, verified and decompressed in a thread of their own while those
//! before them are hashed and applied. What is ahead is bounded, and the thread ends with whoever takes the bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use crate::image::blob::compression::Decompressed;
use crate::image::io_error::into_io;

/// The decompressed archive is handed on in pieces of this size: large files take few writes.
pub const PIECE: usize = 256 << 10;
/// Pieces that may be ahead.
const AHEAD: usize = 4;

type Blob = Decompressed<Box<dyn Read + Send>>;

/// Where the decompressed bytes of a layer come from.
#[allow(clippy::large_enum_variant)] // there is one of it for each layer being read
pub enum Pieces {
    /// Decompressed when asked for.
    Here(Blob),
    Ahead {
        full: Receiver<io::Result<Piece>>,
        empty: SyncSender<Box<[u8]>>,
    },
}

/// Some decompressed bytes, fewer than fit only at the end.
pub struct Piece {
    bytes: Box<[u8]>,
    count: usize,
    /// Compressed bytes taken until here.
    seen: u64,
}

impl Pieces {
    /// Starts a thread for `blob`, which ends when these pieces are dropped.
    pub fn ahead<'scope>(scope: &'scope Scope<'scope, '_>, blob: Blob) -> io::Result<Self> {
        let (to_reader, full) = sync_channel(AHEAD);
        let (empty, from_reader) = sync_channel::<Box<[u8]>>(AHEAD);
        for _ in 0..AHEAD {
            let _ = empty.send(vec![0; PIECE].into_boxed_slice());
        }
        let work = move || decompress(blob, &from_reader, &to_reader);
        Builder::new().name("decompress".into()).spawn_scoped(scope, work)?;
        Ok(Self::Ahead { full, empty })
    }

    /// Puts the next piece into `buffer`; returns its length, and how many compressed bytes were taken until there.
    pub fn next(&mut self, buffer: &mut Box<[u8]>) -> io::Result<(usize, u64)> {
        match self {
            Self::Here(blob) => fill(blob, buffer).map(|count| (count, blob.seen())),
            Self::Ahead { full, empty } => {
                // The thread says nothing more once it has come to the end.
                let Ok(piece) = full.recv() else { return Ok((0, 0)) };
                let piece = piece?;
                let used = std::mem::replace(buffer, piece.bytes);
                // Nobody needs it any more at the end.
                let _ = empty.try_send(used);
                Ok((piece.count, piece.seen))
            }
        }
    }

    /// Checks what can be checked only behind the last byte. The thread has done so by itself.
    pub fn finish(self) -> crate::error::Result<()> {
        match self {
            Self::Here(blob) => blob.finish(),
            Self::Ahead { .. } => Ok(()),
        }
    }
}

/// Decompresses until the end, a fault, or nobody listens any more.
fn decompress(mut blob: Blob, empty: &Receiver<Box<[u8]>>, full: &SyncSender<io::Result<Piece>>) {
    while let Ok(mut bytes) = empty.recv() {
        let piece = match fill(&mut blob, &mut bytes) {
            Ok(0) => {
                let seen = blob.seen();
                let _ = full.send(blob.finish().map(|()| Piece { bytes, count: 0, seen }).map_err(into_io));
                return;
            }
            Ok(count) => Ok(Piece { bytes, count, seen: blob.seen() }),
            Err(error) => Err(error),
        };
        let is_over = piece.is_err();
        if full.send(piece).is_err() || is_over {
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
