//! Reads extended attributes of files as an archive has them: without SELinux labels, which belong to the
//! host's policy, and without those of overlayfs.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::dir::proc_path;
use crate::inroot::Result;
use crate::sys::xattr::{fgetxattr, flistxattr, fremovexattr, lgetxattr, llistxattr, lremovexattr};

/// The SELinux label, which belongs to the host's policy and not to an image.
pub(crate) const SELINUX: &[u8] = b"security.selinux";

/// Whether an attribute is one of overlayfs' own, in `trusted.` or in `user.`.
pub(crate) fn is_overlay_mark(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Removes the access lists that a new file has inherited from its directory's default one: they would give
/// rights that the image does not give.
pub(crate) fn drop_inherited_acl(fd: BorrowedFd<'_>) -> Result<()> {
    [c"system.posix_acl_access", c"system.posix_acl_default"]
        .into_iter()
        .try_for_each(|acl| unless_missing(fremovexattr(fd, acl)))
}

/// Drops the ACL like `drop_inherited_acl`, by name, for a file that must not be opened.
pub(crate) fn drop_inherited_acl_by_name(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    unless_missing(lremovexattr(&proc_path(dir, name), c"system.posix_acl_access"))
}

fn unless_missing(removed: Result<()>) -> Result<()> {
    match removed {
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(()),
        other => other,
    }
}

/// Reads all attributes of `name` itself (not of what a symlink points at), sorted. `marks` is the prefix of
/// overlayfs' own attributes, which are left out; escaped ones get their own names back.
pub(crate) fn read_by_name(
    dir: BorrowedFd<'_>,
    name: &CStr,
    marks: Option<&CStr>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(dir, name);
    let names = match llistxattr(&path) {
        Err(Errno::ENOTSUP) => Vec::new(),
        names => names?,
    };
    let mut all = Vec::new();
    for key in names.split_inclusive(|&byte| byte == 0) {
        let Ok(key) = CStr::from_bytes_with_nul(key) else { continue };
        let Some(shown) = name_in_image(key.to_bytes(), marks) else { continue };
        match lgetxattr(&path, key) {
            // It went away, or is not for us.
            Err(Errno::ENODATA | Errno::ENOTSUP) => {}
            value => all.push((shown, value?)),
        }
    }
    all.sort();
    Ok(all)
}

/// Reads like `read_by_name`, from an open file.
pub(crate) fn read_open(fd: BorrowedFd<'_>, marks: Option<&CStr>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match flistxattr(fd) {
        Err(Errno::ENOTSUP) => Vec::new(),
        names => names?,
    };
    let mut all = Vec::new();
    for key in names.split_inclusive(|&byte| byte == 0) {
        let Ok(key) = CStr::from_bytes_with_nul(key) else { continue };
        if let Some(shown) = name_in_image(key.to_bytes(), marks) {
            all.push((shown, fgetxattr(fd, key)?));
        }
    }
    Ok(all)
}

/// Returns the name of an attribute in an image; None if it does not belong in an image.
fn name_in_image(name: &[u8], marks: Option<&CStr>) -> Option<Vec<u8>> {
    let Some(mark) = marks.and_then(|marks| Some((marks, name.strip_prefix(marks.to_bytes())?))) else {
        return (name != SELINUX).then(|| name.to_vec());
    };
    let (marks, rest) = mark;
    Some([marks.to_bytes(), rest.strip_prefix(b"overlay.")?].concat())
}

/// Reads one attribute of `name` itself; None if it is not set.
pub(crate) fn read_one(dir: BorrowedFd<'_>, name: &CStr, attribute: &CString) -> Result<Option<Vec<u8>>> {
    match lgetxattr(&proc_path(dir, name), attribute) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_left_out_and_escaped_names_restored() {
        let marks = Some(c"trusted.overlay.");
        assert_eq!(name_in_image(b"user.a", marks).unwrap(), b"user.a");
        assert_eq!(name_in_image(b"trusted.overlay.opaque", marks), None);
        assert_eq!(
            name_in_image(b"trusted.overlay.overlay.opaque", marks).unwrap(),
            b"trusted.overlay.opaque"
        );
        assert_eq!(name_in_image(b"trusted.overlay.opaque", None).unwrap(), b"trusted.overlay.opaque");
        assert_eq!(name_in_image(b"security.selinux", None), None);
    }
}
