//! What filesystems say of a mount that failed: reads of the context return one message each, as
//! `e overlay: …`.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Error, Kind};
use crate::fail;

/// Adds the filesystem's own messages to the errno.
pub(super) fn explain(context: &OwnedFd, errno: Errno) -> Error {
    let words = messages(context.as_fd());
    if words.is_empty() {
        errno.into()
    } else {
        fail!(Kind::System(errno), "{}: {words}", crate::error::describe(errno))
    }
}

fn messages(context: BorrowedFd<'_>) -> String {
    let Ok(context) = context.try_clone_to_owned() else { return String::new() };
    let mut context = File::from(context);
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = context.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
        all.push(text.strip_prefix("e ").unwrap_or(&text).to_owned());
    }
    all.join(", ")
}
