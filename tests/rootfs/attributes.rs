//! Mount options that are attributes of a mount, as mountinfo shows them inside.

use serde_json::json;

use crate::support::Bundle;
use crate::{at, mounts, parse, run_after};

/// Option words, what mountinfo must show, what it must not.
const ROWS: [(&[&str], &[&str], &[&str]); 16] = [
    (&[], &["rw", "relatime"], &["nosuid", "nodev", "noexec"]),
    (&["ro"], &["ro"], &["rw"]),
    (&["ro", "rw"], &["rw"], &["ro"]),
    (&["nosuid", "nodev", "noexec"], &["nosuid", "nodev", "noexec"], &[]),
    (&["nosuid", "suid", "nodev", "dev", "noexec", "exec"], &["rw"], &["nosuid", "nodev", "noexec"]),
    (&["noatime"], &["noatime"], &["relatime"]),
    (&["noatime", "relatime"], &["relatime"], &["noatime"]),
    (&["strictatime"], &["rw"], &["relatime", "noatime"]),
    (&["norelatime"], &["rw"], &["relatime", "noatime"]),
    (&["nodiratime"], &["nodiratime", "relatime"], &[]),
    (&["nodiratime", "diratime"], &["rw"], &["nodiratime"]),
    (&["nosymfollow"], &["nosymfollow"], &[]),
    (&["nosymfollow", "symfollow"], &["rw"], &["nosymfollow"]),
    (&["defaults", "silent", "loud"], &["rw"], &["ro"]),
    (&["ro", "noexec", "nosuid", "nodev", "noatime"], &["ro", "noexec", "nosuid", "nodev", "noatime"], &[]),
    (&["rro", "rnosuid"], &["ro", "nosuid"], &["rw"]),
];

fn every_row(kind: &str, source: &str, first: &[&str]) {
    let Some(mut bundle) = Bundle::new() else { return };
    std::fs::create_dir(bundle.dir.join("data")).unwrap();
    bundle.writable();
    for (index, (words, _, _)) in ROWS.iter().enumerate() {
        let (destination, options) = (format!("/m{index}"), [first, words].concat());
        bundle.mount(json!({"destination": destination, "type": kind, "source": source, "options": options}));
    }
    let mounts = mounts(&mut bundle);
    for (index, (words, has, lacks)) in ROWS.iter().enumerate() {
        let mount = at(&mounts, &format!("/m{index}"));
        assert!(has.iter().all(|word| mount.has(word)), "{kind} {words:?}: {mount:?}");
        assert!(!lacks.iter().any(|word| mount.has(word)), "{kind} {words:?}: {mount:?}");
    }
}

#[test]
fn of_a_bind() {
    every_row("bind", "data", &["bind"]);
}

#[test]
fn of_a_recursive_bind() {
    every_row("none", "data", &["rbind"]);
}

#[test]
fn of_a_filesystem() {
    every_row("tmpfs", "tmpfs", &[]);
}

#[test]
fn are_in_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    for (name, option) in
        [("ro", "ro"), ("noexec", "noexec"), ("nodev", "nodev"), ("nosymfollow", "nosymfollow")]
    {
        let path = bundle.dir.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("script"), "#!/bin/sh\necho executed\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path.join("script"), mode).unwrap();
        nix::sys::stat::mknod(
            &path.join("null"),
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::from_bits_truncate(0o666),
            libc::makedev(1, 3),
        )
        .unwrap();
        std::os::unix::fs::symlink("script", path.join("link")).unwrap();
        bundle.writable().mount(json!({
            "destination": format!("/{name}"), "type": "bind", "source": name, "options": ["bind", option]
        }));
    }
    let denied = [
        ("touch /ro/new", "Read-only file system"),
        ("/noexec/script", "Permission denied"),
        ("cat /nodev/null", "Permission denied"),
        ("cat /nosymfollow/link", "Too many levels of symbolic links"),
    ];
    for (script, words) in denied {
        let answer = bundle.script(script).run();
        assert!(answer.code != 0 && answer.stderr.contains(words), "{script}: {answer:?}");
    }
    let allowed = "/ro/script; cat /noexec/null; /nodev/link; /nosymfollow/script";
    assert_eq!(bundle.output_of(allowed), "executed\n".repeat(3));
}

/// With another mount below the source.
fn nested(options: &[&str]) -> Option<(crate::Mount, crate::Mount)> {
    let mut bundle = Bundle::new()?;
    std::fs::create_dir_all(bundle.dir.join("data/sub")).unwrap();
    bundle.writable().args(&["cat", "/proc/self/mountinfo"]);
    bundle.mount(json!({"destination": "/m", "type": "bind", "source": "data", "options": options}));
    let mounts = parse(&run_after(&bundle, "mount -t tmpfs sub data/sub").ok().stdout);
    Some((at(&mounts, "/m").clone(), at(&mounts, "/m/sub").clone()))
}

#[test]
fn with_an_r_are_of_the_mounts_below_too() {
    let Some((top, below)) = nested(&["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"]) else {
        return;
    };
    for word in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(top.has(word) && below.has(word), "{word}: {top:?} {below:?}");
    }
}

#[test]
fn without_an_r_are_of_the_top_alone() {
    let Some((top, below)) = nested(&["rbind", "ro", "nosuid", "noexec"]) else { return };
    for word in ["ro", "nosuid", "noexec"] {
        assert!(top.has(word) && !below.has(word), "{word}: {top:?} {below:?}");
    }
}

#[test]
fn with_and_without_an_r_can_differ() {
    let Some((top, below)) = nested(&["rbind", "rro", "noexec", "rnosuid"]) else { return };
    assert!(
        top.has("ro") && top.has("noexec") && below.has("ro") && !below.has("noexec"),
        "{top:?} {below:?}"
    );
}

#[test]
fn of_a_mount_that_is_there_are_changed_by_remount() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable();
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "source": "one", "options": ["nosuid"]}));
    bundle.mount(
        json!({"destination": "/m", "type": "none", "source": "none", "options": ["remount", "ro", "nodev"]}),
    );
    let mounts = mounts(&mut bundle);
    let mount = at(&mounts, "/m");
    assert_eq!(mount.source, "one");
    assert!(mount.has("ro") && mount.has("nodev"), "{mount:?}");
}
