//! ttrpc's frames: ten bytes of header, then at most 4 MiB of data.

/// The bytes of a header.
pub(crate) const HEADER: usize = 10;
/// The most data that a frame may carry.
pub(crate) const MOST: usize = 4 << 20;

/// What a frame is for.
pub(crate) const REQUEST: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;

/// A request with this flag goes on in frames of data.
pub(crate) const REMOTE_OPEN: u8 = 2;

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) stream: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) data: Vec<u8>,
}

/// What the bytes at hand are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More bytes have to come.
    Incomplete,
    Frame(Frame),
    /// A frame above the limit: the stream's number, and how many bytes of data follow the header.
    TooLong {
        stream: u32,
        length: usize,
    },
}

/// Appends a frame.
pub(crate) fn write(out: &mut Vec<u8>, stream: u32, kind: u8, data: &[u8]) {
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(data);
}

/// Takes the first frame from the front of what has been read.
pub(crate) fn take(buffer: &mut Vec<u8>) -> Next {
    let Some((header, _)) = buffer.split_first_chunk::<HEADER>() else { return Next::Incomplete };
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let stream = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let (kind, flags) = (header[8], header[9]);
    if length > MOST {
        buffer.drain(..HEADER);
        return Next::TooLong { stream, length };
    }
    if buffer.len() < HEADER + length {
        return Next::Incomplete;
    }
    let data = buffer[HEADER..HEADER + length].to_vec();
    buffer.drain(..HEADER + length);
    Next::Frame(Frame { stream, kind, flags, data })
}
