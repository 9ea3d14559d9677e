//! Bundles of unprivileged users, and bundles with mapped ids: unpacked, run, changed, repacked.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tar::EntryType;

use crate::skip::skip;
use crate::support::*;

/// The user's id, which owns nothing on any machine.
const USER: u32 = 54321;
/// The first of its subordinate ids, where it has some.
const FIRST: u32 = 600_000;

struct Home(Scratch);

impl Home {
    /// A directory of the user with the programs and an image.
    fn new(name: &str) -> Option<Self> {
        let Ok(busybox) = fs::read("/bin/busybox") else {
            skip("needs /bin/busybox");
            return None;
        };
        let scratch = Scratch::new(name);
        let mut fixture = Fixture::new(&scratch);
        let script = "id -u; stat -c '%u:%g %a' /data/own /closed; cat /proc/self/uid_map; echo new >/data/new; cat /data/new";
        fixture.config = json!({ "Cmd": ["/bin/sh", "-c", script] });
        let sh = Item { data: busybox, ..file("bin/busybox", "").mode(0o755) };
        let links = ["sh", "id", "stat", "cat"].map(|name| symlink(&format!("bin/{name}"), "busybox"));
        let mut capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
        capability.resize(20, 0);
        let below = [
            dir("bin"),
            sh,
            dir("data"),
            file("data/own", "own").ids(1000, 1001),
            file("data/cap", "x").mode(0o755).pax("SCHILY.xattr.security.capability", &capability),
            node("data/null", EntryType::Char, 1, 3),
            file("data/gone", "x"),
            dir("closed").mode(0o555),
            file("closed/file", "x").mode(0),
            dir("proc"),
            dir("dev"),
            dir("sys"),
        ];
        let above = [dir("closed").mode(0o500), file("closed/more", "x"), file("data/.wh.gone", "")];
        fixture.layer(Packing::Gzip, &archive(&[&below[..], &links].concat()));
        fixture.layer(Packing::Gzip, &archive(&above)).finish();
        for dir in ["home", "run", "bin"] {
            fs::create_dir(scratch.join(dir)).unwrap();
            chown(scratch.join(dir), Some(USER), Some(USER)).unwrap();
        }
        // Where that user can reach them: the folder of the build may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_tare"), scratch.join("bin/tare")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_tare-image"), scratch.join("bin/tare-image")).unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(scratch.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        Some(Self(scratch))
    }

    fn command(&self, before: &str, script: &str) -> Output {
        let (home, run, bin) = (self.0.join("home"), self.0.join("run"), self.0.join("bin"));
        Command::new("unshare")
            .args(["-m", "sh", "-c", before, "sh", script])
            .current_dir(&home)
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", run)
            .env_remove("XDG_DATA_HOME")
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()))
            .output()
            .unwrap()
    }

    /// Runs a script as the user, who has an account and, with `ranges`, subordinate ids.
    fn run(&self, ranges: bool, script: &str) -> Output {
        let become_user =
            format!("exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs sh -ec \"$1\"");
        if !ranges {
            return self.command(&become_user, script);
        }
        let files = format!(
            "set -e; touch /etc/subuid /etc/subgid; cp /etc/passwd ../passwd; \
             echo tare-test:x:{USER}:{USER}::/:/bin/sh >>../passwd; echo tare-test:{FIRST}:65536 >../subid; \
             mount --bind ../passwd /etc/passwd; mount --bind ../subid /etc/subuid; mount --bind ../subid /etc/subgid\n"
        );
        // newuidmap is setuid.
        self.command(&(files + &become_user.replace("--no-new-privs ", "")), script)
    }

    fn ok(&self, ranges: bool, script: &str) -> String {
        let output = self.run(ranges, script);
        assert!(output.status.success(), "{script}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Whether users may make user namespaces here, and newuidmap is installed.
fn can(home: &Home, ranges: bool) -> bool {
    let can = home.run(false, "unshare -U true").status.success()
        && (!ranges || Path::new("/usr/bin/newuidmap").exists());
    if !can {
        skip("needs user namespaces for users, and newuidmap");
    }
    can
}

fn said(owner: &str, map: &str) -> String {
    let map: Vec<&str> = map.lines().collect();
    let head = format!("0\n{owner} 644\n0:0 500\n");
    map.iter().fold(head, |text, line| text + line + "\n") + "new\n"
}

/// Removes the blanks that the kernel pads numbers with.
fn squeezed(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

const CHANGES: &str = "C /data\nA /data/new\n";

#[test]
fn a_user_with_one_id_unpacks_runs_and_repacks() {
    let Some(home) = Home::new("rootless-single") else { return };
    if !can(&home, false) {
        return;
    }
    let ran = home.ok(false, "tare-image unpack -q oci:../image b 2>../run/warnings; tare run -b b own");
    assert_eq!(squeezed(&ran), said("0:0", &format!("0 {USER} 1")));
    let root = home.0.join("home/b/rootfs");
    let about = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    assert_eq!((about("data/own").uid(), about("data/own").gid()), (USER, USER));
    assert_eq!(attributes(&root.join("data/own")), "user.rootlesscontainers=\\x08\\xe8\\x07\\x10\\xe9\\x07");
    assert_eq!((about("data/null").mode(), about("data/null").len()), (0o100_000, 0));
    assert!(!root.join("data/gone").exists());
    assert_eq!(about("closed").mode(), 0o40500);
    let warnings = fs::read_to_string(home.0.join("run/warnings")).unwrap();
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert!(warnings.contains("devices become empty files"), "{warnings}");
    assert_eq!(home.ok(false, "tare-image diff b"), CHANGES);
    repacked(&home, false, "b");
    home.ok(false, "tare-image remove b; test ! -e b");
}

#[test]
fn attributes_that_a_user_cannot_set_are_counted_and_left_out() {
    let Some(home) = Home::new("rootless-attributes") else { return };
    if !can(&home, false) {
        return;
    }
    // For a root that has another id on the host.
    let mut capability = vec![1, 0, 0, 3, 0, 0x20, 0, 0];
    capability.resize(20, 0);
    capability.extend(77_777_u32.to_le_bytes());
    let attribute =
        |name: &str, value: &[u8]| file(name, "x").pax("SCHILY.xattr.user.kept", b"y").pax(name, value);
    let items = [
        attribute("SCHILY.xattr.security.ima", b"\x03\x02"),
        attribute("SCHILY.xattr.security.evm", b"\x03\x02"),
        attribute("SCHILY.xattr.security.capability", &capability),
        attribute("SCHILY.xattr.system.posix_acl_access", &crate::access_lists::acl(77_777)),
    ];
    image(&home.0, &[&items[..2], &items[2..]]);
    for (ids, form) in [("single", ""), ("single", "--overlay"), ("ranges", ""), ("ranges", "--overlay")] {
        let ranges = ids == "ranges";
        if ranges && !can(&home, true) {
            return;
        }
        let script = format!("tare-image unpack --rootless={ids} -q {form} oci:../image b 2>../run/warnings");
        home.ok(ranges, &script);
        let warnings = fs::read_to_string(home.0.join("run/warnings")).unwrap();
        assert_eq!(warnings.lines().count(), 1, "{ids} {form}: {warnings}");
        assert!(warnings.contains("4 extended attributes are left out"), "{ids} {form}: {warnings}");
        if form.is_empty() {
            let root = home.0.join("home/b/rootfs");
            for name in ["ima", "evm", "capability"].map(|name| format!("SCHILY.xattr.security.{name}")) {
                assert!(attributes(&root.join(&name)).contains("user.kept=y"), "{name}");
            }
        }
        home.ok(ranges, "tare-image remove b; tare-image prune --all >/dev/null");
    }
}

/// Repacks the bundle, and checks what the new image has of a new file, of an owner and of a device.
fn repacked(home: &Home, ranges: bool, bundle: &str) {
    home.ok(ranges, &format!("tare-image repack -q {bundle} oci:out:new"));
    let _ = fs::remove_dir_all(home.0.join("as-root"));
    let source = format!("oci:{}/out:new", home.0.join("home").display());
    let output = home.0.run(&["unpack", "-q", &source, "as-root"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let about = |name: &str| fs::symlink_metadata(home.0.join("as-root/rootfs").join(name)).unwrap();
    assert_eq!((about("data/own").uid(), about("data/own").gid()), (1000, 1001));
    assert_eq!((about("data/new").uid(), about("data/new").gid()), (0, 0));
    assert_eq!((about("data/null").mode(), about("data/null").rdev()), (0o20644, 0x103));
    assert_eq!(attributes(&home.0.join("as-root/rootfs/data/new")), "");
}

#[test]
fn a_user_with_ranges_unpacks_runs_and_repacks() {
    let Some(home) = Home::new("rootless-ranges") else { return };
    if !can(&home, true) {
        return;
    }
    let ran = home.ok(true, "tare-image unpack -q oci:../image b 2>/dev/null; tare run -b b own");
    assert_eq!(squeezed(&ran), said("1000:1001", &format!("0 {USER} 1\n1 {FIRST} 65536")));
    let own = fs::metadata(home.0.join("home/b/rootfs/data/own")).unwrap();
    assert_eq!((own.uid(), own.gid()), (FIRST + 999, FIRST + 1000));
    assert_eq!(home.ok(true, "tare-image diff b"), CHANGES);
    repacked(&home, true, "b");
    home.ok(true, "tare-image remove b; test ! -e b");
}

#[test]
fn an_overlay_of_a_user_is_mounted_for_a_command() {
    let Some(home) = Home::new("rootless-overlay") else { return };
    for (ranges, owner, map) in [(false, "0:0", "0 0 1"), (true, "1000:1001", "0 0 1\n1 1 65536")] {
        if !can(&home, ranges) {
            return;
        }
        let script =
            "tare-image unpack -q --overlay oci:../image o 2>/dev/null; tare-image mount o tare run -b o own";
        let ran = home.ok(ranges, script);
        assert_eq!(squeezed(&ran), said(owner, map), "{ranges}");
        assert_eq!(fs::read_dir(home.0.join("home/o/rootfs")).unwrap().count(), 0);
        assert_eq!(home.ok(ranges, "tare-image diff o"), CHANGES, "{ranges}");
        repacked(&home, ranges, "o");
        // The layers are shared, by bundles of the same sort.
        home.ok(ranges, "tare-image unpack -q --overlay oci:../image p; tare-image remove p");
        let output = home.run(ranges, "tare-image mount o");
        assert!(stderr(&output).contains("say which: tare-image mount o COMMAND"), "{}", stderr(&output));
        assert_eq!(home.ok(ranges, "tare-image prune"), "");
        assert_eq!(home.run(ranges, "tare-image mount o sh -c 'exit 7'").status.code(), Some(7));
        let pruned = home.ok(ranges, "tare-image remove o; tare-image prune");
        assert_eq!(pruned.lines().count(), 2, "{pruned}");
        home.ok(ranges, "rm -rf out");
    }
}

#[test]
fn an_id_outside_the_ranges_is_told() {
    let Some(home) = Home::new("rootless-outside") else { return };
    if !can(&home, true) {
        return;
    }
    let mut fixture = Fixture::new(&home.0);
    fixture.layer(Packing::Gzip, &archive(&[file("a", "x").ids(0, 70_000)])).finish();
    let error = stderr(&home.run(true, "tare-image unpack oci:../image b"));
    assert!(
        error.contains(
            "a: the image has group id 70000, the mapping goes to 65536\nhint: root gives more in /etc/subuid"
        ),
        "{error}"
    );
    assert!(!home.0.join("home/b").exists());
    home.ok(true, "tare-image unpack -q --rootless=single oci:../image b; tare-image remove b");
    let error = stderr(&home.run(false, "tare-image unpack --rootless=ranges oci:../image b"));
    assert!(error.contains("the user has no subordinate ids"), "{error}");
    let error = stderr(&home.run(false, "tare-image unpack --uid-map 0:0:1 oci:../image b"));
    assert!(error.contains("--uid-map: only root maps any ids"), "{error}");
    let error = stderr(&home.0.run(&["unpack", "--rootless", "oci:image", "b"]));
    assert!(error.contains("--rootless: this is root"), "{error}");
}

#[test]
fn the_ids_of_a_container_are_mapped() {
    let Some(home) = Home::new("mapped") else { return };
    let scratch = &home.0;
    for form in [&[][..], &["--overlay", "--store", "store"]] {
        let args =
            ["unpack", "-q", "--uid-map", "0:700000:65536", "--gid-map", "0:800000:65536", "oci:image", "b"];
        let output = scratch.run(&[&args[..], form].concat());
        assert!(output.status.success(), "{form:?}: {}", stderr(&output));
        let about = |name: &str| fs::symlink_metadata(scratch.join("b/rootfs").join(name)).unwrap();
        assert_eq!((about("data/own").uid(), about("data/own").gid()), (701_000, 801_001), "{form:?}");
        assert_eq!(about("data/null").rdev(), 0x103);
        // Of version 3, with the root that it counts for.
        let capability = attributes(&scratch.join("b/rootfs/data/cap"));
        assert!(capability.starts_with("security.capability=\\x01\\x00\\x00\\x03"), "{capability}");
        assert!(capability.ends_with("`\\xae\\n\\x00"), "{capability}");
        let ran = Command::new(env!("CARGO_BIN_EXE_tare"))
            .arg("--root")
            .arg(scratch.join("state"))
            .args(["run", "-b", "b", &format!("tare-image-mapped-{}", std::process::id())])
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{form:?}: {}", stderr(&ran));
        let text = squeezed(&String::from_utf8_lossy(&ran.stdout));
        assert_eq!(text, said("1000:1001", "0 700000 65536"), "{form:?}");
        assert_eq!(about("data/new").uid(), 700_000);
        let config: Value =
            serde_json::from_slice(&fs::read(scratch.join("b/config.json")).unwrap()).unwrap();
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 800_000);
        let diff = scratch.run(&["diff", "b"]);
        assert_eq!(String::from_utf8_lossy(&diff.stdout), CHANGES);
        // The image has the container's ids again.
        chown(scratch.join("b/rootfs/data/cap"), Some(700_007), Some(800_008)).unwrap();
        assert!(scratch.run(&["repack", "-q", "b", "oci:out:new"]).status.success());
        assert!(scratch.run(&["unpack", "-q", "oci:out:new", "plain"]).status.success());
        let cap = fs::metadata(scratch.join("plain/rootfs/data/cap")).unwrap();
        assert_eq!((cap.uid(), cap.gid()), (7, 8), "{form:?}");
        for bundle in ["b", "plain"] {
            let output = scratch.run(&["remove", bundle]);
            assert!(output.status.success(), "{}", stderr(&output));
        }
    }
    let error = stderr(&scratch.run(&["unpack", "--uid-map", "0:700000:10", "oci:image", "b"]));
    assert!(error.contains("data/own: the image has user id 1000, the mapping goes to 9"), "{error}");
}
