//! `logout`, the opposite of `login`: no credentials of the registry are found any more, and nothing else is lost.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::{Scratch, names, stderr};

/// `user:secret`.
const AUTH: &str = "dXNlcjpzZWNyZXQ=";

/// Runs tare-image as somebody whose home is the scratch directory.
fn command(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["30", env!("CARGO_BIN_EXE_tare-image")])
        .args(args)
        .current_dir(scratch.path())
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", scratch.join("bin").display()))
        .env("HOME", scratch.path())
        .env("XDG_RUNTIME_DIR", scratch.join("run"));
    command
}

fn run(scratch: &Scratch, args: &[&str]) -> Output {
    let output = command(scratch, args).output().unwrap();
    assert!(!stderr(&output).contains("secret") && !stderr(&output).contains(AUTH), "{}", stderr(&output));
    output
}

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = run(scratch, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

fn refused(scratch: &Scratch, args: &[&str]) -> String {
    let output = run(scratch, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

fn write(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn logout_leaves_no_credentials_of_the_registry_and_all_others() {
    let scratch = Scratch::new("logout");
    let [podman, kept, docker] =
        ["run/containers/auth.json", ".config/containers/auth.json", ".docker/config.json"]
            .map(|file| scratch.join(file));
    let entry = json!({ "auth": AUTH });
    write(&podman, &json!({ "auths": { "r:5000": entry, "r:5000/part": entry, "r:50001": entry } }));
    write(&kept, &json!({ "auths": { "other": entry } }));
    // As Docker has it, with members that are none of ours, in any case.
    let hub = "https://index.docker.io/v1/";
    let before = json!({ "Auths": { "https://r:5000/v2/": entry, hub: entry }, "psFormat": "x", "proxies": { "default": {} } });
    write(&docker, &before);
    let unchanged = fs::metadata(&kept).unwrap();
    let said = ok(&scratch, &["logout", "r:5000"]);
    for words in ["run/containers/auth.json, ", ".docker/config.json", "credentials for r:5000/part stay in"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(read(&podman), json!({ "auths": { "r:5000/part": entry, "r:50001": entry } }));
    assert_eq!(
        read(&docker),
        json!({ "Auths": { hub: entry }, "psFormat": "x", "proxies": { "default": {} } })
    );
    assert_eq!(fs::metadata(&podman).unwrap().permissions().mode() & 0o777, 0o600);
    let error = refused(&scratch, &["logout", "r:5000"]);
    assert!(error.contains("not logged in to r:5000") && error.contains("some for r:5000/part"), "{error}");
    ok(&scratch, &["logout", "r:5000/part"]);
    ok(&scratch, &["logout", "docker.io"]);
    assert_eq!(read(&docker)["Auths"], json!({}));
    assert_eq!(read(&podman), json!({ "auths": { "r:50001": entry } }));
    // What has nothing of it is not written.
    let now = fs::metadata(&kept).unwrap();
    assert_eq!((now.ino(), now.mtime_nsec()), (unchanged.ino(), unchanged.mtime_nsec()));
    for dir in [&podman, &kept, &docker] {
        assert_eq!(names(dir.parent().unwrap()).len(), 1);
    }
    for bad in ["", "https://r:5000", "/r", "a b", "r\u{1b}[2J"] {
        let error = refused(&scratch, &["logout", bad]);
        assert!(error.contains("must be HOST[:PORT]") && !error.contains('\u{1b}'), "{error}");
    }
}

#[test]
fn logout_makes_no_file() {
    let scratch = Scratch::new("logout-none");
    let error = refused(&scratch, &["logout", "r:5000"]);
    assert!(error.contains("not logged in to r:5000: no credentials in "), "{error}");
    refused(&scratch, &["logout", "--authfile", "none/auth.json", "r:5000"]);
    assert_eq!(names(scratch.path()), [""; 0]);
}

#[test]
fn what_is_no_file_of_credentials_stays_as_it_is() {
    let scratch = Scratch::new("logout-no-file");
    nix::unistd::mkfifo(&scratch.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("fifo", scratch.join("link")).unwrap();
    fs::create_dir(scratch.join("dir")).unwrap();
    fs::write(scratch.join("torn"), r#"{"auths":{"r:5000":{"auth":"dXNl"#).unwrap();
    fs::write(scratch.join("list"), "[]").unwrap();
    fs::write(scratch.join("twice"), r#"{"auths":{"r:5000":{"auth":"x"}},"Auths":{"r:5000":{"auth":"y"}}}"#)
        .unwrap();
    let before = names(scratch.path());
    for file in ["fifo", "link", "dir", "torn", "list", "twice", "/dev/zero", "/dev/null/x"] {
        let is_file = ["torn", "list", "twice"].contains(&file);
        let text = is_file.then(|| fs::read(scratch.join(file)).unwrap());
        refused(&scratch, &["logout", "--authfile", file, "r:5000"]);
        if let Some(text) = text {
            assert_eq!(fs::read(scratch.join(file)).unwrap(), text, "{file}");
        }
    }
    assert_eq!(names(scratch.path()), before);
    // Others are logged out of all the same.
    write(&scratch.join(".docker/config.json"), &json!({ "auths": { "r:5000": { "auth": AUTH } } }));
    write(&scratch.join("run/containers/auth.json"), &json!([]));
    refused(&scratch, &["logout", "r:5000"]);
    assert_eq!(read(&scratch.join(".docker/config.json")), json!({ "auths": {} }));
}

#[test]
fn links_and_owners_of_files_stay() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("logout-links");
    let entry = json!({ "auths": { "r:5000": { "auth": AUTH } } });
    write(&scratch.join("dotfiles/real.json"), &entry);
    symlink("dotfiles/real.json", scratch.join("auth.json")).unwrap();
    ok(&scratch, &["logout", "--authfile", "auth.json", "r:5000"]);
    assert!(fs::symlink_metadata(scratch.join("auth.json")).unwrap().is_symlink());
    assert_eq!(read(&scratch.join("dotfiles/real.json")), json!({ "auths": {} }));
    // A link of somebody else leads where they like.
    write(&scratch.join("dotfiles/real.json"), &entry);
    std::os::unix::fs::lchown(scratch.join("auth.json"), Some(1234), None).unwrap();
    let error = refused(&scratch, &["logout", "--authfile", "auth.json", "r:5000"]);
    assert!(error.contains("it is a symlink of user 1234"), "{error}");
    assert_eq!(read(&scratch.join("dotfiles/real.json")), entry);
    // A user's own file, changed by root, stays theirs.
    std::os::unix::fs::chown(scratch.join("dotfiles/real.json"), Some(1234), Some(1235)).unwrap();
    ok(&scratch, &["logout", "--authfile", "dotfiles/real.json", "r:5000"]);
    let owner = fs::metadata(scratch.join("dotfiles/real.json")).unwrap();
    assert_eq!((owner.uid(), owner.gid(), owner.mode() & 0o777), (1234, 1235, 0o600));
    // What stands under the temporary name is nobody else's.
    write(&scratch.join("dotfiles/real.json"), &entry);
    fs::write(scratch.join("theirs"), "theirs").unwrap();
    symlink("../theirs", scratch.join("dotfiles/.real.json.partial")).unwrap();
    refused(&scratch, &["logout", "--authfile", "dotfiles/real.json", "r:5000"]);
    assert_eq!(fs::read_to_string(scratch.join("theirs")).unwrap(), "theirs");
    assert_eq!(read(&scratch.join("dotfiles/real.json")), entry);
}

#[test]
fn a_helper_forgets() {
    let scratch = Scratch::new("logout-helper");
    fs::create_dir(scratch.join("bin")).unwrap();
    let helper = |name: &str, script: &str| {
        let path = scratch.join(&format!("bin/docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    helper(
        "kept",
        "read -r server; file=kept.$(echo $server | tr / _); case $1 in
        get) test -e $file || { echo credentials not found in native keychain; exit 1; }; cat $file ;;
        erase) rm $file ;; *) exit 3; esac",
    );
    helper("broken", "echo out of order; exit 1");
    helper("hangs", "sleep 100");
    let secret = json!({ "Username": "user", "Secret": "secret" }).to_string();
    fs::write(scratch.join("kept.https:__index.docker.io_v1_"), &secret).unwrap();
    fs::write(scratch.join("kept.r:5000"), &secret).unwrap();
    // Docker leaves an empty entry where a helper has the credentials.
    let file = json!({ "auths": { "r:5000": {}, "x": {} }, "credsStore": "kept", "credHelpers": { "b": "broken", "h": "hangs" } });
    write(&scratch.join("auth.json"), &file);
    let logout = |registry: &'static str| ["logout", "--authfile", "auth.json", "--timeout", "1", registry];
    assert!(ok(&scratch, &logout("r:5000")).contains("were in docker-credential-kept\n"));
    assert_eq!(read(&scratch.join("auth.json"))["auths"], json!({ "x": {} }));
    ok(&scratch, &logout("docker.io"));
    assert!(!names(scratch.path()).iter().any(|name| name.starts_with("kept.")));
    assert!(refused(&scratch, &logout("r:5000")).contains("not logged in"));
    let error = refused(&scratch, &logout("b"));
    assert!(error.contains("run docker-credential-broken: it failed: out of order"), "{error}");
    let error = refused(&scratch, &logout("h"));
    assert!(error.contains("has not answered in 1 seconds"), "{error}");
}

#[test]
fn many_at_once_lose_no_entry() {
    let scratch = Scratch::new("logout-at-once");
    let entries: serde_json::Map<String, Value> =
        (0..24).map(|number| (format!("r{number}:5000"), json!({ "auth": AUTH }))).collect();
    write(&scratch.join("auth.json"), &json!({ "auths": entries }));
    let start = |number: usize| {
        let registry = format!("r{number}:5000");
        let mut command = command(&scratch, &["logout", "--authfile", "auth.json", &registry]);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let mut running: Vec<_> = (0..20).map(start).collect();
    // The file is whole all the while.
    while running.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        assert!(read(&scratch.join("auth.json"))["auths"]["r23:5000"].is_object());
    }
    let left = read(&scratch.join("auth.json"));
    let left: Vec<&String> = left["auths"].as_object().unwrap().keys().collect();
    assert_eq!(left, ["r20:5000", "r21:5000", "r22:5000", "r23:5000"]);
    for round in 0..20 {
        let mut child = start(20);
        std::thread::sleep(std::time::Duration::from_micros(200 * round));
        let _ = child.kill();
        let _ = child.wait();
    }
    ok(&scratch, &["logout", "--authfile", "auth.json", "r23:5000"]);
    assert_eq!(names(scratch.path()), ["auth.json"]);
}
