//! Masked and read-only paths, really so.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::Bundle;

fn mask(bundle: &mut Bundle, paths: &[&str]) {
    bundle.patch(|config| config["linux"]["maskedPaths"] = json!(paths));
}

#[test]
fn a_masked_file_is_the_null_device() {
    let Some(mut bundle) = Bundle::new() else { return };
    mask(&mut bundle, &["/etc/passwd", "/proc/version", "/proc/sys/kernel/ostype"]);
    let output =
        bundle.output_of("cd /proc; cat /etc/passwd; stat -c '%t:%T' /etc/passwd version sys/kernel/ostype");
    assert_eq!(output, "1:3\n1:3\n1:3\n");
}

#[test]
fn a_masked_directory_is_empty_and_read_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    mask(&mut bundle, &["/sys/firmware", "/home", "/var"]);
    bundle.writable();
    let answer = bundle
        .script("ls -A /sys/firmware /home/ | grep -v :; touch /home/x; stat -c %d /home /var")
        .run()
        .ok();
    assert!(answer.stderr.contains("Read-only file system"), "{answer:?}");
    let lines: Vec<&str> = answer.stdout.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 2, "{answer:?}");
    assert_eq!(lines[0], lines[1], "not one filesystem for all");
}

#[test]
fn a_path_that_is_masked_twice_has_one_mount() {
    let Some(mut bundle) = Bundle::new() else { return };
    mask(&mut bundle, &["/home", "/etc/passwd", "/home", "/etc/passwd"]);
    assert_eq!(bundle.output_of("grep -cE ' (/home|/etc/passwd) ' /proc/self/mountinfo"), "2\n");
}

#[test]
fn a_masked_path_that_is_missing_is_skipped() {
    let Some(mut bundle) = Bundle::new() else { return };
    mask(&mut bundle, &["/no/such", "/etc/passwd/below", "/proc/none", "/etc/group"]);
    assert_eq!(bundle.output_of("cat /etc/group; [ ! -e /no ]"), "");
}

#[test]
fn a_mask_follows_a_symlink_inside_the_root_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    let host = bundle.dir.join("host-file");
    fs::write(&host, "of the host").unwrap();
    fs::write(bundle.rootfs().join("etc/real"), "secret").unwrap();
    symlink("/etc/real", bundle.rootfs().join("etc/link")).unwrap();
    symlink(&host, bundle.rootfs().join("etc/out")).unwrap();
    mask(&mut bundle, &["/etc/link", "/etc/out"]);
    assert_eq!(bundle.output_of("cat /etc/real /etc/link"), "");
    assert_eq!(fs::read_to_string(&host).unwrap(), "of the host");
}

#[test]
fn a_masked_path_that_loops_is_no_missing_one() {
    let Some(mut bundle) = Bundle::new() else { return };
    symlink("loop", bundle.rootfs().join("etc/loop")).unwrap();
    mask(&mut bundle, &["/etc/loop"]);
    bundle.run().fails(1, "/etc/loop");
    bundle.leaves_nothing();
}

#[test]
fn the_default_ones_hide_what_the_kernel_tells() {
    let Some(mut bundle) = Bundle::new() else { return };
    let masked: Vec<String> = serde_json::from_value(bundle.config["linux"]["maskedPaths"].clone()).unwrap();
    let script = format!(
        "for path in {}; do [ -e $path ] || continue; [ -d $path ] && ls -A $path || cat $path; done",
        masked.join(" ")
    );
    assert_eq!(bundle.output_of(&script), "");
}

#[test]
fn a_read_only_path_cannot_be_written() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().patch(|config| {
        config["linux"]["readonlyPaths"] =
            json!(["/proc/sys", "/etc", "/root/file", "/no/such", "/etc/passwd/x"]);
    });
    fs::write(bundle.rootfs().join("root/file"), "content\n").unwrap();
    let script = "cat /root/file; echo 1 > /proc/sys/kernel/domainname; touch /etc/x; echo x >> /root/file; \
        rm /etc/group; touch /root/other && echo written";
    let answer = bundle.script(script).run().ok();
    assert_eq!(answer.stdout, "content\nwritten\n");
    assert_eq!(answer.stderr.matches("Read-only file system").count(), 4, "{answer:?}");
}

#[test]
fn a_read_only_path_keeps_its_other_attributes() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable();
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": ["nosuid", "noexec", "nodev"]}));
    bundle.patch(|config| config["linux"]["readonlyPaths"] = json!(["/m", "/proc/sys"]));
    let mounts = crate::mounts(&mut bundle);
    for (point, word) in
        [("/m", "noexec"), ("/m", "nosuid"), ("/m", "nodev"), ("/m", "ro"), ("/proc/sys", "ro")]
    {
        assert!(crate::at(&mounts, point).has(word), "{point} {word}: {mounts:#?}");
    }
}

/// What covers a masked file is the host's null device: it can be written to, and nothing about it can be changed.
#[test]
fn a_masked_file_gives_no_way_to_the_mode_of_the_hosts_null_device() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["linux"]["maskedPaths"] = serde_json::json!(["/proc/keys"]));
    // Its usual mode, so that a host whose node is changed after all is none the worse.
    let told = bundle.output_of("chmod 666 /proc/keys 2>&1; echo x >/proc/keys && echo written");
    assert!(told.contains("Read-only file system") && told.ends_with("written\n"), "{told}");
}
