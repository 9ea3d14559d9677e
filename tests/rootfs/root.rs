//! The root itself.

use std::fs;

use serde_json::json;

use crate::support::{Bundle, machine, program, skip};
use crate::{at, mounts};

#[test]
fn is_the_bundles_rootfs_and_nothing_else() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.rootfs().join("mark"), "here\n").unwrap();
    assert_eq!(
        bundle.output_of("cat /mark; ls -d /../../mark; ls -id / | cut -d' ' -f1").lines().nth(1),
        Some("/../../mark")
    );
    let mounts = mounts(&mut bundle);
    assert!(at(&mounts, "/").root.ends_with("rootfs"), "{mounts:#?}");
    assert!(mounts.iter().all(|mount| !mount.point.contains("tare-test")), "{mounts:#?}");
}

/// Nothing of the host's tree is copied. The rest of this program, of the others too, then judges such containers.
#[test]
fn is_entered_alone_where_the_kernel_makes_such_namespaces() {
    let (Some(_), Some(mut bundle)) = (program("strace"), Bundle::new()) else { return };
    fs::create_dir(bundle.dir.join("source")).unwrap();
    bundle.mount(json!({"destination": "/mnt", "type": "bind", "source": "source", "options": ["rbind"]}));
    bundle.script("ls -d /mnt; ls -a /..");
    let calls = bundle.dir.join("calls");
    let traced = format!("exec strace -f -o {} -e trace=pivot_root,open_tree \"$@\"", calls.display());
    let answer = bundle.tare_by(&traced, &["run", &bundle.id]).ok();
    let calls = fs::read_to_string(calls).unwrap();
    assert!(!answer.stdout.contains("source"), "{answer:?}");
    // Older versions of strace tell the flag by its number.
    match calls.lines().find(|line| line.contains("OPEN_TREE_NAMESPACE") || line.contains("|0x2)")) {
        Some(entered) => assert!(entered.contains(" = ") && !calls.contains("pivot_root("), "{calls}"),
        None if !kernel_is_at_least(7) => skip("needs Linux 7"),
        None => panic!("{calls}"),
    }
}

/// As Podman's user has it. There the kernel mounts procfs only where one is visible (since 4.2), so not every mount namespace will do.
#[test]
fn procfs_is_mounted_in_a_user_namespace_of_the_caller() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    });
    bundle.script("test -d /proc/self && echo mounted");
    let answer =
        bundle.tare_by("exec unshare --user --map-root-user --mount \"$@\"", &["run", &bundle.id]).ok();
    assert_eq!(answer.stdout, "mounted\n", "{answer:?}");
}

fn kernel_is_at_least(version: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    release.split('.').next().unwrap().parse::<u32>().unwrap() >= version
}

#[test]
fn read_only_is_so() {
    let Some(mut bundle) = Bundle::new() else { return };
    let answer = bundle.script("touch /x; touch /dev/x && echo dev").run().ok();
    assert!(answer.stderr.contains("Read-only file system") && answer.stdout == "dev\n", "{answer:?}");
    assert!(at(&mounts(&mut bundle), "/").has("ro"));
    bundle.writable();
    assert_eq!(bundle.output_of("touch /x && echo written"), "written\n");
    assert!(at(&mounts(&mut bundle), "/").has("rw"));
}

#[test]
fn may_be_given_by_an_absolute_path_or_a_symlink() {
    let Some(mut bundle) = Bundle::new() else { return };
    let path = bundle.path("rootfs");
    bundle.patch(|config| config["root"]["path"] = json!(path));
    bundle.output_of("true");
    std::os::unix::fs::symlink("rootfs", bundle.dir.join("link")).unwrap();
    bundle.patch(|config| config["root"]["path"] = json!("link"));
    // runc refuses a symlink here; what matters is that the answer is one or the other and nothing is left.
    let answer = bundle.run();
    assert!(answer.code == 0 || answer.stderr.contains("link"), "{answer:?}");
    bundle.leaves_nothing();
}

#[test]
fn is_entered_without_pivot_root_on_demand() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().args(&["cat", "/proc/self/mountinfo"]);
    let answer = bundle.tare(&["run", "--no-pivot", &bundle.id]).ok();
    let mounts = crate::parse(&answer.stdout);
    assert_eq!(at(&mounts, "/proc").kind, "proc");
    bundle.script("ls -d /../../../bin/busybox; ls /tmp");
    let answer = bundle.tare(&["run", "--no-pivot", &bundle.id]).ok();
    assert_eq!(answer.stdout, "/../../../bin/busybox\n");
    bundle.leaves_nothing();
}

#[test]
fn without_a_mount_namespace_is_a_change_of_root_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("mount").patch(|config| {
        config["linux"]["rootfsPropagation"] = json!("shared");
        config["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]);
        for paths in ["maskedPaths", "readonlyPaths"] {
            config["linux"][paths] = json!([]);
        }
    });
    fs::write(bundle.rootfs().join("mark"), "").unwrap();
    let answer = bundle.script("ls /mark; ls /proc /dev | wc -w").run().ok();
    assert_eq!(answer.stdout, "/mark\n2\n");
    for field in ["/mounts", "/linux/devices", "/root/readonly", "/linux/rootfsPropagation"] {
        assert!(
            answer.stderr.contains(&format!("{field}: left out: the container has no mount namespace")),
            "{answer:?}"
        );
    }
    assert_eq!(machine::mounts(&bundle.id), Vec::<String>::new());
    bundle.leaves_nothing();
}

#[test]
fn a_working_directory_that_is_missing_is_made() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["process"]["cwd"] = json!("/new/work/dir"));
    bundle.writable();
    assert_eq!(bundle.output_of("pwd; stat -c %a /new/work/dir"), "/new/work/dir\n755\n");
    // In a root that is about to be read-only, too.
    fs::remove_dir_all(bundle.rootfs().join("new")).unwrap();
    bundle.patch(|config| config["root"]["readonly"] = json!(true));
    assert_eq!(bundle.output_of("pwd"), "/new/work/dir\n");
}

#[test]
fn a_working_directory_that_cannot_be_entered_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["process"]["cwd"] = json!("/etc/passwd"));
    bundle.run().fails(1, "/etc/passwd");
    let secret = bundle.rootfs().join("root");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    bundle.patch(|config| {
        config["process"]["cwd"] = json!("/root");
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] = json!({});
    });
    let answer = bundle.script("pwd").run();
    // As runc: root may enter it before it becomes the user.
    assert!(answer.code == 0 && answer.stdout == "/root\n" || answer.stderr.contains("/root"), "{answer:?}");
    std::os::unix::fs::chown(&secret, Some(1000), None).unwrap();
    assert_eq!(bundle.output_of("pwd"), "/root\n");
    bundle.leaves_nothing();
}

#[test]
fn an_overlay_takes_its_directories_in_one_word_and_commas_in_their_names() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable();
    let directory = |name: &str| {
        let path = bundle.dir.join(name);
        fs::create_dir_all(&path).unwrap();
        path.display().to_string()
    };
    let (lower, other) = (directory("lower,a"), directory("lower:b"));
    fs::write(bundle.dir.join("lower,a/one"), "").unwrap();
    fs::write(bundle.dir.join("lower:b/two"), "").unwrap();
    let escaped = |path: &str| path.replace(',', "\\,").replace(':', "\\:");
    let options = format!("lowerdir={}:{},xino=off", escaped(&lower), escaped(&other));
    bundle.mount(
        json!({"destination": "/img", "type": "overlay", "source": "overlay", "options": [options, "ro"]}),
    );
    assert_eq!(bundle.output_of("ls /img"), "one\ntwo\n");
}

#[test]
fn an_overlay_whose_options_are_long_is_mounted() {
    // Podman mounts images so (`--mount type=image`), with a path of storage for each layer.
    let Some(mut bundle) = Bundle::new() else { return };
    let mut layers = Vec::new();
    for number in 0..4 {
        let layer = bundle.dir.join(format!("{}{number}", "l".repeat(90)));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join(format!("of-{number}")), "").unwrap();
        layers.push(layer.display().to_string());
    }
    let lower = format!("lowerdir={}", layers.join(":"));
    let mut mount = json!({"destination": "/img", "type": "overlay", "source": "overlay",
        "options": [&lower, "nosuid", "noexec", "ro", "private"]});
    bundle.writable().mount(mount.clone());
    let script = "ls /img | tr '\\n' ' '; grep ' /img ' /proc/self/mountinfo | cut -d' ' -f6; touch /img/x";
    let answer = bundle.script(script).run().fails(1, "Read-only file system");
    assert_eq!(answer.stdout, "of-0 of-1 of-2 of-3 ro,nosuid,noexec,relatime\n");

    let missing = format!("{lower}:{}", bundle.path("missing"));
    mount["options"] = json!([missing]);
    bundle.patch(|config| *config["mounts"].as_array_mut().unwrap().last_mut().unwrap() = mount.clone());
    bundle
        .run()
        .fails(1, "error mounting \"overlay\" to rootfs at \"/img\": mount: no such file or directory");
    mount["options"] = json!([format!("{lower}:{}", vec![layers[0].as_str(); 40].join(":"))]);
    bundle.patch(|config| *config["mounts"].as_array_mut().unwrap().last_mut().unwrap() = mount);
    bundle.run().fails(1, "mount: the options are longer than a page");
}
