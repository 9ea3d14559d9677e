//! Things that an image has put where a runtime looks or writes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use serde_json::json;

use crate::support::{Bundle, control_falls, program, run::wait_for};

/// What is below a directory, and what each of it is.
fn tree(directory: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap().flatten() {
            let stat = fs::symlink_metadata(entry.path()).unwrap();
            let what = format!("{:o} {} {}", stat.mode(), stat.len() * u64::from(!stat.is_dir()), stat.uid());
            all.insert(entry.path().display().to_string(), what);
            if stat.is_dir() {
                open.push(entry.path());
            }
        }
    }
    all
}

#[test]
fn the_runtime_writes_no_file_of_its_own_into_the_root() {
    // CVE-2025-24965: crun wrote its configuration for krun through a symlink of the image.
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    let names = [
        ".krun_config.json",
        ".dockerenv",
        ".tare",
        "config.json",
        "state.json",
        "notify",
        "exec.fifo",
        "tmp/notify",
        "etc/hostname",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/mtab",
        "root/.profile",
    ];
    for name in names {
        symlink(canary.join(name.replace('/', "-")), bundle.rootfs().join(name)).unwrap();
    }
    bundle.writable().patch(|config| {
        config["hostname"] = json!("told");
        config["annotations"] = json!({"run.oci.handler": "krun"});
    });
    let before = tree(&bundle.rootfs());
    bundle.run();
    bundle.up();
    bundle.exec(&["true"]).ok();
    bundle.delete_force().ok();
    let mut after = tree(&bundle.rootfs());
    // Mount points of the configuration are made; nothing else is.
    let points = ["/dev/", "/sys/", "/proc/"].map(|point| format!("{}{point}", bundle.rootfs().display()));
    after.retain(|path, _| !points.iter().any(|point| path.starts_with(point)));
    assert_eq!(after, before);
    assert_eq!(tree(&canary), BTreeMap::new(), "the canary was written");
    fs::write(bundle.rootfs().join(names[0]), "{}").unwrap();
    assert_ne!(tree(&canary), BTreeMap::new());
    control_falls("std::fs::write in the root writes the canary");
    bundle.leaves_nothing();
}

#[test]
fn a_name_that_is_a_number_is_no_other_user() {
    // CVE-2016-3697: `1000` is the name of a user whose number is 0.
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(chroot) = program("chroot") else { return };
    fs::write(bundle.rootfs().join("etc/passwd"), "1000:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(bundle.rootfs().join("etc/group"), "1000:x:0:\n").unwrap();
    bundle.patch(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert_eq!(bundle.output_of("id -u; id -g"), "1000\n1000\n");
    bundle.up();
    for words in [&["--user", "1000:1000"][..], &[]] {
        let call = [&["exec"], words, &[&bundle.id, "sh", "-c", "id -u; id -g"]].concat();
        assert_eq!(bundle.tare(&call).ok().stdout, "1000\n1000\n", "{words:?}");
    }
    let mut by_name = Command::new(chroot);
    by_name.args(["--userspec=1000:1000", bundle.rootfs().to_str().unwrap(), "/bin/busybox", "id", "-u"]);
    assert_eq!(wait_for(&mut by_name).ok().stdout, "0\n");
    control_falls("chroot --userspec=1000 is root");
}

#[test]
fn a_passwd_file_that_blocks_or_has_no_end_holds_nobody_up() {
    // CVE-2026-47262: the home directory is looked up in a file of the image.
    let Some(mut bundle) = Bundle::new() else { return };
    let passwd = bundle.rootfs().join("etc/passwd");
    bundle.writable().patch(|config| config["process"]["env"] = json!(["PATH=/bin"]));
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, Mode::S_IRWXU).unwrap();
    assert_eq!(bundle.output_of("echo $HOME"), "/\n");
    fs::remove_file(&passwd).unwrap();
    symlink("/dev/zero", &passwd).unwrap();
    assert_eq!(bundle.output_of("echo $HOME"), "/\n");
    fs::remove_file(&passwd).unwrap();
    // Four gibibytes of one line, which take no room.
    fs::File::create(&passwd).unwrap().set_len(4 << 30).unwrap();
    bundle.patch(|config| config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20}));
    assert_eq!(bundle.output_of("echo $HOME"), "/\n");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, Mode::S_IRWXU).unwrap();
    let mut reader = Command::new("timeout");
    reader.args(["1", "cat"]).arg(&passwd);
    assert_eq!(wait_for(&mut reader).code, 124);
    control_falls("who just opens the file waits for ever");
    bundle.leaves_nothing();
}

#[test]
fn a_mask_is_the_hosts_null_device_and_not_what_the_container_has_by_that_name() {
    // CVE-2025-31133.
    let Some(mut bundle) = Bundle::new() else { return };
    for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        bundle.without_mount(point);
    }
    let dev = bundle.dir.join("own-dev");
    fs::create_dir(&dev).unwrap();
    fs::write(bundle.rootfs().join("etc/other"), "another file\n").unwrap();
    fs::write(bundle.rootfs().join("etc/secret"), "secret\n").unwrap();
    bundle.mount(json!({"destination": "/dev", "type": "bind", "source": "own-dev", "options": ["bind"]}));
    bundle.writable().patch(|config| config["linux"]["maskedPaths"] = json!(["/etc/secret"]));
    for to in ["/etc/other", "/proc/sys/kernel/domainname", "/etc/secret"] {
        let null = dev.join("null");
        let _ = fs::remove_file(&null);
        symlink(to, &null).unwrap();
        let answer = bundle.script("cat /etc/secret; stat -c %t:%T /etc/secret").run();
        assert!(answer.code != 0 || answer.stdout == "1:3\n", "the mask is {to}: {answer:?}");
        bundle.delete_force();
    }
    bundle.leaves_nothing();
}

#[test]
fn the_state_is_closed_to_other_users_whatever_the_umask() {
    // CVE-2021-41103, CVE-2024-25621.
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(setpriv) = program("setpriv") else { return };
    let root = bundle.dir.join("new-root");
    fs::set_permissions(&bundle.dir, PermissionsExt::from_mode(0o755)).unwrap();
    let look = |path: &Path| {
        let mut other = Command::new(&setpriv);
        other
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "find"])
            .arg(path)
            .args(["-readable"]);
        wait_for(&mut other).stdout
    };
    bundle.args(&["sleep", "1000"]);
    for umask in ["000", "077"] {
        let script =
            format!("umask {umask}; shift 2; exec {} --root {} \"$@\"", bundle.program, root.display());
        bundle.tare_by(&format!("shift; {script}"), &["create", &bundle.id]).ok();
        let state = root.join(&bundle.id);
        assert!(state.is_dir(), "{state:?}");
        assert_eq!(look(&state), "", "another user reads the state");
        bundle.tare_by(&format!("shift; {script}"), &["delete", "--force", &bundle.id]).ok();
        fs::remove_dir_all(&root).unwrap();
    }
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(root.join("state.json"), "{}").unwrap();
    fs::set_permissions(root.join("state.json"), PermissionsExt::from_mode(0o644)).unwrap();
    assert_ne!(look(&root), "");
    control_falls("a directory that is made as the umask says is read by another user");
}
