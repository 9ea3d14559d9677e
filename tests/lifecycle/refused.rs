//! Why a program is not executed: the kernel's answer, which engines match, and behind it the reason.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Bundle, FIRST_ID, skip, wait_until};

const NO_FILE: &str = "no such file or directory";
const DENIED: &str = "permission denied";
const FORMAT: &str = "exec format error";

/// A program that is refused: how it is made in the rootfs, the kernel's answer, and the reason.
struct Row {
    path: &'static str,
    make: fn(&Path),
    answer: &'static str,
    reason: &'static str,
}

fn write(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// The head of an ELF file of 64 bits with one segment that names a loader, and one of code.
fn elf(machine: u16, kind: u16, loader: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(kind.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend([0x400_000u64, 64, 0].map(u64::to_le_bytes).concat());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend([64u16, 56, 2, 64, 0, 0].map(u16::to_le_bytes).concat());
    let name = loader.map_or(Vec::new(), |loader| [loader.as_bytes(), b"\0"].concat());
    let segment = |kind: u32, offset: u64, size: u64, align: u64| {
        let numbers = [offset, 0x400_000 + offset, 0x400_000 + offset, size, size, align];
        [&kind.to_le_bytes()[..], &5u32.to_le_bytes(), &numbers.map(u64::to_le_bytes).concat()].concat()
    };
    let kind = if loader.is_some() { 3 } else { 0x6fff_ffff };
    bytes.extend(segment(kind, 176, name.len() as u64, 1));
    bytes.extend(segment(1, 0, 176, 4096));
    bytes.extend(name);
    bytes
}

fn native() -> u16 {
    match std::env::consts::ARCH {
        "aarch64" => 183,
        "riscv64" => 243,
        _ => 62,
    }
}

fn foreign() -> u16 {
    if cfg!(target_arch = "aarch64") { 62 } else { 183 }
}

const ROWS: &[Row] = &[
    Row {
        path: "/bin/foreign",
        make: |path| write(path, elf(foreign(), 2, None), 0o755),
        answer: FORMAT,
        reason: "a program for ",
    },
    Row {
        path: "/bin/big-endian",
        make: |path| {
            write(
                path,
                {
                    let mut bytes = elf(0, 0x0200, None);
                    bytes[5] = 2;
                    bytes[18..20].copy_from_slice(&22u16.to_be_bytes());
                    bytes
                },
                0o755,
            );
        },
        answer: FORMAT,
        reason: "a program for s390x, this host is ",
    },
    Row {
        path: "/bin/object",
        make: |path| write(path, elf(native(), 1, None), 0o755),
        answer: FORMAT,
        reason: "an object file, which is still to be linked",
    },
    Row {
        path: "/bin/cut-off",
        make: |path| write(path, &elf(native(), 2, None)[..64], 0o755),
        answer: "",
        reason: "an ELF file that is cut off or damaged",
    },
    Row {
        path: "/bin/empty",
        make: |path| write(path, "", 0o755),
        answer: FORMAT,
        reason: "the file is empty",
    },
    Row {
        path: "/bin/zeros",
        make: |path| write(path, [0; 4096], 0o755),
        answer: FORMAT,
        reason: "the file holds zeros: it was not written to its end",
    },
    Row {
        path: "/bin/text",
        make: |path| write(path, "echo no\n", 0o755),
        answer: FORMAT,
        reason: "a text file without a #! line",
    },
    Row {
        path: "/bin/late",
        make: |path| write(path, "\n#!/bin/sh\n", 0o755),
        answer: FORMAT,
        reason: "its #! is not at the very beginning of the file",
    },
    Row {
        path: "/bin/mark",
        make: |path| write(path, b"\xef\xbb\xbf#!/bin/sh\n", 0o755),
        answer: FORMAT,
        reason: "a script with a byte order mark before its #!",
    },
    Row {
        path: "/bin/windows",
        make: |path| write(path, b"MZ\x90\0", 0o755),
        answer: FORMAT,
        reason: "a program for Windows",
    },
    Row {
        path: "/bin/lfs",
        make: |path| write(path, "version https://git-lfs.github.com/spec/v1\n", 0o755),
        answer: FORMAT,
        reason: "a pointer of Git LFS",
    },
    Row {
        path: "/bin/nameless",
        make: |path| write(path, "#!  \n", 0o755),
        answer: FORMAT,
        reason: "its #! line names no interpreter",
    },
    Row {
        path: "/bin/long",
        make: |path| write(path, format!("#!/{}\n", "x".repeat(300)), 0o755),
        answer: FORMAT,
        reason: "its #! line is longer than the 255 bytes",
    },
    Row {
        path: "/bin/crlf",
        make: |path| write(path, "#!/bin/sh\r\necho no\r\n", 0o755),
        answer: NO_FILE,
        reason: "its interpreter is \"/bin/sh\\r\": Windows line ends",
    },
    Row {
        path: "/bin/python",
        make: |path| write(path, "#!/usr/bin/python3 -u\n", 0o755),
        answer: NO_FILE,
        reason: "it needs /usr/bin/python3, which is not in the root file system",
    },
    Row {
        path: "/bin/nested",
        make: |path| {
            write(path, "#!/bin/inner\n", 0o755);
            write(&path.with_file_name("inner"), "#!/nosuch/ruby\n", 0o755);
        },
        answer: NO_FILE,
        reason: "its interpreter /bin/inner: it needs /nosuch/ruby, which is not in the root file system",
    },
    Row {
        path: "/bin/itself",
        make: |path| write(path, "#!/bin/itself\n", 0o755),
        answer: "too many levels of symbolic links",
        reason: "its interpreter is a script, and so on for more than 5 times",
    },
    Row {
        path: "/bin/by-text",
        make: |path| {
            write(path, "#!/bin/plain\n", 0o755);
            write(&path.with_file_name("plain"), "no x", 0o644);
        },
        answer: DENIED,
        reason: "its interpreter /bin/plain: mode 0644 has no x bit",
    },
    Row {
        path: "/bin/by-directory",
        make: |path| write(path, "#!/etc\n", 0o755),
        answer: DENIED,
        reason: "its interpreter /etc: a directory, no program",
    },
    Row {
        path: "/bin/glibc",
        make: |path| write(path, elf(native(), 2, Some("/lib64/ld-linux-x86-64.so.2")), 0o755),
        answer: NO_FILE,
        reason: "it needs /lib64/ld-linux-x86-64.so.2 (the loader of glibc), which is not in the root file system",
    },
    Row {
        path: "/bin/musl",
        make: |path| write(path, elf(native(), 3, Some("/lib/ld-musl-x86_64.so.1")), 0o755),
        answer: NO_FILE,
        reason: "it needs /lib/ld-musl-x86_64.so.1 (the loader of musl), which is not in the root file system",
    },
    Row {
        path: "/bin/bad-loader",
        make: |path| {
            write(path, elf(native(), 2, Some("/lib/loader")), 0o755);
            write(&path.parent().unwrap().with_file_name("lib/loader"), elf(foreign(), 3, None), 0o755);
        },
        answer: "accessing a corrupted shared library",
        reason: "its loader /lib/loader: a program for ",
    },
    Row {
        path: "/bin/no-x",
        make: |path| write(path, "#!/bin/sh\n", 0o644),
        answer: DENIED,
        reason: "mode 0644 has no x bit",
    },
    Row {
        path: "/bin/fifo",
        make: |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o755)).unwrap(),
        answer: DENIED,
        reason: "a FIFO, no program",
    },
    Row {
        path: "/bin/by-fifo",
        make: |path| {
            write(path, "#!/bin/pipe\n", 0o755);
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o755);
            nix::unistd::mkfifo(&path.with_file_name("pipe"), mode).unwrap();
        },
        answer: DENIED,
        reason: "its interpreter /bin/pipe: a FIFO, no program",
    },
    Row {
        path: "/bin/dangling",
        make: |path| symlink("/opt/app/run", path).unwrap(),
        answer: NO_FILE,
        reason: "/bin/dangling is a symlink to /opt/app/run, and /opt is not in the root file system",
    },
    Row {
        path: "/bin/circle",
        make: |path| symlink("circle", path).unwrap(),
        answer: "too many levels of symbolic links",
        reason: "symlinks lead in a circle at /bin/circle",
    },
    Row {
        path: "/etc/passwd/app",
        make: |_| {},
        answer: "not a directory",
        reason: "/etc/passwd is no directory",
    },
    Row { path: "/opt/missing/app", make: |_| {}, answer: NO_FILE, reason: "there is no directory /opt" },
];

fn bundle() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    for row in ROWS {
        (row.make)(&bundle.rootfs().join(&row.path[1..]));
    }
    bundle.writable();
    Some(bundle)
}

/// One row, as one way of starting it has told it.
fn check(row: &Row, how: &str, told: &str) {
    let sentence =
        told.lines().find(|line| line.contains("exec ") || line.contains("exec: ")).unwrap_or_default();
    let answer = sentence.find(row.answer).map(|at| at + row.answer.len());
    let reason = sentence.find(row.reason);
    assert!(answer.is_some() && answer <= reason, "{how} {}: {told:?}", row.path);
    // What engines take for another failure.
    for other in [NO_FILE, DENIED, "is a directory"].iter().filter(|other| !row.answer.contains(**other)) {
        assert!(!sentence.contains(other), "{how} {}: {sentence}", row.path);
    }
}

#[test]
fn the_reason_stands_behind_the_kernels_answer() {
    let Some(mut bundle) = bundle() else { return };
    bundle.up();
    for row in ROWS {
        for flags in [&[][..], &["-d"]] {
            let call = [&["exec"], flags, &[&bundle.id, row.path]].concat();
            let answer = bundle.tare(&call);
            assert_eq!(answer.code, 255, "{answer:?}");
            check(row, "exec", &answer.told());
        }
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
fn run_tells_the_reason_too() {
    let Some(mut bundle) = bundle() else { return };
    for row in ROWS {
        bundle.args(&[row.path]);
        let answer = bundle.run();
        assert_ne!(answer.code, 0, "{answer:?}");
        check(row, "run", &answer.told());
        let answer = bundle.tare(&["run", "-d", &bundle.id]);
        assert_eq!(answer.code, 1, "{answer:?}");
        check(row, "run -d", &answer.told());
    }
}

/// As engines start containers: by the time the program is refused, `create` has ended.
#[test]
fn a_started_process_tells_the_reason_itself() {
    let Some(mut bundle) = bundle() else { return };
    for row in ROWS.iter().filter(|row| ["/bin/foreign", "/bin/crlf", "/bin/glibc"].contains(&row.path)) {
        bundle.args(&[row.path]);
        let script = format!("\"$@\" 2> {}", bundle.path("said"));
        bundle.tare_by(&script, &["create", &bundle.id]).ok();
        bundle.start().ok();
        wait_until("the process ends", || bundle.status() == "stopped");
        check(row, "start", &bundle.read("said"));
        bundle.tare(&["delete", &bundle.id]).ok();
    }
}

/// Runs `path` in a changed bundle; it must fail and say this.
#[track_caller]
fn refused(bundle: &mut Bundle, path: &str, answer: &str, reason: &str) {
    bundle.args(&[path]);
    let told = bundle.tare(&["run", "-d", &bundle.id]);
    assert_ne!(told.code, 0, "{told:?}");
    let text = told.told();
    let at = text.find(answer).unwrap_or_else(|| panic!("no {answer:?} in {text:?}"));
    assert!(text[at..].contains(reason), "no {reason:?} in {text:?}");
}

#[test]
fn a_user_is_told_which_right_it_lacks() {
    let Some(mut bundle) = bundle() else { return };
    write(&bundle.rootfs().join("bin/private"), "#!/bin/sh\n", 0o700);
    write(&bundle.rootfs().join("secret/app/run"), "#!/bin/sh\n", 0o755);
    fs::set_permissions(bundle.rootfs().join("secret"), PermissionsExt::from_mode(0o700)).unwrap();
    bundle.patch(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"].as_object_mut().unwrap().remove("capabilities");
    });
    refused(&mut bundle, "/bin/private", DENIED, "mode 0700 of user 0 does not let user 1000 execute it");
    refused(&mut bundle, "/secret/app/run", DENIED, "user 1000 may not enter /secret (0700 of user 0)");
}

#[test]
fn a_mount_without_programs_is_named() {
    let Some(mut bundle) = bundle() else { return };
    write(&bundle.dir.join("share/app/run"), "#!/bin/sh\n", 0o755);
    let source = bundle.path("share");
    bundle.mount(json!({"destination": "/mnt", "source": source, "options": ["bind", "noexec"]}));
    refused(&mut bundle, "/mnt/app/run", DENIED, "/mnt is mounted noexec");
    write(&bundle.rootfs().join("bin/there"), "#!/mnt/app/run\n", 0o755);
    refused(&mut bundle, "/bin/there", DENIED, "its interpreter /mnt/app/run: /mnt is mounted noexec");
}

#[test]
fn a_name_without_a_program_says_where_it_was_looked_for() {
    let Some(mut bundle) = bundle() else { return };
    const NOT_FOUND: &str = "executable file not found in $PATH";
    let path = bundle.config["process"]["env"][0].as_str().unwrap().replace("PATH=", "looked for in ");
    refused(&mut bundle, "nosuch", NOT_FOUND, &path);
    refused(&mut bundle, "sh -c true", NOT_FOUND, "each argument is one member of /process/args");
    refused(&mut bundle, "dangling", NOT_FOUND, "/bin/dangling is a symlink to /opt/app/run");
    bundle.patch(|config| config["process"]["env"] = json!(["A=1"]));
    refused(&mut bundle, "sh", NOT_FOUND, "the environment has no PATH");
}

#[test]
fn limits_of_execve_are_told_with_what_exceeds_them() {
    let Some(mut bundle) = bundle() else { return };
    const BIG: &str = "argument list too long";
    bundle.patch(|config| {
        config["process"]["env"] = json!(["PATH=/bin", format!("BIG={}", "x".repeat(200_000))]);
    });
    refused(&mut bundle, "/bin/true", BIG, "the variable BIG is 200005 bytes long, one may be 131072");
    let many: Vec<String> = (0..80).map(|number| format!("V{number}={}", "x".repeat(100_000))).collect();
    bundle.patch(|config| config["process"]["env"] = json!(many));
    refused(&mut bundle, "/bin/true", BIG, "arguments and environment take ");
}

#[test]
fn a_program_that_somebody_writes_is_busy() {
    let Some(mut bundle) = bundle() else { return };
    let path = bundle.rootfs().join("bin/busy");
    write(&path, fs::read("/bin/busybox").unwrap(), 0o755);
    let _open = fs::File::options().append(true).open(&path).unwrap();
    if Command::new(&path).arg("true").status().is_ok() {
        return skip("this kernel executes what is open for writing");
    }
    refused(&mut bundle, "/bin/busy", "text file busy", "somebody has it open for writing");
}

#[test]
fn a_user_with_too_many_processes_is_told() {
    let Some(mut bundle) = bundle() else { return };
    bundle.patch(|config| {
        config["process"]["user"] = json!({"uid": 54_321, "gid": 54_321});
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NPROC", "soft": 0, "hard": 0}]);
    });
    // The first is not too many yet.
    bundle.up();
    let answer = bundle.tare(&["exec", "-d", &bundle.id, "/bin/true"]);
    let words =
        "resource temporarily unavailable: user 54321 has more processes than its RLIMIT_NPROC of 0 allows";
    answer.fails(255, words);
}

/// A filter that ends the process for looking must not make more of a refusal than it is.
#[test]
fn nobody_looks_under_a_filter_that_ends_it_for_that() {
    let Some(mut bundle) = bundle() else { return };
    for (action, told) in
        [("SCMP_ACT_KILL_PROCESS", false), ("SCMP_ACT_ERRNO", false), ("SCMP_ACT_ALLOW", true)]
    {
        bundle.patch(|config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["statfs", "readlink", "readlinkat"], "action": action}],
            });
        });
        bundle.args(&["/bin/crlf"]);
        let answer = bundle.run();
        assert_eq!(answer.code, 255, "{action}: {answer:?}");
        assert!(answer.stderr.contains("exec /bin/crlf: no such file or directory"), "{action}: {answer:?}");
        assert_eq!(answer.stderr.contains("Windows line ends"), told, "{action}: {answer:?}");
    }
}

#[test]
fn the_profile_of_docker_lets_the_process_look() {
    let Some(mut bundle) = bundle() else { return };
    let docker: serde_json::Value =
        serde_json::from_str(include_str!("../corpus/docker-default.json")).unwrap();
    bundle.patch(|config| config["linux"]["seccomp"] = docker["linux"]["seccomp"].clone());
    refused(&mut bundle, "/bin/crlf", NO_FILE, "Windows line ends");
}

#[test]
fn hooks_are_told_of_like_programs() {
    let Some(mut bundle) = bundle() else { return };
    let rows = [
        ("createRuntime", bundle.path("rootfs/bin/crlf"), NO_FILE, "Windows line ends"),
        ("createRuntime", bundle.path("rootfs/bin/text"), FORMAT, "a text file without a #! line"),
        ("prestart", bundle.path("rootfs/bin/no-x"), DENIED, "mode 0644 has no x bit"),
        ("createContainer", bundle.path("rootfs/bin/foreign"), FORMAT, "a program for "),
        ("startContainer", "/bin/python".into(), NO_FILE, "it needs /usr/bin/python3"),
        ("poststart", bundle.path("rootfs/opt/missing"), NO_FILE, "there is no directory"),
    ];
    for (kind, path, answer, reason) in rows {
        bundle.patch(|config| config["hooks"] = json!({kind: [{"path": path}]}));
        refused(&mut bundle, "/bin/true", answer, reason);
    }
}

#[test]
fn a_user_namespace_is_told_of_by_its_own_ids() {
    let Some(mut bundle) = bundle() else { return };
    bundle.user_namespace();
    let file = bundle.rootfs().join("bin/private");
    write(&file, "#!/bin/sh\n", 0o700);
    std::os::unix::fs::chown(&file, Some(FIRST_ID), Some(FIRST_ID)).unwrap();
    bundle.patch(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"].as_object_mut().unwrap().remove("capabilities");
    });
    refused(&mut bundle, "/bin/private", DENIED, "mode 0700 of user 0 does not let user 1000 execute it");
    refused(&mut bundle, "/bin/glibc", NO_FILE, "(the loader of glibc)");
}

#[test]
fn a_container_that_is_elsewhere_is_told_with_its_root() {
    let Some(bundle) = Bundle::new() else { return };
    let told =
        bundle.tare(&["state", "nosuch"]).fails(1, "container does not exist: \"nosuch\" is not in ").told();
    assert!(!told.contains("there is one of that ID"), "{told}");
    let other = format!("{}/tare/{}", bundle.path("run"), bundle.id);
    fs::create_dir_all(&other).unwrap();
    fs::write(format!("{other}/config.json"), "{}").unwrap();
    let mut command = bundle.command(&["state", &bundle.id]);
    let answer = crate::support::run::wait_for(command.env("XDG_RUNTIME_DIR", bundle.path("run")));
    answer.fails(1, &format!("there is one of that ID in {}/tare: tare --root", bundle.path("run")));
}

/// The container's process tells it to its own standard error, which may be a terminal.
#[test]
fn a_name_does_not_command_the_terminal_that_the_reason_goes_to() {
    let Some(mut bundle) = Bundle::new() else { return };
    for name in ["a\u{1b}]0;x\u{7}", "a\u{202e}b"] {
        write(&bundle.rootfs().join("bin").join(name), format!("#!/no/{name}\n"), 0o755);
        bundle.args(&[&format!("/bin/{name}")]);
        let told = bundle.run().told();
        assert!(told.contains("it needs"), "{told:?}");
        assert!(!told.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{told:?}");
    }
}

#[test]
fn who_gives_the_bundle_in_place_of_the_id_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    let above = bundle.dir.parent().unwrap();
    let name = bundle.dir.file_name().unwrap().to_str().unwrap();
    let output = std::process::Command::new(&bundle.program)
        .arg("--root")
        .arg(bundle.state_root())
        .args(["run", name])
        .current_dir(above)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("config.json not found") && told.contains(&format!("`-b {name}`")), "{told}");
}
