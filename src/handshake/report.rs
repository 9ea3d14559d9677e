//! `Report`: the reason why the new process could not go on, in a fixed number of bytes.

use std::io::Write;

use nix::errno::Errno;

use super::step::Step;

/// The size of the text in a report: enough for the kernel's own words, or the end of a hook's output.
pub(crate) const MAX_TEXT: usize = 480;
/// The size of a whole message: tag, step, length of the text, the step's datum (an index or a kind of id),
/// errno, text.
pub(super) const MESSAGE_SIZE: usize = 12 + MAX_TEXT;

/// The step that failed and how; the parent puts it into words (`launch::explain`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub step: Step,
    /// 0 if the text is the whole message.
    pub errno: i32,
    text: [u8; MAX_TEXT],
    length: u16,
}

impl Report {
    /// Makes a report. `call` is the name of the failing system call, perhaps with its object.
    pub(crate) fn new(step: Step, errno: Errno, call: &str) -> Self {
        let mut report = Self { step, errno: errno as i32, text: [0; MAX_TEXT], length: 0 };
        report.add(call);
        report
    }

    /// Makes a report of a sentence, without an errno.
    pub(crate) fn from_text(step: Step, text: &str) -> Self {
        Self::new(step, Errno::from_raw(0), text)
    }

    /// Appends as much of `text` as fits.
    pub(crate) fn add(&mut self, text: &str) {
        let used = usize::from(self.length);
        let mut room = &mut self.text[used..];
        let before = room.len();
        let _ = room.write(text.as_bytes());
        self.length += (before - room.len()) as u16;
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text[..usize::from(self.length)]).into_owned()
    }

    pub(super) fn encode(&self, tag: u8) -> [u8; MESSAGE_SIZE] {
        let (step, datum) = self.step.encode();
        let mut bytes = [0; MESSAGE_SIZE];
        bytes[0] = tag;
        bytes[1] = step;
        bytes[2..4].copy_from_slice(&self.length.to_ne_bytes());
        bytes[4..8].copy_from_slice(&datum.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.text);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; MESSAGE_SIZE]) -> Option<Self> {
        let mut text = [0; MAX_TEXT];
        text.copy_from_slice(&bytes[12..]);
        let datum = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Some(Self {
            step: Step::decode(bytes[1], datum)?,
            errno: i32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            text,
            length: u16::from_ne_bytes([bytes[2], bytes[3]]).min(MAX_TEXT as u16),
        })
    }
}

/// Turns the errno of a failed call into a report of the step that it was made in.
pub(crate) trait InStep<T> {
    fn in_step(self, step: Step, call: &str) -> Result<T, Report>;
}

impl<T> InStep<T> for Result<T, Errno> {
    fn in_step(self, step: Step, call: &str) -> Result<T, Report> {
        self.map_err(|errno| Report::new(step, errno, call))
    }
}
