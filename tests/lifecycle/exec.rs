//! `exec`: codes, flags, and what a container's state allows.

use serde_json::json;

use crate::support::{Bundle, machine, namespace_of, wait_until};

#[test]
fn the_code_is_the_processes() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    for code in [0, 1, 7, 255] {
        assert_eq!(bundle.exec(&["sh", "-c", &format!("exit {code}")]).code, code);
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143)] {
        assert_eq!(bundle.exec(&["sh", "-c", &format!("kill -{signal} $$")]).code, code);
    }
    let answer = bundle.exec(&["sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((&*answer.stdout, &*answer.stderr), ("out\n", "err\n"));
}

#[test]
fn a_program_that_cannot_be_executed_is_255_and_told_as_go_does() {
    let Some(mut bundle) = Bundle::new() else { return };
    std::fs::write(bundle.rootfs().join("bin/text"), "no program").unwrap();
    bundle.up();
    let rows = [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/", "exec: \"/\": is a directory"),
        ("/bin/text", "exec: \"/bin/text\": permission denied"),
    ];
    for (program, words) in rows {
        let answer = bundle.exec(&[program]).fails(255, words);
        let message = answer.message();
        assert!(message.starts_with("exec failed: unable to start container process: exec: "), "{message}");
        bundle.tare(&["exec", "-d", "--pid-file", "pid", &bundle.id, program]).fails(255, words);
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_script_without_an_interpreter_line_is_no_program() {
    let Some(mut bundle) = Bundle::new() else { return };
    let path = bundle.rootfs().join("bin/script");
    std::fs::write(&path, "echo no").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bundle.up();
    let answer = bundle.exec(&["/bin/script"]);
    assert_eq!(answer.code, 255, "{answer:?}");
    // One line, as the process itself says it: nobody else is there to when it was started by another command.
    assert_eq!(answer.stderr, "exec /bin/script: exec format error: a text file without a #! line\n");
    assert_eq!(answer.stdout, "");
    bundle.tare(&["exec", "-d", &bundle.id, "/bin/script"]).fails(255, "exec /bin/script: exec format error");
}

#[test]
fn it_joins_all_namespaces_of_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.namespace("cgroup", None).namespace("time", None).up();
    let pid = bundle.pid();
    bundle.tare(&["exec", "-d", "--pid-file", "pid", &bundle.id, "sleep", "1000"]).ok();
    let other = bundle.read("pid");
    for kind in ["pid", "mnt", "net", "ipc", "uts", "cgroup", "time", "user"] {
        assert_eq!(namespace_of(&other, kind), namespace_of(&pid, kind), "{kind}");
    }
    let group = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(group(&other), group(&pid));
}

#[test]
fn it_joins_a_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace().up();
    assert_eq!(bundle.exec(&["sh", "-c", "id -u; cat /proc/self/uid_map"]).ok().lines().len(), 2);
    let pid = bundle.pid();
    bundle.tare(&["exec", "-d", "--pid-file", "pid", &bundle.id, "sleep", "1000"]).ok();
    let other = bundle.read("pid");
    for kind in ["user", "pid", "mnt", "net", "ipc", "uts"] {
        assert_eq!(namespace_of(&other, kind), namespace_of(&pid, kind), "{kind}");
    }
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{other}")).unwrap()),
        crate::support::FIRST_ID
    );
}

#[test]
fn flags_change_the_containers_own_process() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "A=own", "B=own"]);
        config["process"]["cwd"] = json!("/usr");
        config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [30]});
    });
    bundle.up();
    let show = "pwd; id -u; id -g; id -G; echo $A $B $C $HOME";
    let rows: [(&[&str], &str); 4] = [
        (&[], "/usr\n0\n0\n0 30\nown own /root\n"),
        (&["-e", "A=new", "--env", "C=more", "--cwd", "/bin"], "/bin\n0\n0\n0 30\nnew own more /root\n"),
        (&["-u", "1000:1001", "-e", "C=x=y,z"], "/usr\n1000\n1001\n1001 30\nown own x=y,z /home/user\n"),
        (&["--user", "5", "-g", "7", "--additional-gids", "8"], "/usr\n5\n0\n0 7 8 30\nown own /\n"),
    ];
    for (flags, expected) in rows {
        let words = [&["exec"], flags, &[&bundle.id, "sh", "-c", show]].concat();
        let answer = bundle.tare(&words).ok();
        let mut lines = answer.lines();
        let mut groups: Vec<&str> = lines[3].split(' ').collect();
        groups.sort_by_key(|group| group.parse::<u32>().unwrap());
        // The group of the process stands first wherever it is.
        let sorted = groups.join(" ");
        lines[3] = &sorted;
        let mut expected: Vec<&str> = expected.lines().collect();
        let mut groups: Vec<&str> = expected[3].split(' ').collect();
        groups.sort_by_key(|group| group.parse::<u32>().unwrap());
        let sorted = groups.join(" ");
        expected[3] = &sorted;
        assert_eq!(lines, expected, "{flags:?}");
    }
}

#[test]
fn capabilities_are_added_but_never_inheritable() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let show = ["grep", "Cap", "/proc/self/status"];
    let sets = |flags: &[&str]| {
        let answer = bundle.tare(&[&["exec"], flags, &[&*bundle.id], &show].concat()).ok();
        let set = |line: &&str| u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap();
        answer.lines().iter().map(set).collect::<Vec<_>>()
    };
    let own = sets(&[]);
    let raw = own[1] | 1 << 13;
    assert_eq!(sets(&["--cap", "CAP_NET_RAW"]), [0, raw, raw, raw, 0]);
    // Without privilege, only the bounding set keeps them (CVE-2022-29162).
    assert_eq!(sets(&["--cap", "CAP_NET_RAW", "-u", "1000"])[..1], [0]);
    bundle
        .tare(&["exec", "--cap", "CAP_NONE_SUCH", &bundle.id, "true"])
        .fails(255, "unknown capability \"CAP_NONE_SUCH\"");
    for name in ["net_raw", "NET_RAW", "cap_net_raw", "CAP_CAP_NET_RAW"] {
        let hint = format!("unknown capability {name:?} (did you mean CAP_NET_RAW?)");
        bundle.tare(&["exec", "--cap", name, &bundle.id, "true"]).fails(255, &hint);
    }
}

#[test]
fn a_process_document_is_taken_as_it_is() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let process = json!({
        "args": ["sh", "-c", "pwd; id -u; umask; echo $A; cat /proc/self/oom_score_adj"], "cwd": "/tmp",
        "env": ["PATH=/bin", "A=document"], "user": {"uid": 1000, "gid": 1000, "umask": 0o77},
        "oomScoreAdj": 500, "noNewPrivileges": true
    });
    std::fs::write(bundle.dir.join("process.json"), process.to_string()).unwrap();
    let answer = bundle.tare(&["exec", "--process", "process.json", &bundle.id]).ok();
    assert_eq!(answer.stdout, "/tmp\n1000\n0077\ndocument\n500\n");
    bundle.tare(&["exec", "-p", "nosuch.json", &bundle.id]).fails(255, "nosuch.json");
}

#[test]
fn what_a_process_document_leaves_out_is_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        let process = &mut config["process"];
        let kept = json!(["CAP_KILL", "CAP_CHOWN"]);
        process["capabilities"] = json!({"bounding": kept, "effective": kept, "permitted": kept});
        process["oomScoreAdj"] = json!(500);
        process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        process["scheduler"] = json!({"policy": "SCHED_BATCH"});
        process["user"]["umask"] = json!(0o27);
    });
    bundle.up();
    let script = "umask; grep CapEff /proc/self/status; cat /proc/self/oom_score_adj; ionice -p $$; cut -d' ' -f41 /proc/self/stat";
    let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"],
        "args": ["sh", "-c", script]});
    let mut output = |more: serde_json::Value| {
        process.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        std::fs::write(bundle.dir.join("process.json"), process.to_string()).unwrap();
        bundle.tare(&["exec", "--process", "process.json", &bundle.id]).ok().stdout
    };
    let own = "0027\nCapEff:\t0000000000000021\n500\nbest-effort: prio 6\n3\n";
    assert_eq!(output(json!({})), own);
    let nothing =
        json!({"capabilities": null, "oomScoreAdj": null, "apparmorProfile": "", "selinuxLabel": ""});
    assert_eq!(output(nothing), own);
    let given =
        output(json!({"capabilities": {}, "oomScoreAdj": 600, "scheduler": {"policy": "SCHED_OTHER"}}));
    assert_eq!(given, "0027\nCapEff:\t0000000000000000\n600\nbest-effort: prio 6\n0\n");
}

#[test]
fn a_profile_that_denies_the_program_is_named() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        let rule = json!({"names": ["execve", "execveat"], "action": "SCMP_ACT_ERRNO"});
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    });
    bundle.create().ok();
    bundle.tare(&["exec", "-d", &bundle.id, "sleep", "1"]).fails(255, "/linux/seccomp");
}

#[test]
fn without_words_there_is_nothing_to_execute() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.exec(&[]).fails(255, "exec args cannot be empty");
}

#[test]
fn a_detached_one_returns_and_lives_on() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.tare(&["exec", "-d", "--pid-file", "pid", &bundle.id, "sleep", "999"]).ok();
    let pid = bundle.read("pid");
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(), "sleep\0999\0");
    bundle.kill("KILL").ok();
    wait_until("all to end", || !machine::is_alive(&pid));
}

#[test]
fn only_a_living_container_takes_another_process() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["true"]);
    bundle.create().ok();
    assert_eq!(bundle.exec(&["echo", "created"]).ok().stdout, "created\n");
    bundle.start().ok();
    bundle.wait_until_stopped();
    bundle.exec(&["true"]).fails(255, "cannot exec in a stopped container");
}

#[test]
fn nothing_of_the_host_is_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let words = ["exec", &*bundle.id, "ls", "/proc/self/fd"];
    let answer = bundle.tare_by("exec 7</ 8</etc 21</; exec \"$@\"", &words).ok();
    assert_eq!(answer.stdout, "0\n1\n2\n3\n");
    let words = ["exec", "--preserve-fds", "1", &*bundle.id, "ls", "/proc/self/fd"];
    let answer = bundle.tare_by("exec 3</dev/null 7</; exec \"$@\"", &words).ok();
    assert_eq!(answer.stdout, "0\n1\n2\n3\n4\n");
}

#[test]
fn users_are_numbers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    // CVE-2016-3697, CVE-2026-30892: what is no number is refused and never becomes root.
    for bad in ["user", "-1", "4294967296", "99999999999999999999", " 1", "1x", "0x1", "1:", ":2"] {
        let answer = bundle.tare(&["exec", "--user", bad, &bundle.id, "id", "-u"]);
        assert!(answer.code == 255 && answer.stdout.is_empty(), "{bad:?}: {answer:?}");
    }
    for (good, id) in [("1", "1\n"), ("0", "0\n"), ("1:2", "1\n"), ("01", "1\n")] {
        let answer = bundle.tare(&["exec", "--user", good, &bundle.id, "id", "-u"]).ok();
        assert_eq!(answer.stdout, id, "{good:?}");
    }
}
