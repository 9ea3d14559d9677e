//! Cases in which umoci, Podman and containerd are known to differ from the specification: one small image for each, with
//! the rule that applies. (The large image on which they agree is compared by integration/image/compare.)
//!
//! The test fails when a peer begins to behave differently: the case must then be looked at again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tar::EntryType;

use crate::skip::skip;
use crate::support::*;

/// How a peer's result differs from ours.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Verdict {
    Same,
    /// These paths differ: `+` only the peer has it, `-` only we have it, `~` both have it with different metadata.
    Differs(Vec<String>),
    /// The peer refuses the image, we unpack it.
    Refuses,
    /// We refuse the image, the peer unpacks it.
    Accepts,
}

use Verdict::{Accepts, Refuses, Same};

fn differs(paths: &[&str]) -> Verdict {
    Verdict::Differs(paths.iter().map(|&path| path.into()).collect())
}

struct Case {
    name: &'static str,
    /// The rule that decides who is right.
    rule: &'static str,
    layers: Vec<Vec<Item>>,
    umoci: Verdict,
    podman: Verdict,
    containerd: Verdict,
}

type Tree = BTreeMap<String, String>;

fn tree(root: &Path) -> Tree {
    let lines = listing(root).into_iter();
    let halves =
        lines.map(|line| line.split_once(' ').map(|(path, rest)| (path.into(), rest.into())).unwrap());
    let mut tree: Tree = halves.collect();
    // The root's time is pinned by one case; elsewhere no layer has an entry for it.
    if tree.get("/").is_some_and(|root| !root.starts_with("40700 ")) {
        tree.remove("/");
    }
    tree
}

fn judged(ours: Option<&Tree>, theirs: Option<&Tree>) -> Verdict {
    let (ours, theirs) = match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours, theirs),
        (None, Some(_)) => return Accepts,
        (Some(_), None) => return Refuses,
        (None, None) => return Same,
    };
    let mut paths: Vec<String> =
        ours.keys().filter(|path| !theirs.contains_key(*path)).map(|p| format!("-{p}")).collect();
    for (path, theirs) in theirs {
        match ours.get(path) {
            None => paths.push(format!("+{path}")),
            Some(ours) if ours != theirs => paths.push(format!("~{path}")),
            Some(_) => {}
        }
    }
    if paths.is_empty() { Same } else { Verdict::Differs(paths) }
}

/// Unpacks every case with tare-image and with a peer; None where there is no such peer.
fn all(peer: &str, expected: impl Fn(&Case) -> &Verdict, unpack: &mut dyn FnMut(&Scratch) -> Option<Tree>) {
    let mut wrong = Vec::new();
    for case in cases() {
        let scratch = Scratch::new(&format!("{peer}-{}", case.name));
        let mut fixture = Fixture::new(&scratch);
        fixture.config = serde_json::json!({ "Cmd": ["true"] });
        for layer in &case.layers {
            fixture.layer(Packing::Gzip, &archive(layer));
        }
        fixture.finish();
        let ours = scratch.run(&["unpack", "oci:image", "bundle"]).status.success();
        let ours = ours.then(|| tree(&scratch.join("bundle/rootfs")));
        let theirs = unpack(&scratch);
        let found = judged(ours.as_ref(), theirs.as_ref());
        if found != *expected(&case) {
            wrong.push(format!(
                "{} ({}):\n  expected {:?}\n  found    {found:?}\n  ours {ours:?}\n  theirs {theirs:?}",
                case.name,
                case.rule,
                expected(&case)
            ));
        }
    }
    assert!(wrong.is_empty(), "{peer}:\n{}", wrong.join("\n"));
}

/// Whether a program is installed; prints it if not.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skip(&format!("needs {program}"));
    }
    there
}

fn run(command: &mut Command) -> Option<String> {
    let output = command.output().unwrap();
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn umoci_differs_where_it_is_known_to() {
    if !is_there("umoci") {
        return;
    }
    all("umoci", |case| &case.umoci, &mut |scratch| {
        let theirs = scratch.join("theirs");
        let image = format!("{}:latest", scratch.join("image").display());
        run(Command::new("umoci").args(["raw", "unpack", "--image", &image]).arg(&theirs))?;
        Some(tree(&theirs))
    });
}

#[test]
fn podman_differs_where_it_is_known_to() {
    if !is_there("podman") {
        return;
    }
    // The path of its run directory must be short.
    let home = Scratch::new("pm");
    let podman = |args: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(home.join("root")).arg("--runroot").arg(home.join("run"));
        run(command.args(["--storage-driver", "overlay"]).args(args))
    };
    all("podman", |case| &case.podman, &mut |scratch| {
        let image = podman(&["pull", "-q", &format!("oci:{}", scratch.join("image").display())])?;
        let mounted = podman(&["image", "mount", &image])?;
        let theirs = tree(Path::new(&mounted));
        podman(&["image", "umount", &image])?;
        podman(&["rmi", "-f", &image])?;
        Some(theirs)
    });
    let _ = nix::mount::umount(&home.join("root/overlay"));
}

/// A containerd started for the test, and ended with it.
struct Containerd {
    process: Child,
    address: PathBuf,
}

impl Containerd {
    fn start(home: &Scratch) -> Self {
        let address = home.join("sock");
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(home.join("config.toml"), config).unwrap();
        let log = || Stdio::from(fs::File::create(home.join("log")).unwrap());
        let process = Command::new("containerd")
            .arg("--config")
            .arg(home.join("config.toml"))
            .arg("--root")
            .arg(home.join("root"))
            .arg("--state")
            .arg(home.join("state"))
            .arg("--address")
            .arg(&address)
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let containerd = Self { process, address };
        for _ in 0..200 {
            if containerd.ctr(&["version"]).is_some() {
                return containerd;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("containerd does not come up: {}", fs::read_to_string(home.join("log")).unwrap());
    }

    fn ctr(&self, args: &[&str]) -> Option<String> {
        run(Command::new("ctr").arg("--address").arg(&self.address).args(args))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn containerd_differs_where_it_is_known_to() {
    if !is_there("containerd") || !is_there("ctr") {
        return;
    }
    let home = Scratch::new("ctrd");
    let containerd = Containerd::start(&home);
    all("containerd", |case| &case.containerd, &mut |scratch| {
        let (file, mounted) = (scratch.join("image.tar"), scratch.join("mounted"));
        run(Command::new("tar").arg("-C").arg(scratch.join("image")).arg("-cf").arg(&file).arg("."))?;
        fs::create_dir(&mounted).unwrap();
        let (file, target) = (file.to_str().unwrap(), mounted.to_str().unwrap());
        containerd.ctr(&["image", "import", "--snapshotter", "overlayfs", "--base-name", "x", file])?;
        let name = containerd.ctr(&["image", "ls", "-q"]).unwrap();
        let theirs =
            containerd.ctr(&["image", "mount", "--snapshotter", "overlayfs", &name, target]).map(|_| {
                let theirs = tree(&mounted);
                // Not at once: a process that another test is just starting may still hold a file that we had open.
                nix::mount::umount2(&mounted, nix::mount::MntFlags::MNT_DETACH).unwrap();
                theirs
            });
        containerd.ctr(&["image", "rm", &name])?;
        theirs
    });
}

fn cases() -> Vec<Case> {
    let same = |name, rule, layers| Case { name, rule, layers, umoci: Same, podman: Same, containerd: Same };
    vec![
        same(
            "agreed",
            "everything that is in no dispute",
            vec![
                vec![
                    dir("./").mode(0o711),
                    dir("d").mode(0o2750).ids(5, 6),
                    file("d/f", "x").mode(0o4755).ids(7, 8).pax("SCHILY.xattr.user.a", b"b\0c"),
                    symlink("l", "/etc"),
                    node("null", EntryType::Char, 1, 3),
                    node("fifo", EntryType::Fifo, 0, 0),
                    file("gone", ""),
                    file("late", "").pax("mtime", b"2345678901.123456789"),
                ],
                vec![
                    file(".wh.gone", ""),
                    file("e", "y"),
                    hard_link("h", "e"),
                    file(".wh.l", ""),
                    file(".wh.missing", ""),
                ],
            ],
        ),
        Case {
            podman: differs(&["~/b"]),
            containerd: differs(&["~/b"]),
            ..same(
                "link-broken",
                "a file that a layer replaces is no other name of the lower layer's file any more",
                vec![vec![file("a", "x"), hard_link("b", "a")], vec![file("a", "y")]],
            )
        },
        same(
            "whiteout-first",
            "layer.md, Whiteouts: it hides only what lower layers have",
            vec![vec![dir("d"), file("d/a", "old")], vec![dir("d"), file("d/.wh.a", ""), file("d/a", "new")]],
        ),
        Case {
            podman: Refuses,
            containerd: Refuses,
            ..same(
                "whiteout-last",
                "layer.md, Whiteouts: it hides only what lower layers have, whatever the order of the entries",
                vec![
                    vec![dir("d"), file("d/a", "old")],
                    vec![dir("d"), file("d/a", "new"), file("d/.wh.a", "")],
                ],
            )
        },
        same(
            "opaque-first",
            "layer.md, Opaque Whiteout: it hides all children of lower layers",
            vec![
                vec![dir("d"), file("d/a", "")],
                vec![dir("d"), file("d/.wh..wh..opq", ""), file("d/b", "")],
            ],
        ),
        same(
            "opaque-last",
            "layer.md, Opaque Whiteout: the same wherever in the layer it stands",
            vec![
                vec![dir("d"), file("d/a", "")],
                vec![dir("d"), file("d/b", ""), file("d/.wh..wh..opq", "")],
            ],
        ),
        Case {
            podman: differs(&["-/"]),
            containerd: differs(&["-/"]),
            ..same(
                "root",
                "layer.md: an entry for the root is one like any other; its attributes are the root's",
                vec![vec![dir("./").mode(0o700).mtime(TIME + 5), file("a", "")]],
            )
        },
        Case {
            podman: differs(&["~/a"]),
            containerd: differs(&["~/a"]),
            ..same(
                "before-1970",
                "POSIX pax: mtime is a signed decimal number",
                vec![vec![file("a", "").pax("mtime", b"-1.5")]],
            )
        },
        same(
            "attributes-go",
            "layer.md, Modifications: a directory's attributes are replaced, all of them",
            vec![
                vec![dir("d").pax("SCHILY.xattr.user.old", b"1"), file("d/a", "")],
                vec![dir("d").pax("SCHILY.xattr.user.new", b"1")],
            ],
        ),
        Case {
            umoci: Refuses,
            podman: differs(&["~/a"]),
            containerd: differs(&["~/a"]),
            ..same(
                "parent-file",
                "left open by layer.md: an entry in what lower layers have as a file",
                vec![vec![file("a", "x")], vec![file("a/b", "y")]],
            )
        },
        Case {
            umoci: Refuses,
            podman: Refuses,
            containerd: Refuses,
            ..same(
                "parent-file-own",
                "left open by layer.md: an entry in what the same layer has as a file",
                vec![vec![file("a", "x"), file("a/b", "y")]],
            )
        },
        Case {
            podman: differs(&["~/a"]),
            containerd: differs(&["~/a"]),
            ..same(
                "parents-implied",
                "left open by layer.md: directories without an entry keep what lower layers say of them",
                vec![vec![dir("a").mode(0o750).ids(3, 4)], vec![file("a/b", "y")]],
            )
        },
        same(
            "link-early",
            "layer.md, Hardlinks: the target stands before its links",
            vec![vec![hard_link("b", "a"), file("a", "x")]],
        ),
        Case {
            podman: Refuses,
            containerd: Refuses,
            ..same(
                "link-below",
                "layer.md, Hardlinks: a link to a lower layer's file may fail; it is that file",
                vec![vec![file("a", "x").mode(0o640)], vec![hard_link("b", "a")]],
            )
        },
        same(
            "link-dangling-path",
            "a symlink's target is stored as it is, wherever it points",
            vec![vec![symlink("l", "../../../../etc"), symlink("m", "/../x")]],
        ),
        Case {
            podman: differs(&["-/real/a", "~/l", "+/l/a"]),
            containerd: differs(&["-/real/a", "~/l", "+/l/a"]),
            ..same(
                "through-link",
                "an entry below a symlink is made where the link leads, inside the root",
                vec![vec![dir("real"), symlink("l", "/real")], vec![file("l/a", "x")]],
            )
        },
        same(
            "link-over-directory",
            "layer.md: what has another type replaces",
            vec![
                vec![dir("d"), file("d/a", ""), dir("e"), symlink("s", "e"), file("f", "")],
                vec![symlink("d", "e"), dir("s"), dir("f")],
            ],
        ),
        Case {
            umoci: Accepts,
            ..same(
                "whiteout-empty",
                "layer.md: a whiteout of no name SHOULD be an error",
                vec![vec![dir("d"), file("d/a", "")], vec![dir("d"), file("d/.wh.", "")]],
            )
        },
        Case {
            umoci: differs(&["+/.wh..wh.plnk", "+/.wh..wh.plnk/1.2"]),
            podman: differs(&["+/.wh..wh.plnk", "+/.wh..wh.plnk/1.2"]),
            containerd: differs(&["+/.wh..wh.plnk", "+/.wh..wh.plnk/1.2"]),
            ..same(
                "aufs",
                "layer.md: .wh..wh. names are reserved; they make nothing and hide nothing",
                vec![
                    vec![file("a", ""), file(".wh.plnk", "x")],
                    vec![
                        dir(".wh..wh.plnk"),
                        file(".wh..wh.plnk/1.2", "x"),
                        file(".wh..wh.aufs", ""),
                        file("b", ""),
                    ],
                ],
            )
        },
        same(
            "whiteout-directory",
            "layer.md calls a whiteout an empty file; what it is does not matter, its name does",
            vec![vec![dir("d"), file("d/a", "")], vec![dir(".wh.d")]],
        ),
        Case {
            umoci: Refuses,
            podman: differs(&["~/a"]),
            containerd: differs(&["~/a"]),
            ..same(
                "global",
                "POSIX pax: a global header holds for all entries after it",
                vec![vec![global("mtime", b"123456789"), file("a", "")]],
            )
        },
        Case {
            umoci: Refuses,
            ..same(
                "comment",
                "POSIX pax: a global header may be a comment only (git archive writes one)",
                vec![vec![global("comment", b"0123456789abcdef"), file("a", "")]],
            )
        },
        Case {
            podman: differs(&["-/d/a"]),
            ..same(
                "forged-mark",
                "a layer has no marks of an overlay: they are left out",
                vec![
                    vec![dir("d"), file("d/a", "")],
                    vec![dir("d").pax("SCHILY.xattr.trusted.overlay.opaque", b"y"), file("d/b", "")],
                ],
            )
        },
        Case {
            umoci: Accepts,
            podman: Accepts,
            containerd: Accepts,
            ..same(
                "device-0-0",
                "a device 0:0 would be a whiteout in an overlay",
                vec![vec![file("a", "")], vec![node("a", EntryType::Char, 0, 0)]],
            )
        },
        Case {
            podman: Accepts,
            containerd: Accepts,
            ..same(
                "root-link",
                "the root is a directory (CVE-2021-29136)",
                vec![vec![symlink(".", "/tmp")], vec![file("a", "")]],
            )
        },
        Case {
            podman: Refuses,
            ..same(
                "twice",
                "layer.md: entries are unique; where they are not, the last one counts",
                vec![vec![file("a", "1"), file("a", "2"), dir("d"), file("d/x", ""), file("d", "3")]],
            )
        },
        Case {
            umoci: Accepts,
            podman: Accepts,
            containerd: Accepts,
            ..same(
                "id-too-large",
                "the kernel has no owner 4294967295",
                vec![vec![file("a", "").ids(0xffff_ffff, 0)]],
            )
        },
        Case {
            umoci: differs(&["~/a"]),
            podman: differs(&["~/a"]),
            containerd: differs(&["~/a"]),
            ..same(
                "libarchive",
                "left open: attributes in libarchive's form, base64",
                vec![vec![file("a", "").pax("LIBARCHIVE.xattr.user.x", b"aGk")]],
            )
        },
        same(
            "long-symlink",
            "names are bytes, and as long as the kernel takes them",
            vec![vec![symlink("l", &"t".repeat(4000)), file("", "x").raw_name(b"\xff\xfe")]],
        ),
    ]
}

/// A global pax header, which holds for all entries after it.
fn global(key: &str, value: &[u8]) -> Item {
    let mut item = file("pax_global_header", "");
    item.kind = EntryType::XGlobalHeader;
    item.data = record(key, value);
    item
}
