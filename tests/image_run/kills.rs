//! Whoever is killed at whatever moment: the next command removes what is left.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::machine::{Machine, has_plugins, wait_until};

/// How many containers are killed: TARE_KILLS says more.
fn rounds() -> u64 {
    std::env::var("TARE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[test]
fn what_a_killed_process_leaves_is_removed_by_the_next_command() {
    if !has_plugins() {
        return;
    }
    let machine = Machine::new("kills", json!({}));
    assert_eq!(machine.image("run", &["--rm", "oci:image:latest", "true"]).code, 0);
    let mut seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into();
    for round in 0..rounds() {
        let name = format!("k{round}");
        let mut args = vec!["--name", &name, "-p", "8080:80", "oci:image:latest", "sh", "-c", "sleep 0.3"];
        if round % 2 == 0 {
            args.insert(0, "--rm");
        }
        if round % 3 == 0 {
            args.insert(0, "-d");
        }
        let mut child = machine
            .image_command("run", &args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        seed = next(seed);
        std::thread::sleep(Duration::from_millis(seed % 700));
        // tare-image in the foreground or in the background, the runtime, or the container itself.
        let victims = victims(&machine, child.id().cast_signed());
        seed = next(seed);
        let victim = victims.get(seed as usize % victims.len().max(1)).cloned();
        if let Some((pid, _)) = &victim {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if victim.is_some_and(|(_, command)| command.contains("tare-image")) || round % 3 == 0 {
            let _ = child.kill();
        }
        let _ = child.wait();
        let settled = || {
            machine.image("ps", &[]);
            machine.image("ps", &["-q"]).out.is_empty() && machine.leftovers().is_empty()
        };
        let begin = SystemTime::now();
        while !settled() && begin.elapsed().unwrap() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(machine.leftovers(), Vec::<String>::new(), "round {round}");
        let kept = machine.containers();
        assert!(kept.is_empty() || (kept == [name.clone()] && round % 2 == 1), "round {round}: {kept:?}");
        for name in kept {
            assert_eq!(machine.image("remove", &[&name]).code, 0, "round {round}");
        }
    }
}

/// The processes of a run: all that have this one above them, and those that its kill left without it.
fn victims(machine: &Machine, pid: i32) -> Vec<(i32, String)> {
    let mut found: Vec<(i32, String)> = machine.processes();
    let mut above = vec![pid];
    while let Some(parent) = above.pop() {
        let children =
            std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|text| text.parse().ok()) {
            above.push(child);
            // Not a plugin or what it starts: one that is killed while it undoes a rule does not know it any more.
            let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if ["tare", "tare-image", "sh", "sleep"].contains(&name.trim()) {
                found.push((child, "below".into()));
            }
        }
    }
    found
}

/// The next of a row of numbers (xorshift).
fn next(mut seed: u64) -> u64 {
    seed = seed.max(1);
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^ seed << 17
}

#[test]
fn a_container_whose_process_was_killed_is_ended_and_its_name_is_free() {
    let machine = Machine::new("orphan", json!({}));
    for options in [&["-d", "--rm"][..], &["-d"]] {
        assert_eq!(
            machine.run(&[options, &["--name", "orphan", "oci:image:latest", "sleep", "1000"]].concat()).code,
            0
        );
        let is_owner = |(_, command): &&(i32, String)| command.contains("tare-image run");
        let owner = machine.processes().iter().find(is_owner).unwrap().0;
        kill(Pid::from_raw(owner), Signal::SIGKILL).unwrap();
        wait_until("its end", || !machine.processes().iter().any(|one| one.0 == owner));
        assert_eq!(machine.tare(&["state", "orphan"]).code, 0, "the container is still there");
        if options.len() == 2 {
            // The next run takes the name.
            assert_eq!(machine.run(&["--rm", "--name", "orphan", "oci:image:latest", "true"]).code, 0);
        } else {
            assert!(machine.image("ps", &["-a"]).out.contains("exited (killed)"));
            assert_eq!(machine.image("remove", &["orphan"]).code, 0);
        }
        assert_eq!(machine.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn a_container_of_somebody_else_with_the_same_name_is_left_alone() {
    let machine = Machine::new("strangers", json!({}));
    assert_eq!(
        machine
            .output(
                env!("CARGO_BIN_EXE_tare-image"),
                &["unpack", "oci:image", "bundle", "--cmd", r#"["sleep","1000"]"#]
            )
            .code,
        0
    );
    // Without pipes, which the container would hold open.
    let root = machine.join("state").display().to_string();
    let args = ["--root", &root, "run", "--detach", "-b", "bundle", "theirs"];
    let mut command = machine.command(env!("CARGO_BIN_EXE_tare"), &args);
    assert!(
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    );
    let seen = machine.run(&["--rm", "--name", "theirs", "oci:image:latest", "true"]);
    assert_eq!(seen.code, 125, "{seen:?}");
    assert_eq!(machine.tare(&["exec", "theirs", "echo", "alive"]).out, "alive\n");
    assert_eq!(machine.containers(), Vec::<String>::new());
    assert_eq!(machine.tare(&["delete", "--force", "theirs"]).code, 0);
}

#[test]
fn a_damaged_record_is_told_and_can_be_removed() {
    let machine = Machine::new("damaged", json!({}));
    assert_eq!(machine.run(&["--name", "good", "oci:image:latest", "true"]).code, 0);
    assert_eq!(machine.run(&["--name", "bad", "oci:image:latest", "true"]).code, 0);
    for text in ["", "{", "[]", r#"{"id":"../../x"}"#] {
        std::fs::write(machine.join("store/containers/bad/container.json"), text).unwrap();
        let seen = machine.image("ps", &["-a"]);
        assert!(
            seen.code == 0 && seen.out.contains("good") && seen.err.contains("container bad"),
            "{text:?}: {seen:?}"
        );
        assert_eq!(machine.run(&["--rm", "oci:image:latest", "true"]).code, 0, "{text:?}");
    }
    assert_eq!(machine.image("remove", &["bad"]).code, 1);
    assert_eq!(machine.image("remove", &["--force", "bad"]).code, 0);
    assert_eq!(machine.containers(), ["good"]);
}
