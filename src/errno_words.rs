//! What an errno means, in the words of strerror(3), in lower case as Go prints them: people search for them,
//! and engines match them. Neither nix's table nor every C library has them.

use nix::errno::Errno;

/// The words for an errno: `operation not permitted`.
pub(crate) fn words(errno: Errno) -> String {
    match errno {
        Errno::EIO => "input/output error".into(),
        Errno::EBADF => "bad file descriptor".into(),
        Errno::EAGAIN => "resource temporarily unavailable".into(),
        Errno::ENOMEM => "cannot allocate memory".into(),
        Errno::EXDEV => "invalid cross-device link".into(),
        Errno::ENFILE => "too many open files in system".into(),
        Errno::ENOTTY => "inappropriate ioctl for device".into(),
        Errno::EDOM => "numerical argument out of domain".into(),
        Errno::ERANGE => "numerical result out of range".into(),
        Errno::EDEADLK => "resource deadlock avoided".into(),
        Errno::ENOLCK => "no locks available".into(),
        Errno::ELOOP => "too many levels of symbolic links".into(),
        Errno::ENETRESET => "network dropped connection on reset".into(),
        Errno::EBADMSG => "bad message".into(),
        Errno::EILSEQ => "invalid or incomplete multibyte or wide character".into(),
        Errno::EOPNOTSUPP => "operation not supported".into(),
        Errno::EDQUOT => "disk quota exceeded".into(),
        other => other.desc().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_the_c_library_that_people_know() {
        // `errno -l` of a machine with the GNU C library.
        let rows = [
            (Errno::EPERM, "operation not permitted"),
            (Errno::ENOENT, "no such file or directory"),
            (Errno::E2BIG, "argument list too long"),
            (Errno::ENOEXEC, "exec format error"),
            (Errno::EAGAIN, "resource temporarily unavailable"),
            (Errno::ENOMEM, "cannot allocate memory"),
            (Errno::EACCES, "permission denied"),
            (Errno::EBUSY, "device or resource busy"),
            (Errno::EXDEV, "invalid cross-device link"),
            (Errno::ENODEV, "no such device"),
            (Errno::ENOTDIR, "not a directory"),
            (Errno::EINVAL, "invalid argument"),
            (Errno::EMFILE, "too many open files"),
            (Errno::ETXTBSY, "text file busy"),
            (Errno::ENOSPC, "no space left on device"),
            (Errno::EROFS, "read-only file system"),
            (Errno::ERANGE, "numerical result out of range"),
            (Errno::ENAMETOOLONG, "file name too long"),
            (Errno::ENOSYS, "function not implemented"),
            (Errno::ENOTEMPTY, "directory not empty"),
            (Errno::ELOOP, "too many levels of symbolic links"),
            (Errno::ELIBBAD, "accessing a corrupted shared library"),
            (Errno::EOPNOTSUPP, "operation not supported"),
            (Errno::ECONNREFUSED, "connection refused"),
            (Errno::ETIMEDOUT, "connection timed out"),
            (Errno::EIO, "input/output error"),
        ];
        for (errno, expected) in rows {
            assert_eq!(words(errno), expected);
        }
    }
}
