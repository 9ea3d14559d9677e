//! Each option, by its effect inside of the container.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::machine::{Machine, answer};

#[test]
fn options_mean_what_they_mean_to_docker() {
    let machine = Machine::new(
        "options",
        json!({
            "Entrypoint": ["/bin/echo", "entry"], "Cmd": ["cmd"], "Env": ["A=image", "B=image"], "WorkingDir": "/home", "Volumes": { "/data": {} },
        }),
    );
    fs::create_dir(machine.join("shared")).unwrap();
    fs::write(machine.join("shared/file"), "shared\n").unwrap();
    fs::write(machine.join("vars"), "# comment\nA=file\nC=1 2\nFROM_CALLER\n").unwrap();
    let here = machine.path().display().to_string();
    let absolute = format!("{here}/shared:/mnt:ro");
    // The options, the words after the image, what is printed, the exit code.
    let sh: &[&str] = &["--entrypoint", "sh"];
    let rows: &[(&[&str], &[&str], &str, i32)] = &[
        (&[], &[], "entry cmd\n", 0),
        (&[], &["x", "--rm", "-y"], "entry x --rm -y\n", 0),
        (&["--entrypoint", "pwd"], &[], "/home\n", 0),
        (&["--entrypoint", r#"["echo","a b"]"#], &["c"], "a b c\n", 0),
        (&["--entrypoint", ""], &["echo", "bare"], "bare\n", 0),
        (sh, &["-c", "echo $A $B"], "image image\n", 0),
        (&["-e", "A=own", "--env=B", "--entrypoint", "sh"], &["-c", "echo $A-$B-"], "own--\n", 0),
        (&["-e", "FROM_CALLER", "--entrypoint", "sh"], &["-c", "echo $FROM_CALLER"], "caller\n", 0),
        (
            &["--env-file", "vars", "-e", "B=last", "--entrypoint", "sh"],
            &["-c", "echo $A,$B,$C,$FROM_CALLER"],
            "file,last,1 2,caller\n",
            0,
        ),
        (&["-w", "/made/here", "--entrypoint", "pwd"], &[], "/made/here\n", 0),
        (&["-u", "app", "--entrypoint", "id"], &[], "uid=1000(app) gid=1001(app) groups=4(adm)\n", 0),
        (&["-u", "app:adm", "--entrypoint", "sh"], &["-c", "id -u; id -g; id -G"], "1000\n4\n4\n", 0),
        (&["--user=7:8", "--entrypoint", "sh"], &["-c", "id -u; id -g"], "7\n8\n", 0),
        (&["-v", "./shared:/mnt", "--entrypoint", "cat"], &["/mnt/file"], "shared\n", 0),
        (&["-v", &absolute, "--entrypoint", "sh"], &["-c", "touch /mnt/x 2>/dev/null || echo no"], "no\n", 0),
        (
            &["-v", "./shared:/mnt:z", "--entrypoint", "sh"],
            &["-c", "touch /mnt/made && echo yes"],
            "yes\n",
            0,
        ),
        (&["-v", "./shared/file:/etc/hosts", "--entrypoint", "cat"], &["/etc/hosts"], "shared\n", 0),
        (
            &["--tmpfs", "/scratch:size=1m", "--entrypoint", "sh"],
            &["-c", "grep ' /scratch ' /proc/mounts"],
            "tmpfs /scratch tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k 0 0\n",
            0,
        ),
        (
            &["--read-only", "--entrypoint", "sh"],
            &["-c", "touch /x 2>/dev/null || echo no; touch /data/y && echo data"],
            "no\ndata\n",
            0,
        ),
        (
            &["--read-only", "--tmpfs", "/run", "--entrypoint", "sh"],
            &["-c", "touch /run/x && echo yes"],
            "yes\n",
            0,
        ),
        (
            &["--memory", "64m", "--entrypoint", "sh"],
            &["-c", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"],
            "67108864\n",
            0,
        ),
        (
            &["--cpus", "0.5", "--entrypoint", "sh"],
            &[
                "-c",
                "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us | tr '\\n' ' ' && echo 100000",
            ],
            "50000 100000\n",
            0,
        ),
        (
            &["--pids-limit", "9", "--entrypoint", "sh"],
            &["-c", "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null"],
            "9\n",
            0,
        ),
        (
            &["--entrypoint", "sh"],
            &["-c", "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null"],
            "2048\n",
            0,
        ),
        (
            &["--hostname", "box.example", "--entrypoint", "sh"],
            &["-c", "hostname; cat /etc/hostname; echo $HOSTNAME"],
            "box.example\nbox.example\nbox.example\n",
            0,
        ),
        (&["--name", "named_one", "--entrypoint", "hostname"], &[], "named-one\n", 0),
        (&["--entrypoint", "sh"], &["-c", "ls /sys/class/net; grep -c localhost /etc/hosts"], "lo\n2\n", 0),
        (
            sh,
            &[
                "-c",
                "grep NoNewPrivs /proc/self/status; grep Seccomp: /proc/self/status; cat /proc/keys | wc -c",
            ],
            "NoNewPrivs:\t1\nSeccomp:\t2\n0\n",
            0,
        ),
        (sh, &["-c", "grep CapBnd /proc/self/status"], "CapBnd:\t00000000800405fb\n", 0),
        (sh, &["-c", "grep -c /dev/shm /proc/mounts; readlink /proc/self/ns/cgroup | wc -l"], "1\n1\n", 0),
        (sh, &["-c", "exit 42"], "", 42),
        (sh, &["-c", "(sleep 0.1; kill -TERM 1)& trap 'exit 9' TERM; while :; do sleep 0.05; done"], "", 9),
    ];
    for (options, words, out, code) in rows {
        let args = [&["--rm"], *options, &["oci:image:latest"], *words].concat();
        let mut command = machine.image_command("run", &[&["--network", "none"], &args[..]].concat());
        let seen = answer(command.env("FROM_CALLER", "caller").stdin(Stdio::null()).output().unwrap());
        // The last row of some tables differs by the version of cgroups that the host has: its other file is missing.
        let is_limit = words.iter().any(|word| word.contains("/sys/fs/cgroup"));
        assert!(seen.code == *code || is_limit, "{options:?} {words:?}: {seen:?}");
        assert_eq!(seen.out, *out, "{options:?} {words:?}: {}", seen.err);
    }
    assert_eq!(machine.containers(), Vec::<String>::new());
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[test]
fn what_is_not_offered_or_wrong_is_told_and_makes_nothing() {
    let machine = Machine::new("refused", json!({}));
    assert_eq!(machine.run(&["--no-such-option", "oci:image:latest"]).code, 125);
    assert_eq!(machine.image("run", &["--help"]).code, 0);
    fs::create_dir(machine.join("data")).unwrap();
    for (args, told) in [
        (&["-v", "data:/x"][..], "named volumes are not offered"),
        (&["-v", "/x"], "volumes without a SOURCE are not offered"),
        (&["-v", "./missing:/x"], "no such file or directory"),
        (&["-v", "./data:x"], "must be an absolute path"),
        (&["-v", "./data:/x:U"], "is not offered"),
        (&["-v", "./data:/x:what"], "is no option of a volume"),
        (&["--tmpfs", "relative"], "must be an absolute path"),
        (&["--name", "../x"], "--name"),
        (&["--name", ".x"], "--name"),
        (&["--name", "a/b"], "--name"),
        (&["--hostname", "a\nb"], "--hostname"),
        (&["-p", "99999:80"], "is no port"),
        (&["--memory", "1x"], "is no size"),
        (&["--memory", "1m"], "too little"),
        (&["--cpus", "100000"], "CPUs"),
        (&["--cpus", "-1"], "unexpected argument"),
        (&["--cpus=-1"], "is no number of CPUs"),
        (&["--pids-limit", "x"], "is no number of processes"),
        (&["-w", "relative"], "absolute path"),
        (&["-u", "nobody-here"], "has no nobody-here"),
        (&["-u", "99999999999"], "out of range"),
        (&["-e", "=x"], "a variable has a name"),
        (&["--env-file", "missing"], "--env-file"),
        (&["--network", "no-such-network"], "there is no network"),
        (&["--network", "container:x"], "not offered"),
        (&["--pull", "never", "--name", "x", "docker://example.invalid/x"], "is not in the store"),
        (&["--runtime", "./no-such-runtime"], "no-such-runtime"),
    ] {
        let args = [&["--rm"], args, &["oci:image:latest", "true"]].concat();
        let network = if args.contains(&"--network") { &[][..] } else { &["--network", "none"] };
        let seen = machine.image("run", &[network, &args].concat());
        assert!(seen.err.contains(told), "{args:?}: {seen:?}");
        assert_eq!(seen.code, 125, "{args:?}: {seen:?}");
        assert_eq!(machine.containers(), Vec::<String>::new(), "{args:?}");
    }
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[test]
fn a_container_that_is_killed_for_lack_of_memory_is_told_of() {
    let machine = Machine::new("memory", json!({}));
    let script = "x=a; while :; do x=$x$x; done";
    let seen = machine.run(&["--rm", "--memory", "16m", "oci:image:latest", "sh", "-c", script]);
    if seen.code != 137 && seen.err.contains("memory limit") {
        return crate::skip::skip("needs the memory controller");
    }
    let told = "tare-image: exit status 137 is SIGKILL: 1 process killed for lack of memory: the container's limit is 16 MiB";
    assert!(seen.code == 137 && seen.err.contains(told), "{seen:?}");
    let seen = machine.run(&["--rm", "oci:image:latest", "sh", "-c", "exit 137"]);
    assert_eq!((seen.code, seen.err.as_str()), (137, ""), "{seen:?}");
}

#[test]
fn a_verb_that_is_misspelt_or_of_an_engine_has_a_hint() {
    let machine = Machine::new("verbs", json!({}));
    for (verb, hint) in [
        ("unpak", "'unpack'"),
        ("repck", "'repack'"),
        ("push", "hint: `tare-image pull SOURCE DEST` copies"),
        ("images", "hint: `tare-image store` lists"),
        ("exec", "hint: containers are of the other program"),
    ] {
        let seen = machine.output(env!("CARGO_BIN_EXE_tare-image"), &[verb]);
        assert!(seen.code == 1 && seen.err.contains(hint), "{verb}: {seen:?}");
    }
    let seen = machine.output(env!("CARGO_BIN_EXE_tare-image"), &["list", "--jsno", "oci:image"]);
    assert!(seen.err.contains("a similar argument exists: '--json'"), "{seen:?}");
}

#[test]
fn exit_codes_are_dockers() {
    let machine = Machine::new("codes", json!({}));
    for (words, code) in [
        (&["sh", "-c", "exit 3"][..], 3),
        (&["no-such-program"], 127),
        (&["/no/such/program"], 127),
        (&["/etc"], 126),
        (&["/etc/passwd"], 126),
        (&["sh", "-c", "sleep 1000 & kill -9 $!; wait $!"], 137),
    ] {
        for detached in [false, true] {
            if detached && !(125..128).contains(&code) {
                continue;
            }
            let options: &[&str] = if detached { &["--rm", "-d"] } else { &["--rm"] };
            let seen = machine.run(&[options, &["oci:image:latest"], words].concat());
            assert_eq!(seen.code, code, "{words:?}, {options:?}: {seen:?}");
        }
    }
    assert_eq!(machine.leftovers(), Vec::<String>::new());
    assert_eq!(machine.containers(), Vec::<String>::new());
}

#[test]
fn standard_input_is_passed_on_only_where_it_is_asked_for() {
    let machine = Machine::new("stdin", json!({}));
    for (options, out) in [(&["--rm"][..], ""), (&["--rm", "-i"], "input")] {
        let args = [&["--network", "none"], options, &["oci:image:latest", "cat"]].concat();
        let mut child =
            machine.image_command("run", &args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"input");
        assert_eq!(answer(child.wait_with_output().unwrap()).out, out, "{options:?}");
    }
}

#[test]
fn a_known_image_needs_no_source_and_a_second_run_writes_no_other_file() {
    let machine = Machine::new("known", json!({ "Cmd": ["echo", "known"] }));
    assert_eq!(machine.run(&["--rm", "oci:image:latest"]).out, "known\n");
    let files = || {
        let out = machine
            .output(
                "find",
                &[
                    "store",
                    "-path",
                    "store/containers",
                    "-prune",
                    "-o",
                    "-type",
                    "f",
                    "-printf",
                    "%p %T@ %s\n",
                ],
            )
            .out;
        let mut lines: Vec<String> =
            out.lines().filter(|line| !line.contains("/tmp/")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = files();
    assert_eq!(machine.run(&["--rm", "oci:image:latest"]).out, "known\n");
    assert_eq!(files(), before);
    fs::rename(machine.join("image"), machine.join("elsewhere")).unwrap();
    assert_eq!(machine.run(&["--rm", "--pull", "never", "oci:image:latest"]).out, "known\n");
    assert_eq!(machine.run(&["--rm", "oci:image:latest"]).code, 125);
}

#[test]
fn signals_are_passed_on() {
    let machine = Machine::new("signals", json!({}));
    for (signal, name) in
        [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGUSR1, "USR1"), (libc::SIGHUP, "HUP")]
    {
        let script = format!("trap 'echo got; exit 5' {name}; echo ready; while :; do sleep 0.02; done");
        let args = ["--network", "none", "--rm", "oci:image:latest", "sh", "-c", &script];
        let mut child =
            machine.image_command("run", &args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        // nsenter has become tare-image.
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(child.id().cast_signed()),
            nix::sys::signal::Signal::try_from(signal).unwrap(),
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5), "{name}");
        std::io::Read::read_to_string(&mut out, &mut line).unwrap();
        assert_eq!(line, "ready\ngot\n");
    }
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

/// Only what is known not to be there is advised to be made.
#[test]
fn a_source_that_cannot_be_looked_at_is_not_taken_for_a_missing_one() {
    let machine = Machine::new("volume-loop", json!({}));
    std::os::unix::fs::symlink("loop", machine.join("loop")).unwrap();
    for (volume, words) in [
        ("./loop:/x", "look at "),
        ("loop:/x", "whether ./loop is there is not known"),
        ("./missing:/x", "mkdir makes a directory"),
        ("missing:/x", "mkdir it, and name its path"),
    ] {
        let seen = machine.run(&["--rm", "-v", volume, "oci:image:latest", "true"]);
        let told = seen.err.to_lowercase();
        assert!(seen.code == 125 && told.contains(words), "{volume}: {seen:?}");
        assert!(volume.contains("missing") || !told.contains("mkdir"), "{volume}: {seen:?}");
    }
}
