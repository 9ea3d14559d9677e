//! Mount options that are attributes of a mount, as mountinfo shows them inside.

use serde_json::json;

use crate::support::Bundle;
use crate::{at, mounts, parse, run_after};

/// Option words, what mountinfo must show, what it must not.
const ROWS: [(&[&str], &[&str], &[&str]); 22] = [
    (&[], &["rw", "relatime"], &["nosuid", "nodev", "noexec"]),
    (&["ro"], &["ro"], &["rw"]),
    (&["ro", "rw"], &["rw"], &["ro"]),
    (&["nosuid", "nodev", "noexec"], &["nosuid", "nodev", "noexec"], &[]),
    (&["nosuid", "suid", "nodev", "dev", "noexec", "exec"], &["rw"], &["nosuid", "nodev", "noexec"]),
    (&["noatime"], &["noatime"], &["relatime"]),
    (&["noatime", "relatime"], &["relatime"], &["noatime"]),
    (&["strictatime"], &["rw"], &["relatime", "noatime"]),
    (&["nodiratime"], &["nodiratime", "relatime"], &[]),
    (&["nodiratime", "diratime"], &["rw"], &["nodiratime"]),
    (&["nosymfollow"], &["nosymfollow"], &[]),
    (&["nosymfollow", "symfollow"], &["rw"], &["nosymfollow"]),
    (&["defaults", "silent", "loud"], &["rw"], &["ro"]),
    (&["ro", "noexec", "nosuid", "nodev", "noatime"], &["ro", "noexec", "nosuid", "nodev", "noatime"], &[]),
    (&["rro", "rnosuid"], &["ro", "nosuid"], &["rw"]),
    (&["norelatime"], &["relatime"], &["noatime"]),
    (&["rnorelatime"], &["relatime"], &["noatime"]),
    (&["noatime", "norelatime"], &["noatime"], &["relatime"]),
    (&["rnoatime", "rnorelatime"], &["noatime"], &["relatime"]),
    (&["rstrictatime", "rnostrictatime"], &["relatime"], &["noatime"]),
    (&["rstrictatime"], &["rw"], &["relatime", "noatime"]),
    (&["rnoatime", "ratime"], &["relatime"], &["noatime"]),
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

type BindRow = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// A tmpfs with some options, and a bind of it with others, which mountinfo shows.
fn bind_of(host: &str, words: &[&str], user_namespace: bool) -> Option<crate::support::run::Answer> {
    let mut bundle = Bundle::new()?;
    if user_namespace {
        bundle.user_namespace();
    }
    std::fs::create_dir(bundle.dir.join("data")).unwrap();
    bundle.args(&["cat", "/proc/self/mountinfo"]);
    let options = [&["bind"], words].concat();
    bundle
        .writable()
        .mount(json!({"destination": "/m", "type": "bind", "source": "data", "options": options}));
    let prepare = format!("mount -t tmpfs host data && mount --bind -o remount,{host} data");
    Some(run_after(&bundle, &prepare))
}

#[test]
fn of_a_bind_are_those_that_are_named_and_no_others() {
    // Of the source, the words of the bind, what mountinfo must show, what it must not.
    let rows: [BindRow; 13] = [
        ("ro,nosuid,nodev,noatime", &[], &["ro", "nosuid", "nodev", "noatime"], &[]),
        ("ro,nosuid,nodev,noexec", &["dev"], &["rw"], &["nosuid", "nodev", "noexec"]),
        ("rw,nosuid,nodev,noexec", &["ro"], &["ro"], &["nosuid", "nodev", "noexec"]),
        ("ro,nosuid,nodev,noexec", &["rw"], &["rw", "nosuid", "nodev", "noexec"], &["ro"]),
        ("rw,nodev,nosymfollow", &["rw"], &["rw", "nodev"], &["nosymfollow"]),
        ("rw,nosymfollow", &["nodev"], &["nodev"], &["nosymfollow"]),
        ("noatime", &["nosuid"], &["nosuid", "noatime"], &["relatime"]),
        ("noatime", &["atime"], &["noatime"], &["relatime"]),
        // A word for the tree says what it has, as with runc: the kernel's default where it names no other.
        ("noatime", &["rnorelatime"], &["relatime"], &["noatime"]),
        ("strictatime", &["ratime"], &["relatime"], &["noatime"]),
        ("noatime", &["norelatime"], &["noatime"], &["relatime"]),
        ("noatime", &["nodiratime"], &["nodiratime", "relatime"], &["noatime"]),
        ("nodiratime", &["strictatime"], &["rw"], &["nodiratime", "relatime", "noatime"]),
    ];
    for (host, words, has, lacks) in rows {
        let Some(answer) = bind_of(host, words, false) else { return };
        let mount = at(&parse(&answer.ok().stdout), "/m").clone();
        assert!(has.iter().all(|word| mount.has(word)), "{host} {words:?}: {mount:?}");
        assert!(!lacks.iter().any(|word| mount.has(word)), "{host} {words:?}: {mount:?}");
    }
}

#[test]
fn that_a_bind_has_from_outside_stay_in_a_user_namespace() {
    let kept: [(&str, &[&str], &[&str]); 4] = [
        ("rw,nosuid,nodev,noexec", &["ro"], &["ro", "nosuid", "nodev", "noexec"]),
        ("ro,noexec", &["dev"], &["ro", "noexec"]),
        ("noatime", &["nosuid"], &["nosuid", "noatime"]),
        ("strictatime", &["strictatime", "ro"], &["ro"]),
    ];
    for (host, words, has) in kept {
        let Some(answer) = bind_of(host, words, true) else { return };
        let mount = at(&parse(&answer.ok().stdout), "/m").clone();
        assert!(has.iter().all(|word| mount.has(word)), "{host} {words:?}: {mount:?}");
    }
    let refused: [(&str, &[&str]); 4] = [
        ("ro", &["rw"]),
        ("nosuid,nodev", &["suid"]),
        ("noatime", &["relatime"]),
        ("strictatime", &["nodiratime"]),
    ];
    for (host, words) in refused {
        let Some(answer) = bind_of(host, words, true) else { return };
        answer.fails(1, "mount_setattr: operation not permitted");
    }
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
fn a_remount_of_dev_makes_it_read_only_when_all_is_in_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.mount(
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro"]}),
    );
    let output =
        bundle.output_of("test -c /dev/null && echo x > /dev/null && echo made; touch /dev/x || echo ro");
    assert_eq!(output, "made\nro\n");
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
