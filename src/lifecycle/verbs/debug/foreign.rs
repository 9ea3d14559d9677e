//! Reads what other runtimes remember of a container: its first process, and its bundle. Nothing else of
//! their files is taken: they may change with each version, and belong to a user.

use std::ffi::CStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use serde_json::Value;

use crate::bundle::MAX_DOCUMENT_SIZE;
use crate::container::record::ProcessIdentity;
use crate::error::{Context, Kind, Result};
use crate::fail;

/// What a container's directory belongs to.
#[derive(Debug)]
pub(super) enum Seen {
    Own,
    Foreign(ForeignRecord),
}

/// A container of another runtime.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignRecord {
    pub init: ProcessIdentity,
    pub bundle: Option<PathBuf>,
    /// The user who could write the record.
    pub owner: u32,
}

/// A file's document, and the file's owner.
pub(super) struct Document {
    pub value: Value,
    pub owner: u32,
}

/// Reads the directory of a container.
pub(super) fn read(dir: &Path) -> Result<Seen> {
    if let Some(state) = read_json(dir, c"state.json")? {
        // Ours names its creator; a torn one is repaired by who knows it.
        let is_own = state.value.get("creator").is_some() || state.value.is_null();
        if is_own && state.owner == nix::unistd::geteuid().as_raw() {
            return Ok(Seen::Own);
        }
        if is_own {
            return tare(&state).map(Seen::Foreign).ok_or_else(|| unknown(dir));
        }
        return runc(&state).map(Seen::Foreign).ok_or_else(|| unknown(dir));
    }
    match read_json(dir, c"status")? {
        Some(status) => crun(&status).map(Seen::Foreign).ok_or_else(|| unknown(dir)),
        // Ours says what it lacks.
        None => Ok(Seen::Own),
    }
}

fn unknown(dir: &Path) -> crate::error::Error {
    fail!(Kind::Unsupported, "{}: a record of no runtime that is known here", dir.display())
}

/// Reads a JSON file of a directory; `None` if there is none. Its value is null if it is not JSON.
pub(super) fn read_json(dir: &Path, name: &CStr) -> Result<Option<Document>> {
    let shown = dir.join(name.to_str().unwrap_or_default());
    let doing = || format!("read {}", shown.display());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(AT_FDCWD, dir, flags, Mode::empty()).with_context(doing)?;
    // A user's directory: a link or a pipe is not followed, nor waited for.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match openat(opened.as_fd(), name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        other => std::fs::File::from(other.with_context(doing)?),
    };
    let metadata = file.metadata().with_context(doing)?;
    if !metadata.is_file() {
        return Err(fail!(Kind::Unsupported, "{}: is no file", shown.display()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_SIZE).read_to_end(&mut bytes).with_context(doing)?;
    let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
    Ok(Some(Document { value: serde_json::from_slice(&bytes).unwrap_or_default(), owner }))
}

/// Our own, of another user.
fn tare(state: &Document) -> Option<ForeignRecord> {
    Some(ForeignRecord {
        init: identity(state.value.get("init")?, "pid", "start")?,
        bundle: state.value.get("bundle").and_then(Value::as_str).map(PathBuf::from),
        owner: state.owner,
    })
}

/// runc's state.json. Its labels are libcontainer's: `bundle=/path`.
fn runc(state: &Document) -> Option<ForeignRecord> {
    let labels = state.value.pointer("/config/labels").and_then(Value::as_array);
    let bundle = labels.into_iter().flatten().filter_map(Value::as_str);
    let bundle = bundle.filter_map(|label| label.strip_prefix("bundle=")).map(PathBuf::from).next();
    Some(ForeignRecord {
        init: identity(&state.value, "init_process_pid", "init_process_start")?,
        bundle,
        owner: state.owner,
    })
}

/// crun's status.
fn crun(status: &Document) -> Option<ForeignRecord> {
    Some(ForeignRecord {
        init: identity(&status.value, "pid", "process-start-time")?,
        bundle: status.value.get("bundle").and_then(Value::as_str).map(PathBuf::from),
        owner: status.owner,
    })
}

/// Without the start time, the pid may be any process by now.
fn identity(value: &Value, pid: &str, start: &str) -> Option<ProcessIdentity> {
    let pid = value.get(pid)?.as_i64().and_then(|pid| i32::try_from(pid).ok())?;
    let start = value.get(start)?.as_u64().filter(|start| *start != 0)?;
    Some(ProcessIdentity { pid, start })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(value: Value) -> Document {
        Document { value, owner: 7 }
    }

    #[test]
    fn records_of_runc_and_crun_are_read() {
        let state = json!({"id": "x", "init_process_pid": 42, "init_process_start": 1234,
            "config": {"labels": ["a=b", "bundle=/b"]}});
        let init = ProcessIdentity { pid: 42, start: 1234 };
        let expected = ForeignRecord { init, bundle: Some("/b".into()), owner: 7 };
        assert_eq!(runc(&document(state)), Some(expected));
        let status = json!({"pid": 42, "process-start-time": 1234, "cgroup-path": "/x", "bundle": "/b"});
        let expected = ForeignRecord { init, bundle: Some("/b".into()), owner: 7 };
        assert_eq!(crun(&document(status)), Some(expected));
    }

    #[test]
    fn a_record_without_a_start_time_names_no_process() {
        for status in [
            json!({"pid": 42}),
            json!({"pid": 42, "process-start-time": 0}),
            json!({"pid": "42", "process-start-time": 5}),
            json!({"pid": 4_294_967_338_u64, "process-start-time": 5}),
            json!(null),
            json!([]),
        ] {
            assert_eq!(crun(&document(status)), None);
        }
    }
}
