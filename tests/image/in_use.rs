//! A bundle is not removed while a process or a mount uses it, wherever the kernel shows that.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::skip::skip;
use crate::support::{Item, Scratch, dir, file, image, stderr};

/// A process of a script that has said that it is ready, and ends with its input.
struct Running(Child);

impl Running {
    fn start(scratch: &Scratch, script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-ec", script])
            .current_dir(scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{script}");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn unpack(scratch: &Scratch, form: &[&str]) {
    let output = scratch.run(&[&["unpack", "-q"], form, &["oci:image", "bundle"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
}

const READY: &str = "sh -c 'echo ready; read x'";

#[test]
fn whatever_uses_a_bundle_keeps_it() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let Ok(busybox) = fs::read("/bin/busybox") else { return skip("needs /bin/busybox") };
    let scratch = Scratch::new("kept-in-use");
    let sh = |name: &str| Item { data: busybox.clone(), ..file(name, "").mode(0o755) };
    image(&scratch, &[&[dir("deep"), dir("deep/bin"), sh("deep/bin/busybox"), dir("deep/er")]]);
    for name in ["mnt", "up", "work", "lower"] {
        fs::create_dir(scratch.join(name)).unwrap();
    }
    let here = scratch.path().to_str().unwrap();
    let in_namespace = |script: &str| format!("exec unshare -m sh -ec \"{script}; echo ready; read x\"");
    let overlay = |options: &str| in_namespace(&format!("mount -t overlay -o {options} none mnt"));
    let cases = [
        (format!("exec chroot bundle/rootfs/deep /bin/busybox {READY}"), "a container runs in it"),
        (format!("cd bundle/rootfs/deep/er; exec {READY}"), "the working directory of a process is in it"),
        (format!("exec bundle/rootfs/deep/bin/busybox {READY}"), "a program of it runs"),
        (in_namespace("mount --bind bundle/rootfs/deep mnt"), "it is mounted at"),
        (in_namespace("mount --bind bundle/upper mnt"), "it is mounted at"),
        (overlay(&format!("lowerdir={here}/bundle/rootfs:{here}/lower")), "overlay"),
        (overlay(&format!("lowerdir={here}/lower:{here}/bundle/rootfs/deep")), "overlay"),
        (overlay("lowerdir=bundle/rootfs:lower"), "overlay"),
        (
            overlay(&format!(
                "lowerdir={here}/lower,upperdir={here}/bundle/rootfs/deep/er,workdir={here}/bundle/rootfs/deep/w"
            )),
            "overlay",
        ),
    ];
    for form in [&[][..], &["--overlay", "--store", "store"]] {
        for (script, reason) in &cases {
            if form.is_empty() && script.contains("bundle/upper")
                || !form.is_empty() && script.contains("upperdir")
            {
                continue;
            }
            unpack(&scratch, form);
            if script.contains("/w") && script.contains("upperdir") {
                fs::create_dir(scratch.join("bundle/rootfs/deep/w")).unwrap();
            }
            let running = Running::start(&scratch, script);
            let output = scratch.run(&["remove", "bundle"]);
            assert!(stderr(&output).contains(reason), "{form:?} {script}: {}", stderr(&output));
            assert!(scratch.join("bundle/rootfs/deep/bin/busybox").exists(), "{script}");
            drop(running);
            let output = scratch.run(&["remove", "bundle"]);
            assert!(output.status.success(), "{form:?} {script}: {}", stderr(&output));
        }
        // Another namespace has copies of all mounts, and uses none of them.
        unpack(&scratch, form);
        let running = Running::start(&scratch, &format!("exec unshare -m {READY}"));
        let output = scratch.run(&["remove", "bundle"]);
        assert!(output.status.success(), "{form:?}: {}", stderr(&output));
        drop(running);
    }
}

#[test]
fn a_relative_layer_is_that_of_its_own_bundle_alone() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("relative-layer");
    image(&scratch, &[&[file("a", ""), dir("sub")]]);
    for name in ["mnt", "lower", "other"] {
        fs::create_dir(scratch.join(name)).unwrap();
    }
    unpack(&scratch, &[]);
    let mount = |options: &str| {
        format!("exec unshare -m sh -ec \"mount -t overlay -o {options} none mnt; echo ready; read x\"")
    };
    for options in ["lowerdir=bundle/rootfs:lower", "lowerdir=./bundle/rootfs/sub:lower"] {
        let running = Running::start(&scratch, &mount(options));
        assert!(scratch.run(&["unpack", "-q", "oci:image", "other/bundle"]).status.success());
        let output = scratch.run(&["remove", "other/bundle"]);
        assert!(output.status.success(), "{options}: {}", stderr(&output));
        let output = scratch.run(&["remove", "bundle"]);
        assert!(stderr(&output).contains("an overlay over it"), "{options}: {}", stderr(&output));
        drop(running);
    }
}

#[test]
fn an_overlay_that_only_another_namespace_has_keeps_its_bundle() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("in-use-hidden");
    image(&scratch, &[&[file("a", "")]]);
    unpack(&scratch, &["--overlay", "--store", "store"]);
    assert!(scratch.run(&["umount", "bundle"]).status.success());
    let mount = format!("exec unshare -m {} mount bundle {READY}", env!("CARGO_BIN_EXE_tare-image"));
    let running = Running::start(&scratch, &mount);
    // Its directories are recognized, not the path that they had.
    for name in ["bundle", "moved"] {
        let output = scratch.run(&["remove", name]);
        assert!(stderr(&output).contains("it is mounted at"), "{name}: {}", stderr(&output));
        if name == "bundle" {
            fs::rename(scratch.join("bundle"), scratch.join("moved")).unwrap();
        }
    }
    assert!(scratch.join("moved/upper").exists());
    drop(running);
    let output = scratch.run(&["remove", "moved"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_process_that_cannot_be_looked_at_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("in-use-blind");
    image(&scratch, &[&[file("a", "")]]);
    // A name that no other test has a relative layer of.
    assert!(scratch.run(&["unpack", "-q", "oci:image", "blind"]).status.success());
    // Root without the capability to look at processes that have more.
    let output = Command::new("setpriv")
        .args([
            "--bounding-set",
            "-sys_ptrace",
            "--inh-caps",
            "-sys_ptrace",
            env!("CARGO_BIN_EXE_tare-image"),
        ])
        .args(["remove", "blind"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let error = stderr(&output);
    assert!(error.contains("it is not known whether they use the bundle"), "{error}");
    assert!(output.status.success(), "{error}");
}
