//! `Config.User` becomes ids: numbers by the letter, names by the image's own passwd and group files.

use std::io::Read;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::inroot::Root;

/// The largest passwd or group file that is read: an endless one is an attack on memory.
const MOST: u64 = 1 << 20;

/// Who the container's process runs as.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
}

/// Resolves `user[:group]` in the root filesystem.
///
/// What looks like a number is one, or an error; it never falls back to a name (CVE-2024-40635, CVE-2026-46680).
/// Groups beyond the first are those of a named user without a named group (image-spec, conversion.md).
pub fn resolve(text: &str, root: &Root) -> Result<User> {
    let place = || format!("user {text:?}");
    let passwd = || read(root, c"/etc/passwd");
    let group = || read(root, c"/etc/group");
    resolve_in(text, passwd, group).with_context(place)
}

fn resolve_in(
    text: &str,
    passwd: impl Fn() -> Result<Vec<u8>>,
    group: impl Fn() -> Result<Vec<u8>>,
) -> Result<User> {
    if text.is_empty() {
        return Ok(User::default());
    }
    let (user, wanted_group) = match text.split_once(':') {
        Some((_, "")) | Some(("", _)) => return Err(fail!(Kind::Spec, "has an empty part")),
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let number = number(user)?;
    let known = match (number, wanted_group) {
        (Some(_), Some(_)) => None,
        (Some(uid), None) => find(&passwd()?, |account| account.uid == uid),
        (None, _) => {
            let known = find(&passwd()?, |account| account.name == user.as_bytes());
            Some(known.ok_or_else(|| fail!(Kind::NotFound, "the image's /etc/passwd has no {user}"))?)
        }
    };
    let uid = number.or_else(|| known.as_ref().map(|account| account.uid)).unwrap_or(0);
    let Some(wanted) = wanted_group else {
        let gid = known.as_ref().map_or(0, |account| account.gid);
        let additional_gids = match number {
            None => memberships(&group()?, user.as_bytes(), gid),
            Some(_) => Vec::new(),
        };
        return Ok(User { uid, gid, additional_gids });
    };
    let gid = match self::number(wanted)? {
        Some(gid) => gid,
        None => group_id(&group()?, wanted.as_bytes())
            .ok_or_else(|| fail!(Kind::NotFound, "the image's /etc/group has no {wanted}"))?,
    };
    Ok(User { uid, gid, additional_gids: Vec::new() })
}

/// Some for what looks like a number, an error where it is none the kernel knows.
fn number(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // Ids end at 2^31 - 1 here: beyond it other runtimes read them as negative.
    match text.parse::<i32>() {
        Ok(id) if id >= 0 && !text.starts_with('+') => Ok(Some(id.cast_unsigned())),
        _ => Err(fail!(Kind::Spec, "{text} is out of range (0 to {})", i32::MAX)),
    }
}

struct Account {
    name: Vec<u8>,
    uid: u32,
    gid: u32,
}

/// The first line of passwd that fits; damaged lines are passed over.
fn find(passwd: &[u8], fits: impl Fn(&Account) -> bool) -> Option<Account> {
    let account = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?.to_vec();
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        Some(Account { name, uid, gid })
    };
    lines(passwd).filter_map(account).find(fits)
}

/// The lines of group: name, id, members.
fn groups(group: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn group_id(group: &[u8], wanted: &[u8]) -> Option<u32> {
    groups(group).find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid)
}

/// The groups that list the user, in the file's order, the primary one and repetitions left out.
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

fn id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.trim().parse::<u32>().ok().filter(|&id| id <= i32::MAX.cast_unsigned())
}

/// Reads a file of the image: inside the root, a regular file, small. Missing is empty.
fn read(root: &Root, path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let reading = || format!("read the image's {}", path.to_string_lossy());
    // O_NONBLOCK: a pipe in the file's place must not hold us (CVE-2024-9676).
    let fd = match root.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
        fd => fd.with_context(reading)?,
    };
    let not_regular = |e: Error| e.context(reading());
    if nix::sys::stat::fstat(fd.as_fd()).with_context(reading)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(not_regular(fail!(Kind::Spec, "it is not a regular file")));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(MOST + 1).read_to_end(&mut bytes).with_context(reading)?;
    if bytes.len() as u64 > MOST {
        return Err(not_regular(fail!(Kind::Spec, "it is larger than {MOST} bytes")));
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
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_an_error() {
        for bad in [
            "nobody",
            "app:none",
            ":",
            ":4",
            "app:",
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
