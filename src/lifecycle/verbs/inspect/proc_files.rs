//! Reads files of /proc about a container's process. Most of their content is chosen by the process: it may
//! have any length (a process can declare gigabytes of its memory as its arguments, prctl(2), PR_SET_MM_MAP)
//! and any bytes (its name, the names of mounts).

use std::io::Read;

use procfs::process::{MountInfos, Process, Stat, Status};
use procfs::{FromBufRead, FromRead, ProcError};

/// How many bytes of the arguments are shown.
const LONGEST_ARGS: u64 = 4096;
/// The longest file that is read. 100,000 mounts, the most that the kernel allows (sysctl fs.mount-max),
/// usually take less.
const LONGEST_FILE: u64 = 64 << 20;

/// Returns the arguments; the last one ends in `…` if more follows. Returns none if they cannot be read.
pub(super) fn args(process: &Process) -> Vec<String> {
    let bytes = read(process, "cmdline", LONGEST_ARGS + 1).unwrap_or_default();
    let most = LONGEST_ARGS as usize;
    let shown = &bytes[..bytes.len().min(most)];
    let words = shown.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    let mut args: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if bytes.len() > most {
        match args.last_mut() {
            Some(last) => last.push('…'),
            None => args.push("…".into()),
        }
    }
    args
}

pub(super) fn status(process: &Process) -> Result<Status, ProcError> {
    Status::from_buf_read(text(process, "status")?.as_bytes())
}

pub(super) fn stat(process: &Process) -> Result<Stat, ProcError> {
    Stat::from_read(text(process, "stat")?.as_bytes())
}

pub(super) fn mounts(process: &Process) -> Result<MountInfos, ProcError> {
    MountInfos::from_buf_read(text(process, "mountinfo")?.as_bytes())
}

/// Reads a file that contains names, which need not be UTF-8.
fn text(process: &Process, file: &str) -> Result<String, ProcError> {
    let bytes = read(process, file, LONGEST_FILE + 1)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(ProcError::Other(format!("{file} is longer than {} MiB", LONGEST_FILE >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(process: &Process, file: &str, most: u64) -> Result<Vec<u8>, ProcError> {
    let mut bytes = Vec::new();
    process.open_relative(file)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
