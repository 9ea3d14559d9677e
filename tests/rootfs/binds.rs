//! Binds: of directories and files, of what is below them, of symlinks.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{Bundle, FIRST_ID};
use crate::{at, in_own_mounts, parse, run_after};

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

#[test]
fn of_a_directory_by_a_path_relative_to_the_bundle() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    fs::write(bundle.dir.join("data/file"), "from the host\n").unwrap();
    bundle.writable().mount(bind("data", "/a/b/c", &["bind"]));
    assert_eq!(bundle.output_of("cat /a/b/c/file; echo from inside > /a/b/c/back"), "from the host\n");
    assert_eq!(bundle.read("data/back"), "from inside\n");
}

#[test]
fn of_what_earlier_mounts_made_inside_the_rootfs() {
    for (user_namespace, id_mapped) in [(false, false), (false, true), (true, false), (true, true)] {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.writable();
        let rootfs = bundle.rootfs().display().to_string();
        for (source, file) in [("first/x", "1"), ("second/y", "2")] {
            fs::create_dir_all(bundle.dir.join(source)).unwrap();
            fs::write(bundle.dir.join(source).join("file"), file).unwrap();
        }
        if user_namespace {
            bundle.user_namespace();
        }
        let first_id = if user_namespace { FIRST_ID } else { 0 };
        // A mount in a mount, then the two again at another place, both spelled as the host sees them.
        bundle.mount(bind("first", "/mnt", &["bind"])).mount(bind("second", "/mnt/x", &["bind"]));
        let mut again = bind(&format!("{rootfs}/mnt"), &format!("{rootfs}/again"), &["rbind"]);
        if id_mapped {
            again["options"] = json!(["rbind", "ridmap"]);
            again["uidMappings"] = json!([{"containerID": 0, "hostID": first_id + 500, "size": 10}]);
            again["gidMappings"] = again["uidMappings"].clone();
        }
        bundle.mount(again);
        // The file is the host's root's, whom the user namespace does not know.
        let owner = match (user_namespace, id_mapped) {
            (_, true) => "500:500",
            (true, false) => "65534:65534",
            (false, false) => "0:0",
        };
        let seen = bundle.output_of("cat /again/x/y/file; stat -c ' %u:%g' /again/x/y/file");
        assert_eq!(seen, format!("2 {owner}\n"), "{user_namespace} {id_mapped}");
    }
}

#[test]
fn of_a_file_through_symlinks_to_directories_that_are_missing() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.dir.join("file"), "content\n").unwrap();
    bundle.writable().mount(bind("file", "/etc/link", &["bind"]));
    symlink("/far/away", bundle.rootfs().join("jump")).unwrap();
    symlink("../jump/still/name", bundle.rootfs().join("etc/link")).unwrap();
    assert_eq!(bundle.output_of("cat /far/away/still/name"), "content\n");
}

#[test]
fn an_empty_option_means_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    let source = bundle.dir.display().to_string();
    let tmpfs =
        json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["", "size=64k", ""]});
    bundle.writable().mount(bind(&source, "/b", &["", "bind", "ro"])).mount(tmpfs);
    let seen = bundle.output_of("grep -cE ' /b ro|size=64k' /proc/self/mountinfo");
    assert_eq!(seen, "2\n");
}

#[test]
fn of_a_file_makes_a_file_to_cover() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.dir.join("file"), "content\n").unwrap();
    let source = bundle.path("file");
    bundle.writable().mount(bind(&source, "/new/dir/file", &["bind", "ro"]));
    bundle.mount(bind(&source, "/etc/passwd", &["rbind"]));
    let script = "cat /new/dir/file /etc/passwd; stat -c '%a %s' /new/dir; echo x >> /new/dir/file";
    let answer = bundle.script(script).run();
    assert_eq!(answer.stdout.lines().take(2).collect::<Vec<_>>(), ["content", "content"]);
    assert!(answer.stderr.contains("Read-only file system"), "{answer:?}");
    // What was made to be covered is empty and private to nobody.
    let made = fs::metadata(bundle.rootfs().join("new/dir/file")).unwrap();
    assert_eq!(
        (made.len(), std::os::unix::fs::PermissionsExt::mode(&made.permissions()) & 0o777),
        (0, 0o644)
    );
}

#[test]
fn what_is_made_does_not_depend_on_the_callers_umask() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.dir.join("file"), "").unwrap();
    bundle.writable().mount(bind("file", "/made/file", &["bind"]));
    bundle.patch(|config| config["process"]["cwd"] = json!("/made/cwd"));
    bundle.args(&["stat", "-c", "%a", "/made", "/made/cwd"]);
    for umask in ["077", "000"] {
        let words = ["run", &*bundle.id];
        let answer = bundle.tare_by(&format!("umask {umask}; exec \"$@\""), &words).ok();
        assert_eq!(answer.lines(), ["755", "755"], "umask {umask}");
        let file = fs::metadata(bundle.rootfs().join("made/file")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o644);
        fs::remove_dir_all(bundle.rootfs().join("made")).unwrap();
    }
}

#[test]
fn rbind_takes_the_mounts_below_and_bind_does_not() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir_all(bundle.dir.join("data/sub")).unwrap();
    bundle.writable().args(&["cat", "/proc/self/mountinfo"]);
    bundle.mount(bind("data", "/one", &["bind"])).mount(bind("data", "/all", &["rbind"]));
    let mounts = parse(&run_after(&bundle, "mount -t tmpfs below data/sub").ok().stdout);
    assert_eq!(at(&mounts, "/all/sub").source, "below");
    assert!(!mounts.iter().any(|mount| mount.point == "/one/sub"), "{mounts:#?}");
}

#[test]
fn of_the_hosts_root_directory() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().mount(bind("/", "/host", &["rbind", "ro", "rslave"]));
    let place = format!("/host{}", bundle.dir.join("config.json").display());
    assert!(bundle.output_of(&format!("cat {place}; ls /host/proc/1")).contains("ociVersion"));
    bundle.leaves_nothing();
}

#[test]
fn later_ones_cover_earlier_ones_and_lie_within_them() {
    let Some(mut bundle) = Bundle::new() else { return };
    for name in ["a", "b"] {
        fs::create_dir(bundle.dir.join(name)).unwrap();
        fs::write(bundle.dir.join(name).join("name"), name).unwrap();
    }
    bundle.writable().mount(bind("a", "/m", &["bind"])).mount(bind("b", "/m", &["bind"]));
    bundle.mount(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs"}));
    bundle.mount(bind("a", "/t/a", &["bind"])).mount(bind("b", "/t/a/../b", &["bind"]));
    assert_eq!(bundle.output_of("cat /m/name /t/a/name /t/b/name"), "bab");
}

#[test]
fn of_a_symlink_is_of_what_it_leads_to_unless_otherwise_said() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    fs::write(bundle.dir.join("data/file"), "content\n").unwrap();
    symlink("data", bundle.dir.join("link")).unwrap();
    bundle.writable().mount(bind("link", "/followed", &["bind"]));
    bundle.mount(bind("link", "/copied", &["bind", "copy-symlink"]));
    bundle.mount(bind("data", "/plain", &["bind", "copy-symlink"]));
    let output = bundle.output_of("cat /followed/file /plain/file; readlink /copied");
    assert_eq!(output, "content\ncontent\ndata\n");
}

#[test]
fn a_target_that_is_a_symlink_can_be_covered_itself() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.dir.join("file"), "content\n").unwrap();
    symlink("elsewhere", bundle.rootfs().join("link")).unwrap();
    fs::write(bundle.rootfs().join("elsewhere"), "untouched\n").unwrap();
    bundle.writable().mount(bind("file", "/link", &["bind", "dest-nofollow"]));
    assert_eq!(bundle.output_of("cat /elsewhere"), "untouched\n");
}

#[test]
fn a_missing_source_is_told_by_its_path() {
    let Some(mut bundle) = Bundle::new() else { return };
    let index = bundle.config["mounts"].as_array().unwrap().len();
    bundle.mount(bind("/no/such/source", "/m", &["bind"]));
    let message = bundle.run().fails(1, "no such file or directory").message();
    assert!(
        message.contains(&format!("/mounts/{index}")) && message.contains("/no/such/source"),
        "{message}"
    );
    bundle.leaves_nothing();
}

#[test]
fn a_directory_does_not_cover_a_file() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    for (source, target) in [("data", "/etc/passwd"), ("config.json", "/etc")] {
        let mut mounts = bundle.config["mounts"].clone();
        mounts.as_array_mut().unwrap().push(bind(source, target, &["bind"]));
        let before = bundle.config["mounts"].clone();
        bundle.patch(|config| config["mounts"] = mounts);
        let message = bundle.run().fails(1, target).message();
        assert!(message.contains("not a directory"), "{message}");
        bundle.patch(|config| config["mounts"] = before);
    }
    bundle.leaves_nothing();
}

#[test]
fn over_proc_only_a_procfs_and_inside_only_a_few_files() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.dir.join("file"), "covered\n").unwrap();
    fs::create_dir_all(bundle.dir.join("fake/self/attr")).unwrap();
    let before = bundle.config["mounts"].clone();
    for target in ["/proc/meminfo", "/proc/uptime", "/proc/loadavg", "/proc/stat", "/proc/cpuinfo"] {
        bundle.patch(|config| config["mounts"] = before.clone()).mount(bind("file", target, &["bind"]));
        assert_eq!(bundle.output_of(&format!("cat {target}")), "covered\n");
    }
    let refused =
        ["/proc/sysrq-trigger", "/proc/self/attr/exec", "/proc/sys/kernel/core_pattern", "/proc/1/environ"];
    for target in refused {
        bundle.patch(|config| config["mounts"] = before.clone()).mount(bind("file", target, &["bind"]));
        bundle.run().fails(1, target);
    }
    // CVE-2019-16884: a fake /proc swallows the writes of security labels.
    for source in ["fake", "/proc/self"] {
        bundle.patch(|config| config["mounts"] = before.clone()).mount(bind(source, "/proc", &["rbind"]));
        bundle.run().fails(1, "/proc");
    }
    bundle.leaves_nothing();
}

#[test]
fn do_not_show_on_the_host() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    bundle.mount(bind("data", "/tmp", &["rbind", "rshared"])).args(&["sleep", "1000"]);
    bundle.create().ok();
    assert_eq!(crate::support::machine::mounts(&bundle.id), Vec::<String>::new());
    bundle.delete().ok();
    // Nor where the host's mounts are shared: nothing travels up.
    let script = "mount --make-rshared /; \"$@\"; grep -c tare-test /proc/self/mountinfo || true";
    let answer = in_own_mounts(bundle.args(&["true"]), script).ok();
    assert_eq!(answer.stdout, "0\n");
}
