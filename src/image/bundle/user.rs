//! Resolves `Config.User` of an image to ids. Numbers are used unchanged; names are looked up in the image's
//! own /etc/passwd and /etc/group.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::inroot::Root;
use crate::weak::{Defence, stands};

/// The largest passwd or group file that is read, in bytes: an endless one would take all memory.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// The ids that the container's process runs with.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
}

/// Resolves `user[:group]` in the root filesystem.
///
/// Text that looks like a number is a number or an error; it never falls back to a name (CVE-2024-40635,
/// CVE-2026-46680). Additional groups are looked up only for a user that is given by name and without a group
/// (image-spec, conversion.md).
///
/// # Errors
///
/// `Kind::Spec` for a bad number or file, `Kind::NotFound` for a name that the image does not have.
pub(crate) fn resolve(text: &str, root: &Root) -> Result<User> {
    let place = || format!("user {text:?}");
    let passwd = || read_file(root, c"/etc/passwd");
    let group = || read_file(root, c"/etc/group");
    resolve_in(text, passwd, group).with_context(place)
}

/// Checks the numbers in `user[:group]`, before there is a root filesystem to look names up in.
pub(super) fn check(text: &str) -> Result<()> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    [user, group]
        .into_iter()
        .try_for_each(|part| parse_number(part).map(drop))
        .with_context(|| format!("user {text:?}"))
}

pub(crate) fn resolve_in(
    text: &str,
    passwd: impl Fn() -> Result<Vec<u8>>,
    group: impl Fn() -> Result<Vec<u8>>,
) -> Result<User> {
    if text.is_empty() {
        return Ok(User::default());
    }
    let (user, group_text) = match text.split_once(':') {
        // As in Docker, an empty part counts as missing.
        Some((user, "")) => (if user.is_empty() { "0" } else { user }, None),
        Some(("", group)) => ("0", Some(group)),
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let number = parse_number(user)?;
    let account = match (number, group_text) {
        (Some(_), Some(_)) => None,
        (Some(uid), None) => find_account(&passwd()?, |account| account.uid == uid),
        (None, _) => {
            let account = find_account(&passwd()?, |account| account.name == user.as_bytes());
            Some(account.ok_or_else(|| fail!(Kind::NotFound, "the image's /etc/passwd has no {user}"))?)
        }
    };
    let uid = number.or_else(|| account.as_ref().map(|account| account.uid)).unwrap_or(0);
    if let Some(group_text) = group_text {
        return Ok(User { uid, gid: resolve_group(group_text, group)?, additional_gids: Vec::new() });
    }
    let gid = account.as_ref().map_or(0, |account| account.gid);
    let additional_gids = match number {
        None => memberships(&group()?, user.as_bytes(), gid),
        Some(_) => Vec::new(),
    };
    Ok(User { uid, gid, additional_gids })
}

fn resolve_group(text: &str, group: impl Fn() -> Result<Vec<u8>>) -> Result<u32> {
    match parse_number(text)? {
        Some(gid) => Ok(gid),
        None => group_id(&group()?, text.as_bytes())
            .ok_or_else(|| fail!(Kind::NotFound, "the image's /etc/group has no {text}")),
    }
}

/// Parses text that looks like a number; None for other text.
///
/// # Errors
///
/// `Kind::Spec` for a number that is no valid id.
fn parse_number(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // The limit is 2^31 - 1: other runtimes read larger ids as negative.
    match text.parse::<i32>() {
        _ if !stands(Defence::ImageUser) => Ok(text.parse().ok()),
        Ok(id) if id >= 0 && !text.starts_with('+') => Ok(Some(id.cast_unsigned())),
        _ => Err(fail!(Kind::Spec, "{text} is out of range (0 to {})", i32::MAX)),
    }
}

/// A line of /etc/passwd.
struct Account {
    name: Vec<u8>,
    uid: u32,
    gid: u32,
}

/// The first account in passwd that `is_match` holds for; damaged lines are skipped.
fn find_account(passwd: &[u8], is_match: impl Fn(&Account) -> bool) -> Option<Account> {
    let account = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?.to_vec();
        let uid = parse_id(fields.nth(1)?)?;
        let gid = parse_id(fields.next()?)?;
        Some(Account { name, uid, gid })
    };
    lines(passwd).filter_map(account).find(is_match)
}

/// The lines of group: name, id, members.
fn groups(group: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let gid = parse_id(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn group_id(group: &[u8], searched: &[u8]) -> Option<u32> {
    groups(group).find(|(name, ..)| *name == searched).map(|(_, gid, _)| gid)
}

/// The ids of the groups that list the user, in the file's order, without the primary group and duplicates.
fn memberships(group: &[u8], user: &[u8], primary: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for (_, gid, members) in groups(group) {
        let is_member = members.split(|&byte| byte == b',').any(|member| member.trim_ascii() == user);
        if is_member && gid != primary && !found.contains(&gid) {
            found.push(gid);
        }
    }
    found
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

fn parse_id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.trim().parse::<u32>().ok().filter(|&id| id <= i32::MAX.cast_unsigned())
}

/// Reads a file of the image, which must be a regular file inside its root and not large. A missing file is
/// empty.
fn read_file(root: &Root, path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let reading = || format!("read the image's {}", path.to_string_lossy());
    // O_NONBLOCK: opening a FIFO in the file's place must not block (CVE-2024-9676).
    if !stands(Defence::ImageFile) {
        return std::fs::read(format!(
            "/proc/self/fd/{}{}",
            root.as_fd().as_raw_fd(),
            path.to_string_lossy()
        ))
        .with_context(reading);
    }
    let fd = match root.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
        fd => fd.with_context(reading)?,
    };
    let not_regular = |e: Error| e.context(reading());
    if nix::sys::stat::fstat(fd.as_fd()).with_context(reading)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(not_regular(fail!(Kind::Spec, "it is not a regular file")));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).with_context(reading)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(not_regular(fail!(Kind::Spec, "it is larger than {MAX_FILE_SIZE} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"# comment\nroot:x:0:0:root:/root:/bin/sh\n\nbad line\napp:x:1000:1001::/home/app:\n\
        12:x:77:77::/:\n";
    const GROUP: &[u8] =
        b"root:x:0:\napp:x:1001:\nadm:x:4:app,other\nusers:x:100:other, app\nadm2:x:4:app\nown:x:1001:app\n";

    fn user(text: &str) -> Result<User> {
        resolve_in(text, || Ok(PASSWD.to_vec()), || Ok(GROUP.to_vec()))
    }

    fn ids(uid: u32, gid: u32, additional_gids: &[u32]) -> User {
        User { uid, gid, additional_gids: additional_gids.to_vec() }
    }

    #[test]
    fn names_and_numbers_become_ids() {
        assert_eq!(user("").unwrap(), ids(0, 0, &[]));
        assert_eq!(user("app").unwrap(), ids(1000, 1001, &[4, 100]));
        assert_eq!(user("app:adm").unwrap(), ids(1000, 4, &[]));
        assert_eq!(user("app:5").unwrap(), ids(1000, 5, &[]));
        assert_eq!(user("1000").unwrap(), ids(1000, 1001, &[]));
        assert_eq!(user("1234").unwrap(), ids(1234, 0, &[]));
        assert_eq!(user("1234:adm").unwrap(), ids(1234, 4, &[]));
        assert_eq!(user("12").unwrap(), ids(12, 0, &[]));
        assert_eq!(user("app:").unwrap(), user("app").unwrap());
        assert_eq!(user("1000:").unwrap(), user("1000").unwrap());
        assert_eq!(user(":adm").unwrap(), ids(0, 4, &[]));
        assert_eq!(user(":").unwrap(), ids(0, 0, &[]));
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_an_error() {
        for bad in [
            "nobody",
            "app:none",
            ":none",
            "none:",
            "-1",
            "+1",
            "2147483648",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "1000:4294967296",
            "1000:-1",
        ] {
            assert!(user(bad).is_err(), "{bad}");
        }
        assert_eq!(
            user("4294967296").unwrap_err().to_string(),
            "4294967296 is out of range (0 to 2147483647)"
        );
    }
}
