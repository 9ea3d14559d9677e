//! Filesystems of the container's own: options, modes, what is copied up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::json;

use crate::support::Bundle;
use crate::{at, mounts};

fn tmpfs(destination: &str, options: &[&str]) -> serde_json::Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

#[test]
fn options_that_are_no_attributes_are_the_filesystems() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().mount(tmpfs("/m", &["size=1m", "mode=1770", "uid=5", "gid=6", "nr_inodes=77"]));
    let mounts = mounts(&mut bundle);
    let mount = at(&mounts, "/m");
    for word in ["size=1024k", "mode=1770", "uid=5", "gid=6", "nr_inodes=77"] {
        assert!(mount.of_filesystem.iter().any(|one| one == word), "{word}: {mount:?}");
    }
    assert_eq!(bundle.output_of("stat -c '%a %u %g' /m"), "1770 5 6\n");
}

#[test]
fn several_options_may_stand_in_one_word() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().mount(tmpfs("/m", &["mode=0710,size=1m,", "nosuid", "uid=5,ro"]));
    let mounts = mounts(&mut bundle);
    let mount = at(&mounts, "/m");
    for word in ["size=1024k", "mode=710", "uid=5", "ro"] {
        assert!(mount.of_filesystem.iter().any(|one| one == word), "{word}: {mount:?}");
    }
    assert!(mount.has("nosuid"), "{mount:?}");
    let mut bundle = Bundle::new().unwrap();
    bundle.writable().mount(tmpfs("/m", &["size=1m,nosuchoption=5"]));
    bundle.run().fails(1, "nosuchoption");
    bundle.leaves_nothing();
}

#[test]
fn an_option_that_the_filesystem_does_not_know_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    let index = bundle.config["mounts"].as_array().unwrap().len();
    bundle.mount(tmpfs("/tmp", &["nosuchoption=5"]));
    let message = bundle.run().fails(1, "nosuchoption").message();
    assert!(message.contains(&format!("/mounts/{index}")), "{message}");
    bundle.leaves_nothing();
}

#[test]
fn an_unknown_filesystem_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    let index = bundle.config["mounts"].as_array().unwrap().len();
    bundle.mount(json!({"destination": "/tmp", "type": "nosuchfs", "source": "x"}));
    let message = bundle.run().fails(1, "no such device").message();
    assert!(message.contains(&format!("/mounts/{index}")), "{message}");
    bundle.leaves_nothing();
}

#[test]
fn without_a_mode_it_has_that_of_the_directory_below() {
    let Some(mut bundle) = Bundle::new() else { return };
    let directory = bundle.rootfs().join("tmp");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).unwrap();
    bundle.mount(tmpfs("/tmp", &[])).mount(tmpfs("/root", &["mode=700"]));
    assert_eq!(bundle.output_of("stat -c %a /tmp /root"), "1777\n700\n");
    // One that is made for it has nothing to say.
    bundle.writable().mount(tmpfs("/made/for/it", &[]));
    assert_eq!(bundle.output_of("stat -c %a /made/for/it /made/for"), "1777\n755\n");
}

#[test]
fn a_read_only_one_still_takes_the_mounts_within() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.mount(tmpfs("/tmp", &["ro"]));
    bundle.mount(json!({"destination": "/tmp/a/b", "type": "tmpfs", "source": "tmpfs"}));
    bundle.without_mount("/dev");
    bundle.patch(|config| {
        config["mounts"].as_array_mut().unwrap().insert(1, tmpfs("/dev", &["nosuid", "mode=755", "ro"]));
    });
    let script = "touch /tmp/a/b/x && echo within; touch /tmp/x; touch /dev/x; ls /dev/null /dev/pts/ptmx";
    let answer = bundle.script(script).run().ok();
    assert_eq!(answer.stdout, "within\n/dev/null\n/dev/pts/ptmx\n");
    assert_eq!(answer.stderr.matches("Read-only file system").count(), 2, "{answer:?}");
}

#[test]
fn tmpcopyup_copies_what_the_image_has_there() {
    let Some(mut bundle) = Bundle::new() else { return };
    let image = bundle.rootfs().join("var");
    fs::create_dir(image.join("sub")).unwrap();
    fs::set_permissions(&image, fs::Permissions::from_mode(0o751)).unwrap();
    fs::write(image.join("sub/file"), "content\n").unwrap();
    chown(image.join("sub/file"), Some(7), Some(8)).unwrap();
    fs::set_permissions(image.join("sub/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(image.join("sub"), fs::Permissions::from_mode(0o2770)).unwrap();
    symlink("/etc/shadow", image.join("link")).unwrap();
    bundle.mount(tmpfs("/var", &["tmpcopyup", "size=1m"]));
    let script = "cat /var/sub/file; readlink /var/link; stat -c '%a %u %g %F' /var /var/sub /var/sub/file; \
        echo changed > /var/sub/file; stat -f -c %T /var";
    let expected =
        "content\n/etc/shadow\n751 0 0 directory\n2770 0 0 directory\n4755 7 8 regular file\ntmpfs\n";
    assert_eq!(bundle.output_of(script), expected);
    assert_eq!(fs::read_to_string(image.join("sub/file")).unwrap(), "content\n");
}

#[test]
fn the_kernels_own_are_new_and_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    let mounts = mounts(&mut bundle);
    for (point, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
    ] {
        let mount = at(&mounts, point);
        assert_eq!((&*mount.kind, &*mount.root), (kind, "/"), "{point}");
    }
    assert!(at(&mounts, "/sys").has("ro"));
    let script = "ls -d /proc/[0-9]* | wc -l; ls /dev/pts; cat /proc/1/comm; ls /dev/mqueue /dev/shm | wc -l";
    let lines = bundle.output_of(script);
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].parse::<u32>().unwrap() < 8, "processes of the host: {lines:?}");
    assert_eq!(lines[1..3], ["ptmx", "sh"]);
}
