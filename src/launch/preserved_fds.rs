//! The caller's descriptors that a program gets, counted from 3. Each of them must be the caller's.
//!
//! If one is not open, the next descriptor that we open ourselves would get its number: a directory of the
//! host, such as that of a control group, through which a container could leave its root (CVE-2024-21626).

use crate::error::{Kind, Result, matched};
use crate::fail;
use crate::sys::file::is_inherited;

/// Refuses to pass more descriptors than there are: first the `sockets` of a service manager, then those
/// `asked` for by `--preserve-fds`.
pub(crate) fn check(sockets: u32, asked: u32) -> Result<()> {
    if let Some(missing) = first_missing(0, sockets) {
        return Err(fail!(
            Kind::Usage,
            "LISTEN_FDS={sockets}: descriptor {} is not open",
            u64::from(missing) + 3
        ));
    }
    match first_missing(sockets, asked) {
        Some(missing) => {
            let number = u64::from(sockets) + u64::from(missing) + 3;
            let message = matched::no_preserved_fd(missing, asked);
            Err(fail!(Kind::Usage, "{message}: descriptor {number} is not open"))
        }
        None => Ok(()),
    }
}

fn first_missing(before: u32, count: u32) -> Option<u32> {
    let is_there = |index: &u32| {
        let number = before.checked_add(*index).and_then(|sum| sum.checked_add(3));
        number.and_then(|number| i32::try_from(number).ok()).is_some_and(is_inherited)
    };
    (0..count).find(|index| !is_there(index))
}
