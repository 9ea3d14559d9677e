//! `tare check` finds what was planted, all of it in one run: each row is a bundle that is broken in one way or in several.

use std::collections::BTreeSet;

use nix::sys::stat::{Mode, SFlag};
use serde_json::{Value, json};

use crate::support::{Answer, Bundle};

/// `fault /pointer` or `loss /pointer`.
pub(crate) fn told(answer: &Answer) -> BTreeSet<String> {
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings = answer.json();
    let findings = findings.as_array().unwrap().iter();
    findings.map(|finding| format!("{} {}", text(finding, "severity"), text(finding, "pointer"))).collect()
}

struct Row {
    name: &'static str,
    plant: fn(&mut Value),
    found: &'static [&'static str],
}

const fn row(name: &'static str, plant: fn(&mut Value), found: &'static [&'static str]) -> Row {
    Row { name, plant, found }
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}

/// Mounts of the template: 7. Namespaces: pid, network, ipc, uts, mount, and perhaps cgroup.
const ROWS: &[Row] = &[
    row("a member misspelt", |c| c["hostnmae"] = json!("x"), &["loss /hostnmae"]),
    row(
        "a member of an object misspelt",
        |c| c["process"]["noNewPrivilges"] = json!(true),
        &["loss /process/noNewPrivilges"],
    ),
    row(
        "a member of no use",
        |c| c["linux"]["resources"]["memory"] = json!({"limitt": 5}),
        &["loss /linux/resources/memory/limitt"],
    ),
    row("no rootfs", |c| c["root"]["path"] = json!("nowhere"), &["fault /root/path"]),
    row("a rootfs that is a file", |c| c["root"]["path"] = json!("config.json"), &["fault /root/path"]),
    row("no process", |c| c["process"] = Value::Null, &["fault /process"]),
    row(
        "a program that is not there",
        |c| c["process"]["args"] = json!(["nosuch"]),
        &["fault /process/args/0"],
    ),
    row(
        "a program's path that is not there",
        |c| c["process"]["args"] = json!(["/bin/nosuch"]),
        &["fault /process/args/0"],
    ),
    row("a directory as program", |c| c["process"]["args"] = json!(["/etc"]), &["fault /process/args/0"]),
    row(
        "a program without its bit",
        |c| c["process"]["args"] = json!(["/etc/passwd"]),
        &["fault /process/args/0"],
    ),
    row(
        "an rlimit misspelt",
        |c| c["process"]["rlimits"][0]["type"] = json!("RLIMIT_NOFIEL"),
        &["fault /process/rlimits/0/type"],
    ),
    row(
        "more descriptors than there may be",
        |c| c["process"]["rlimits"][0]["hard"] = json!(1_u64 << 40),
        &["fault /process/rlimits/0/hard"],
    ),
    row(
        "a soft limit above the hard one",
        |c| c["process"]["rlimits"][0]["soft"] = json!(999_999),
        &["fault /process/rlimits/0/soft"],
    ),
    row("a relative cwd", |c| c["process"]["cwd"] = json!("tmp"), &["fault /process/cwd"]),
    row(
        "a variable without a value",
        |c| push(&mut c["process"]["env"], json!("X")),
        &["fault /process/env/2"],
    ),
    row("a variable twice", |c| push(&mut c["process"]["env"], json!("PATH=/bin")), &["loss /process/env/0"]),
    row(
        "a capability misspelt",
        |c| c["process"]["capabilities"]["bounding"] = json!(["CAP_KIL"]),
        &["loss /process/capabilities"],
    ),
    row(
        "a module that is off",
        |c| c["process"]["selinuxLabel"] = json!("a:b:c:d"),
        &["fault /process/selinuxLabel"],
    ),
    row("a number as text", |c| c["process"]["user"]["uid"] = json!("0"), &["fault /process/user/uid"]),
    row(
        "a namespace misspelt",
        |c| push(&mut c["linux"]["namespaces"], json!({"type": "tiem"})),
        &["fault /linux/namespaces/N/type"],
    ),
    row(
        "a namespace twice",
        |c| push(&mut c["linux"]["namespaces"], json!({"type": "pid"})),
        &["fault /linux/namespaces/N/type"],
    ),
    row(
        "a namespace that is not there",
        |c| c["linux"]["namespaces"][1] = json!({"type": "network", "path": "/run/netns/nosuch"}),
        &["fault /linux/namespaces/1/path"],
    ),
    row(
        "a namespace of another kind",
        |c| c["linux"]["namespaces"][1] = json!({"type": "network", "path": "/proc/self/ns/uts"}),
        &["fault /linux/namespaces/1/path"],
    ),
    row(
        "a sysctl without its namespace",
        |c| c["linux"]["sysctl"] = json!({"user.max_user_namespaces": "1"}),
        &["fault /linux/sysctl/user.max_user_namespaces"],
    ),
    row(
        "a sysctl that no kernel has",
        |c| c["linux"]["sysctl"] = json!({"net.ipv4.nosuch": "1"}),
        &["fault /linux/sysctl/net.ipv4.nosuch"],
    ),
    row(
        "processors that nobody has",
        |c| c["linux"]["resources"]["cpu"] = json!({"cpus": "0-60000"}),
        &["fault /linux/resources/cpu/cpus"],
    ),
    row(
        "memory nodes that nobody has",
        |c| c["linux"]["resources"]["cpu"] = json!({"mems": "900"}),
        &["fault /linux/resources/cpu/mems"],
    ),
    row(
        "a memory limit in the wrong unit",
        |c| c["linux"]["resources"]["memory"] = json!({"limit": 512}),
        &["fault /linux/resources/memory/limit"],
    ),
    row(
        "hardly any memory",
        |c| c["linux"]["resources"]["memory"] = json!({"limit": 300_000}),
        &["loss /linux/resources/memory/limit"],
    ),
    row(
        "little memory",
        |c| c["linux"]["resources"]["memory"] = json!({"limit": 2_000_000}),
        &["note /linux/resources/memory/limit"],
    ),
    row(
        "swap below memory",
        |c| c["linux"]["resources"]["memory"] = json!({"limit": 100_000_000, "swap": 50_000_000}),
        &["fault /linux/resources/memory/swap"],
    ),
    row(
        "kernel memory",
        |c| c["linux"]["resources"]["memory"] = json!({"kernel": 100_000_000}),
        &["loss /linux/resources/memory/kernel"],
    ),
    row(
        "Intel RDT where there is none",
        |c| c["linux"]["intelRdt"] = json!({"closID": "x"}),
        &["fault /linux/intelRdt"],
    ),
    row(
        "a network device that is not there",
        |c| c["linux"]["netDevices"] = json!({"nosuch0": {}}),
        &["fault /linux/netDevices/nosuch0"],
    ),
    row(
        "a device twice",
        |c| {
            c["linux"]["devices"] = json!([
                {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}, {"path": "/dev/x", "type": "c", "major": 1, "minor": 5}
            ]);
        },
        &["loss /linux/devices/1/path"],
    ),
    row(
        "a propagation misspelt",
        |c| c["linux"]["rootfsPropagation"] = json!("pirvate"),
        &["fault /linux/rootfsPropagation"],
    ),
    row(
        "mappings without a user namespace",
        |c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]),
        &["loss /linux/uidMappings"],
    ),
    row(
        "a user outside the mappings",
        |c| {
            push(&mut c["linux"]["namespaces"], json!({"type": "user"}));
            c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
            c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
            c["process"]["user"] = json!({"uid": 1000, "gid": 5, "additionalGids": [3, 44]});
        },
        &["fault /process/user/additionalGids/1", "fault /process/user/uid"],
    ),
    row(
        "a system call misspelt",
        |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["opennat"], "action": "SCMP_ACT_ERRNO"}]}),
        &["loss /linux/seccomp/syscalls/0/names/0"],
    ),
    row(
        "an action misspelt",
        |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALOW"}),
        &["fault /linux/seccomp/defaultAction"],
    ),
    row(
        "a hook that is not there",
        |c| c["hooks"] = json!({"createRuntime": [{"path": "/nosuch/hook"}]}),
        &["fault /hooks/createRuntime/0/path"],
    ),
    row(
        "a hook without its bit",
        |c| c["hooks"] = json!({"poststop": [{"path": "/etc/passwd"}]}),
        &["loss /hooks/poststop/0/path"],
    ),
    row(
        "nothing to bind",
        |c| {
            push(
                &mut c["mounts"],
                json!({"destination": "/a", "source": "/nosuch", "type": "bind", "options": ["rbind"]}),
            );
        },
        &["fault /mounts/N/source"],
    ),
    row(
        "a filesystem that nobody has",
        |c| push(&mut c["mounts"], json!({"destination": "/a", "type": "tmpsf"})),
        &["fault /mounts/N/type"],
    ),
    row(
        "an option that tmpfs has not",
        |c| {
            push(
                &mut c["mounts"],
                json!({"destination": "/a", "type": "tmpfs", "options": ["ro", "szie=1m"]}),
            );
        },
        &["fault /mounts/N/options/1"],
    ),
    row(
        "an option that a bind has not",
        |c| {
            push(
                &mut c["mounts"],
                json!({"destination": "/a", "type": "bind", "source": "/tmp", "options": ["rbind", "nosiud"]}),
            );
        },
        &["fault /mounts/N/options/1"],
    ),
    row(
        "a path to mask that is relative",
        |c| c["linux"]["maskedPaths"] = json!(["/proc/kcore", "proc/keys"]),
        &["fault /linux/maskedPaths/1"],
    ),
    row(
        "an annotation that says nothing",
        |c| c["annotations"] = json!({"run.oci.keep_original_groups": "perhaps"}),
        &["fault /annotations/run.oci.keep_original_groups"],
    ),
    row(
        "a listener that is not there",
        |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nosuch.sock",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        },
        &["fault /linux/seccomp/listenerPath"],
    ),
    row(
        "many at once, of every sort",
        |c| {
            c["hostnmae"] = json!("x");
            c["process"]["selinuxLabel"] = json!("a:b:c:d");
            c["process"]["rlimits"][0]["type"] = json!("nofile");
            c["process"]["args"] = json!(["nosuch"]);
            c["process"]["env"] = json!(["PATH=/bin", 5, "X"]);
            c["mounts"] = json!([
                {"destination": 5},
                {"destination": "/a", "type": "bind", "source": "/nosuch", "options": ["bind"]},
                {"destination": "/b", "type": "nosuchfs"},
            ]);
            c["hooks"] = json!({"poststart": [{"path": "/nosuch/hook"}], "poststop": [{"path": "x"}]});
            c["linux"]["intelRdt"] = json!({});
            c["linux"]["resources"]["memory"] = json!({"kernel": 1, "swappiness": 900});
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["opennat"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["open"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 7, "value": 1, "op": "SCMP_CMP_EQ"}]},
            ]});
        },
        &[
            "fault /hooks/poststart/0/path",
            "fault /hooks/poststop/0/path",
            "fault /linux/intelRdt",
            "fault /linux/resources/memory/swappiness",
            "fault /linux/seccomp/syscalls/1/args/0/index",
            "fault /mounts/0/destination",
            "fault /mounts/1/source",
            "fault /mounts/2/type",
            "fault /process/args/0",
            "fault /process/env/1",
            "fault /process/env/2",
            "fault /process/rlimits/0/type",
            "fault /process/selinuxLabel",
            "loss /hostnmae",
            "loss /linux/resources/memory/kernel",
            "loss /linux/seccomp/syscalls/0/names/0",
        ],
    ),
];

#[test]
fn each_fault_that_was_planted_is_found_in_one_run() {
    assert!(ROWS.len() >= 40);
    let mut wrong = Vec::new();
    for row in ROWS {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.patch(row.plant);
        let last = |list: &Value| (list.as_array().map_or(0, Vec::len).max(1) - 1).to_string();
        let (mounts, namespaces) =
            (last(&bundle.config["mounts"]), last(&bundle.config["linux"]["namespaces"]));
        let expected: BTreeSet<String> = row
            .found
            .iter()
            .map(|at| at.replace("/mounts/N", &format!("/mounts/{mounts}")))
            .map(|at| at.replace("/namespaces/N", &format!("/namespaces/{namespaces}")))
            .collect();
        let answer = bundle.tare(&["check", "--json", "--strict"]);
        let has = |severity| expected.iter().any(|at: &String| at.starts_with(severity));
        let code = if has("fault") { 1 } else { 2 * i32::from(has("loss")) };
        let found = told(&answer);
        if found != expected || answer.code != code {
            wrong.push(format!(
                "{}: code {}\n  planted {expected:?}\n  found   {found:?}",
                row.name, answer.code
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_finding_has_its_place_its_value_and_what_was_meant() {
    let Some(bundle) = Bundle::new() else { return };
    let text = serde_json::to_string_pretty(&bundle.config).unwrap();
    let text = text.replacen('{', "{\n  \"hostnmae\": \"x\",", 1);
    std::fs::write(bundle.dir.join("config.json"), &text).unwrap();
    let findings = bundle.tare(&["check", "--json"]).ok().json();
    assert_eq!(
        findings,
        json!([{
            "severity": "loss", "pointer": "/hostnmae", "file": "config.json", "line": 2, "column": 15, "value": "x",
            "message": "no such member", "host": null, "hint": "did you mean \"hostname\"?",
        }])
    );
    let told = bundle.tare(&["check"]).ok().stdout;
    assert_eq!(told, "config.json:2:15: loss: /hostnmae: no such member; hint: did you mean \"hostname\"?\n");
    assert_eq!(bundle.tare(&["check", "--strict", "."]).code, 2);
    // What is no JSON has a place too.
    std::fs::write(bundle.dir.join("config.json"), "{\n  \"root\": ]").unwrap();
    let findings = bundle.tare(&["check", "--json"]).json();
    assert_eq!((&findings[0]["line"], &findings[0]["column"]), (&json!(2), &json!(11)), "{findings}");
    bundle.tare(&["check", "/nosuch"]).fails(1, "/nosuch");
}

#[test]
fn a_program_that_the_kernel_will_refuse_is_told_of() {
    let Some(mut bundle) = Bundle::new() else { return };
    let program = bundle.rootfs().join("bin/program");
    bundle.args(&["/bin/program"]);
    for (content, why) in [
        ("#!/bin/sh\r\necho\n", Some("Windows line ends")),
        ("#!/nosuch/sh\n", Some("it needs /nosuch/sh, which is not in the root file system")),
        ("echo hello\n", Some("a text file without a #! line")),
        ("", Some("the file is empty")),
        ("#!/bin/sh\n", None),
        // A mount may bring it.
        ("#!/proc/sh\n", None),
    ] {
        std::fs::write(&program, content).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let answer = bundle.tare(&["check"]);
        let expected = why.map_or(answer.stdout.is_empty(), |why| answer.stdout.contains(why));
        assert!(expected && answer.code == i32::from(why.is_some()), "{content:?}: {answer:?}");
    }
}

#[test]
fn what_the_caller_has_no_privilege_for_is_told_as_create_meets_it() {
    for plant in [
        |config: &mut Value| config["process"]["oomScoreAdj"] = json!(-900),
        |config: &mut Value| {
            config["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1_000_000}]);
        },
        |config: &mut Value| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NPROC", "soft": 1, "hard": 4_000_000}]);
        },
    ] {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.patch(plant);
        let (check, created) = (bundle.tare(&["check"]), bundle.create());
        assert_eq!(check.code, created.code, "{check:?} {created:?}");
    }
}

/// Opening a device has effects, and `check` has none.
#[test]
fn a_program_that_is_a_device_or_a_pipe_is_told_of_and_not_opened() {
    let Some(mut bundle) = Bundle::new() else { return };
    for (kind, why) in
        [(SFlag::S_IFCHR, "a device"), (SFlag::S_IFIFO, "a FIFO"), (SFlag::S_IFSOCK, "a socket")]
    {
        let program = bundle.rootfs().join("bin/program");
        let _ = std::fs::remove_file(&program);
        // A device that no driver has.
        let number = nix::sys::stat::makedev(511, 511);
        nix::sys::stat::mknod(&program, kind, Mode::from_bits_truncate(0o755), number).unwrap();
        bundle.args(&["/bin/program"]);
        let findings = bundle.tare(&["check", "--json"]).json();
        let message = findings[0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("{why}, no program")), "{why}: {findings}");
    }
}

/// The work grows with the text and not with its square: all of these take minutes where it does.
#[test]
fn a_flood_of_findings_is_cut_and_takes_no_minutes() {
    let flood = |item: fn(usize) -> Value| Value::from((0..20_000).map(item).collect::<Vec<_>>());
    type Plant<'a> = (&'a str, &'a dyn Fn(&mut Value));
    let plants: [Plant<'_>; 6] = [
        ("env", &|c| c["process"]["env"] = flood(|n| json!(format!("A{n}=1")))),
        ("devices", &|c| {
            c["linux"]["devices"] =
                flood(|n| json!({"path": format!("/dev/a{n}"), "type": "c", "major": 1, "minor": 3}));
        }),
        ("mounts", &|c| {
            c["mounts"] = flood(
                |n| json!({"destination": format!("/{n}"), "type": "bind", "source": format!("/no/{n}")}),
            );
        }),
        ("hooks", &|c| c["hooks"] = json!({"poststop": flood(|n| json!({"path": format!("/no/{n}")}))})),
        ("sysctl", &|c| {
            c["linux"]["sysctl"] = (0..20_000).map(|n| (format!("net.no{n}"), json!("1"))).collect();
        }),
        ("argument", &|c| c["process"]["args"] = json!(["/a".repeat(500_000)])),
    ];
    for (name, plant) in plants {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.patch(plant);
        let begin = std::time::Instant::now();
        let findings = bundle.tare(&["check", "--json"]).json();
        assert!(begin.elapsed() < crate::support::timeout(8), "{name}: {:?}", begin.elapsed());
        let findings = findings.as_array().unwrap();
        assert!(findings.len() <= 500, "{name}: {}", findings.len());
        if ["mounts", "hooks", "sysctl"].contains(&name) {
            let rest = findings.iter().find(|one| one["pointer"] == "").unwrap();
            assert_eq!(rest["message"], "and 19501 more findings", "{name}");
        }
    }
}

#[test]
fn a_program_that_is_cut_off_is_told_of_by_check_and_by_its_end() {
    let Some(mut bundle) = Bundle::new() else { return };
    let whole = std::fs::read(bundle.rootfs().join("bin/busybox")).unwrap();
    let program = bundle.rootfs().join("bin/true");
    bundle.args(&["/bin/true"]);
    // A copy that a full disk has cut short, and one in which nothing that is mapped is missing.
    for (length, is_cut) in [(whole.len() / 3, true), (8192, true), (whole.len(), false)] {
        let _ = std::fs::remove_file(&program);
        std::fs::write(&program, &whole[..length]).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let answer = bundle.tare(&["check"]);
        let told = format!("the file is cut off: it has {length} bytes");
        assert_eq!((answer.code, answer.stdout.contains(&told)), (i32::from(is_cut), is_cut), "{answer:?}");
        let answer = bundle.run();
        assert_eq!((answer.code != 0, answer.stderr.contains(&told)), (is_cut, is_cut), "{answer:?}");
        if answer.code > 128 {
            assert!(answer.stderr.contains(&format!("exit status {} is SIG", answer.code)), "{answer:?}");
        }
    }
}

#[test]
fn a_misspelt_option_and_a_type_that_is_none_have_a_hint_everywhere() {
    let tmpfs = |option: &str| json!({"destination": "/mnt", "type": "tmpfs", "options": [option]});
    let bind = |option: &str| json!({"destination": "/mnt", "type": "bind", "source": "/etc", "options": ["bind", option]});
    let none = |source: &str| json!({"destination": "/mnt", "type": "none", "source": source});
    for (mount, hint) in [
        (tmpfs("readonly"), "did you mean \"ro\"?"),
        (tmpfs("noexce"), "did you mean \"noexec\"?"),
        (bind("readonly"), "did you mean \"ro\"?"),
        (bind("Read-Only"), "did you mean \"ro\"?"),
        (bind("recursive"), "did you mean \"rbind\"?"),
        (none("/etc"), "the option \"bind\" or \"rbind\""),
        (none("none"), "the option \"bind\" or \"rbind\""),
        (
            json!({"destination": "/mnt", "type": "volume", "source": "/etc"}),
            "the option \"bind\" or \"rbind\"",
        ),
        (json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"}), "cat /proc/filesystems"),
    ] {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.mount(mount.clone());
        let (check, run) = (bundle.tare(&["check"]), bundle.run());
        assert!(check.code == 1 && check.stdout.contains(hint), "{mount}: {check:?}");
        assert!(run.code == 1 && run.stderr.replace('\\', "").contains(hint), "{mount}: {run:?}");
    }
}

#[test]
fn a_state_directory_that_the_user_may_not_make_is_told_of() {
    let Some(bundle) = Bundle::new() else { return };
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bundle.dir, open).unwrap();
    let check = |setting: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR"]);
        command.args(setting).arg(&bundle.program).args(["check", "--json"]).current_dir(&bundle.dir);
        let findings = crate::support::run::wait_for(&mut command).json();
        let about = |finding: &&Value| finding["message"].as_str().unwrap().contains("state of a container");
        findings.as_array().unwrap().iter().find(about).cloned()
    };
    let missing = check(&[]).unwrap();
    assert_eq!((&missing["severity"], &missing["pointer"]), (&json!("fault"), &json!("")), "{missing}");
    assert!(missing["hint"].as_str().unwrap().contains("set XDG_RUNTIME_DIR"), "{missing}");
    for gone in ["XDG_RUNTIME_DIR=/run/user/nobody/gone", "XDG_RUNTIME_DIR=/root"] {
        let told = check(&[gone]).unwrap();
        assert!(told["hint"].as_str().unwrap().starts_with("XDG_RUNTIME_DIR names a directory"), "{told}");
    }
    assert_eq!(check(&["XDG_RUNTIME_DIR=/tmp"]), None);
}

#[test]
fn members_that_nobody_reads_are_told_by_debug_and_where_a_container_fails() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["process"]["argz"] = json!(["x"])).args(&["true"]);
    let quiet = bundle.run().ok();
    assert_eq!(quiet.stderr, "", "{quiet:?}");
    let debug = bundle.tare(&["--debug", "run", &bundle.id]).ok();
    assert!(debug.stderr.contains("/process/argz: ignored: no such member"), "{debug:?}");
    let failed = bundle.args(&["/bin/nosuch"]).run();
    let hint = format!(
        "hint: /process/argz of config.json is read by nobody: `tare check {}`",
        bundle.dir.display()
    );
    assert!(failed.code == 1 && failed.stderr.contains(&hint), "{failed:?}");
    let created = bundle.mount(json!({"destination": "/proc/x", "type": "tmpfs"})).create();
    assert!(created.code == 1 && created.stderr.contains("/process/argz"), "{created:?}");
    bundle.leaves_nothing();
}

#[test]
fn a_limit_that_a_user_cannot_set_is_told_as_create_meets_it() {
    let Some(bundle) = Bundle::new() else { return };
    let user = |words: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &bundle.program, "--root"]);
        command.arg(bundle.dir.join("own")).args(words).current_dir(bundle.dir.join("user"));
        command.stdin(std::process::Stdio::null());
        crate::support::run::wait_for(&mut command)
    };
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bundle.dir, open).unwrap();
    for name in ["own", "user"] {
        std::fs::create_dir(bundle.dir.join(name)).unwrap();
        std::os::unix::fs::chown(bundle.dir.join(name), Some(65534), Some(65534)).unwrap();
    }
    user(&["spec", "--rootless"]).ok();
    let path = bundle.dir.join("user/config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["root"]["path"] = json!(bundle.rootfs());
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["true"]);
    for limited in [false, true] {
        let limit = if limited { json!({"limit": 100_000_000}) } else { Value::Null };
        config["linux"]["resources"] = json!({"memory": limit});
        std::fs::write(&path, config.to_string()).unwrap();
        let (check, run) = (user(&["check"]), user(&["run", "one"]));
        assert_eq!((check.code, run.code), (i32::from(limited), i32::from(limited)), "{check:?} {run:?}");
        if limited {
            let told = &check.stdout;
            assert!(told.contains("/linux/resources/memory/limit: cannot set memory limit"), "{told}");
            assert!(
                told.contains("--systemd-cgroup") && run.stderr.contains("--systemd-cgroup"),
                "{told} {run:?}"
            );
        }
    }
}
