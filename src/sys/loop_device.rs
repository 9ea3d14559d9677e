//! Loop devices (loop(4)): block devices over files, for kernels that mount no files.

use std::ffi::{CStr, CString, c_int, c_ulong};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;

use super::{Result, check, errno_of};

const LOOP_CTL_GET_FREE: c_ulong = 0x4C82;
/// KERNEL(5.8).
const LOOP_CONFIGURE: c_ulong = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// How often another process may take the device that was free a moment ago.
const ATTEMPTS: usize = 64;
/// How often the node of a new device is looked for.
const LOOKS: usize = 10;

/// `struct loop_config` of linux/loop.h, with its `struct loop_info64`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// A loop device that ends when it is closed and nothing is mounted from it, however this process ends.
#[derive(Debug)]
pub struct LoopDevice {
    path: CString,
    _open: File,
}

impl LoopDevice {
    /// Makes a read-only device over `file`, with blocks of 512 bytes.
    ///
    /// # Errors
    ///
    /// ENOENT or ENXIO where the kernel has no loop devices; EINVAL before Linux 5.8.
    pub fn read_only(file: BorrowedFd<'_>) -> Result<Self> {
        let open = |path: &str| {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_CLOEXEC);
            options.open(path).map_err(|error| errno_of(&error))
        };
        let control = open("/dev/loop-control")?;
        let mut looks = 0;
        for _ in 0..ATTEMPTS {
            // SAFETY: this request takes no argument.
            let number =
                check(unsafe { libc::syscall(libc::SYS_ioctl, control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
            let path = format!("/dev/loop{number}");
            let device = match open(&path) {
                // Its node is not made yet.
                Err(Errno::ENOENT | Errno::ENXIO) if looks < LOOKS => {
                    looks += 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    continue;
                }
                device => device?,
            };
            match configure(&device, file) {
                // Another process was faster.
                Err(Errno::EBUSY) => {}
                Err(errno) => return Err(errno),
                Ok(()) => {
                    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
                    return Ok(Self { path, _open: device });
                }
            }
        }
        Err(Errno::EBUSY)
    }

    /// Its path in /dev.
    pub fn path(&self) -> &CStr {
        &self.path
    }
}

fn configure(device: &File, file: BorrowedFd<'_>) -> Result<()> {
    let info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let fd: c_int = file.as_raw_fd();
    let config = Config { fd: fd as u32, block_size: 512, info, reserved: [0; 8] };
    // SAFETY: a live struct of the kernel's layout, which it only reads.
    check(unsafe { libc::syscall(libc::SYS_ioctl, device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })
        .map(drop)
}
