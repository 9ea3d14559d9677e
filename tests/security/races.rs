//! CVE-2021-30465, CVE-2024-45310: a directory that containers share is exchanged for a symlink to the host while mount
//! targets in it are looked up and made.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::json;

use crate::support::{Bundle, machine};

const ROUNDS: usize = 120;

/// Exchanges two names as fast as it can.
struct Racer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    fn new(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                exchange(&one, &other);
                std::thread::sleep(std::time::Duration::from_micros(30));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

/// RENAME_EXCHANGE of renameat2(2).
#[allow(unsafe_code)]
fn exchange(one: &Path, other: &Path) {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (one, other, here) = (name(one), name(other), libc::AT_FDCWD);
    // SAFETY: two NUL-terminated strings that live across the call, and numbers.
    let done = unsafe {
        libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), libc::RENAME_EXCHANGE)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let show = |entry: fs::DirEntry| {
        let stat = entry.metadata().unwrap();
        // Not the time of access: the test itself reads.
        format!("{} {:?} {} {:?}", entry.path().display(), stat.permissions(), stat.len(), stat.modified())
    };
    entries.map(show).collect()
}

#[test]
fn what_is_made_or_mounted_stays_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir_all(canary.join("dir")).unwrap();
    fs::write(canary.join("file"), "alive").unwrap();
    let volume = bundle.rootfs().join("vol");
    fs::create_dir_all(volume.join("a")).unwrap();
    symlink(&canary, volume.join("b")).unwrap();
    fs::write(bundle.dir.join("source"), "mounted").unwrap();
    bundle.writable().args(&["true"]);
    for (destination, kind, source) in [
        ("/vol/a/new/dir", "tmpfs", "tmpfs"),
        ("/vol/a/dir", "tmpfs", "tmpfs"),
        ("/vol/a/new-file", "bind", "source"),
        ("/vol/a/made/file", "bind", "source"),
    ] {
        let options = if kind == "bind" { json!(["bind"]) } else { json!([]) };
        bundle.mount(json!({"destination": destination, "type": kind, "source": source, "options": options}));
    }
    bundle.patch(|config| {
        config["linux"]["devices"] = json!([{"path": "/vol/a/null", "type": "c", "major": 1, "minor": 3}]);
        config["process"]["cwd"] = json!("/vol/a/work/dir");
        config["linux"]["maskedPaths"] = json!(["/vol/a/file"]);
    });
    let before = names(&canary);
    let racer = Racer::new(volume.join("a"), volume.join("b"));
    for round in 0..ROUNDS {
        // Whether it works out is a matter of luck; what is touched is not.
        bundle.run();
        assert_eq!(names(&canary), before, "round {round}");
        assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "alive");
    }
    drop(racer);
    assert_eq!(machine::mounts(&bundle.id), Vec::<String>::new());
    bundle.leaves_nothing();
}
