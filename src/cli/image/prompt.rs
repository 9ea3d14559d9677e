//! Asking the person at the terminal.

use std::io::BufRead;

use nix::errno::Errno;
use nix::unistd::read;

use crate::cli::stdout;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::tty::{self, STDIN};

/// An answer that is seen as it is typed.
pub fn line(question: &str) -> Result<String> {
    stdout::write(question)?;
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).context("read the answer")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// An answer that is not seen. In raw mode, so that ^C comes here too: the terminal always gets its mode back.
pub fn secret(question: &str) -> Result<String> {
    let before = tty::mode(STDIN).context("look at the terminal")?;
    stdout::write(question)?;
    tty::set_mode(STDIN, &tty::raw(&before)).context("hide what is typed")?;
    let typed = typed(|byte| read(STDIN, byte));
    tty::set_mode(STDIN, &before).context("show what is typed")?;
    stdout::write("\n")?;
    typed
}

/// The bytes up to the end of a line, with what was taken back.
fn typed(mut next: impl FnMut(&mut [u8]) -> nix::Result<usize>) -> Result<String> {
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
            typed(|byte| Ok(std::io::Read::read(&mut left, byte).unwrap_or_default())).ok()
        };
        assert_eq!(enter(b"secret\rmore").as_deref(), Some("secret"));
        assert_eq!(enter(b"wrong\x15sex\x7fcret\n").as_deref(), Some("secret"));
        assert_eq!(enter(b"").as_deref(), Some(""));
        assert_eq!(enter(b"sec\x03"), None);
    }
}
