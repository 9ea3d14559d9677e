//! Asks for user name and password at the terminal.

use std::io::BufRead;

use nix::errno::Errno;
use nix::unistd::read;

use crate::cli::stdout;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::tty::{self, STDIN};

/// Asks `question` and reads a line, which the terminal shows as it is typed.
pub(super) fn read_line(question: &str) -> Result<String> {
    stdout::write(question)?;
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).context("read the answer")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks `question` and reads a line that is not shown. The terminal is in raw mode, so that ^C is read as a
/// byte instead of ending the program: the terminal always gets its mode back.
pub(super) fn read_password(question: &str) -> Result<String> {
    let before = tty::mode(STDIN).context("read the terminal's mode")?;
    stdout::write(question)?;
    tty::set_mode(STDIN, &tty::raw(&before)).context("set the terminal to raw mode")?;
    let typed = read_edited_line(|byte| read(STDIN, byte));
    tty::set_mode(STDIN, &before).context("restore the terminal's mode")?;
    stdout::write("\n")?;
    typed
}

/// Reads bytes with `next` up to the end of a line, and applies backspace, ^U (erase all) and ^C (give up) to
/// them.
fn read_edited_line(mut next: impl FnMut(&mut [u8]) -> nix::Result<usize>) -> Result<String> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        match (next(&mut byte), byte[0]) {
            (Err(Errno::EINTR), _) => {}
            (Err(errno), _) => return Err(errno).context("read the answer"),
            (Ok(0), _) | (_, b'\n' | b'\r' | 0x04) => break,
            (_, 0x03) => return Err(fail!(Kind::Usage, "nothing was entered")),
            (_, 0x08 | 0x7f) => drop(bytes.pop()),
            (_, 0x15) => bytes.clear(),
            (_, byte) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| fail!(Kind::Usage, "the answer is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_not_taken_back() {
        let enter = |text: &[u8]| {
            let mut left = text;
            read_edited_line(|byte| Ok(std::io::Read::read(&mut left, byte).unwrap_or_default())).ok()
        };
        assert_eq!(enter(b"secret\rmore").as_deref(), Some("secret"));
        assert_eq!(enter(b"wrong\x15sex\x7fcret\n").as_deref(), Some("secret"));
        assert_eq!(enter(b"").as_deref(), Some(""));
        assert_eq!(enter(b"sec\x03"), None);
    }
}
