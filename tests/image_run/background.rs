//! Containers in the background: their names, their output, their end.

use std::io::Read;
use std::process::Stdio;

use serde_json::json;

use crate::machine::{Machine, answer, wait_until};

#[test]
fn a_container_in_the_background_is_an_ordinary_one_of_tares() {
    let machine = Machine::new("background", json!({}));
    let seen = machine.run(&["-d", "oci:image:latest", "sleep", "1000"]);
    let id = seen.out.trim().to_owned();
    assert!(seen.code == 0 && id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{seen:?}");
    assert!(machine.tare(&["list", "-q"]).out.contains(&id));
    assert_eq!(machine.tare(&["exec", &id, "hostname"]).out, format!("{id}\n"));
    assert!(machine.image("ps", &[]).out.contains("running"));
    // A name is taken, whether the container runs or not.
    assert_eq!(machine.image("remove", &[&id]).code, 1);
    assert_eq!(machine.tare(&["kill", &id, "KILL"]).code, 0);
    wait_until("the end", || machine.image("ps", &["-a"]).out.contains("exited (137)"));
    assert_eq!(machine.leftovers(), Vec::<String>::new());
    let seen = machine.run(&["--name", &id, "oci:image:latest", "true"]);
    assert!(seen.code == 125 && seen.err.contains("is taken"), "{seen:?}");
    assert_eq!(machine.image("remove", &[&id]).code, 0);
    assert_eq!(machine.image("remove", &[&id]).code, 1);
    // `tare delete` of a running one; --rm removes it.
    assert_eq!(
        machine.run(&["-d", "--rm", "--name", "gone", "oci:image:latest", "sleep", "1000"]).out,
        "gone\n"
    );
    assert_eq!(machine.tare(&["delete", "--force", "gone"]).code, 0);
    wait_until("the end", || machine.containers().is_empty());
    assert_eq!(machine.run(&["-d", "--name", "forced", "oci:image:latest", "sleep", "1000"]).code, 0);
    assert_eq!(machine.image("remove", &["--force", "forced"]).code, 0);
    assert_eq!(machine.containers(), Vec::<String>::new());
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[test]
fn logs_have_what_a_container_has_written() {
    let machine = Machine::new("logs", json!({}));
    let script = "echo out; echo err >&2; printf 'no end'; head -c 40000 /dev/zero | tr '\\0' x >&2; echo; printf '\\377\\n'";
    assert_eq!(machine.run(&["-d", "--name", "short", "oci:image:latest", "sh", "-c", script]).code, 0);
    wait_until("the end", || machine.image("ps", &["-q"]).out.is_empty());
    let output = machine.image_command("logs", &["short"]).output().unwrap();
    assert_eq!(output.stdout, b"out\nno end\n\xff\n");
    assert_eq!(output.stderr, [b"err\n", &[b'x'; 40000][..]].concat());
    let seen = machine.image("logs", &["-t", "short"]).out;
    assert!(seen.starts_with("20") && seen.contains("Z out\n20"), "{seen}");
    for (args, told) in [(&["nobody"][..], "there is no container"), (&["../x"], "there is no container")] {
        let seen = machine.image("logs", args);
        assert!(seen.code == 1 && seen.err.contains(told), "{seen:?}");
    }
    machine.run(&["--name", "front", "oci:image:latest", "true"]);
    assert!(machine.image("logs", &["front"]).err.contains("ran in the foreground"));

    // -f follows until the end.
    let script = "for i in 1 2 3; do echo $i; sleep 0.2; done";
    assert_eq!(machine.run(&["-d", "--name", "long", "oci:image:latest", "sh", "-c", script]).code, 0);
    let seen = machine.image("logs", &["-f", "long"]);
    assert_eq!((seen.out.as_str(), seen.code), ("1\n2\n3\n", 0), "{seen:?}");
    assert_eq!(machine.image("logs", &["-n", "2", "long"]).out, "2\n3\n");
}

#[test]
fn a_container_that_writes_without_end_is_not_held_up_and_does_not_hold_up_its_caller() {
    let machine = Machine::new("flood", json!({}));
    let mut child = machine
        .image_command(
            "run",
            &[
                "--network",
                "none",
                "-d",
                "--name",
                "flood",
                "oci:image:latest",
                "sh",
                "-c",
                "seq 1 200000; echo end; sleep 1000",
            ],
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The caller reads to the end of both streams: the process in the background has let go of them.
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((out.as_str(), err.as_str(), child.wait().unwrap().code()), ("flood\n", "", Some(0)));
    wait_until("the last line", || machine.image("logs", &["-n", "1", "flood"]).out == "end\n");
    assert_eq!(machine.image("logs", &["flood"]).out.lines().count(), 200_001);
}

#[test]
fn a_terminal_in_the_background_and_a_standard_input_that_never_ends() {
    let machine = Machine::new("waiting", json!({}));
    assert_eq!(
        machine
            .run(&[
                "-dt",
                "--name",
                "tty",
                "oci:image:latest",
                "sh",
                "-c",
                "stty size; test -t 1 && echo terminal"
            ])
            .code,
        0
    );
    assert_eq!(
        machine.run(&["-di", "--name", "open", "oci:image:latest", "sh", "-c", "cat; echo ended"]).code,
        0
    );
    wait_until("the end", || machine.image("ps", &["-q"]).out == "open\n");
    assert!(machine.image("logs", &["tty"]).out.ends_with("terminal\r\n"));
    assert_eq!(machine.image("logs", &["open"]).out, "");
    let seen = machine.run(&["-dt", "--name", "bad", "oci:image:latest", "no-such-program"]);
    assert!(seen.code == 127 && seen.err.contains("no-such-program"), "{seen:?}");
}

#[test]
fn of_several_with_one_name_one_runs() {
    let machine = Machine::new("names", json!({}));
    assert_eq!(machine.run(&["--rm", "oci:image:latest", "true"]).code, 0);
    let start = |name: &str| {
        let args = ["--network", "none", "-d", "--name", name, "oci:image:latest", "sleep", "1000"];
        machine
            .image_command("run", &args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start("same")).collect();
    let codes: Vec<i32> =
        children.into_iter().map(|child| answer(child.wait_with_output().unwrap()).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 125).count(), 3, "{codes:?}");
    let children: Vec<_> = (0..4).map(|number| start(&format!("other-{number}"))).collect();
    assert!(children.into_iter().all(|child| answer(child.wait_with_output().unwrap()).code == 0));
    assert_eq!(machine.image("ps", &["-q"]).out.lines().count(), 5);
}

#[test]
fn a_bundle_and_a_container_are_told_apart() {
    let machine = Machine::new("both", json!({}));
    assert_eq!(machine.run(&["--name", "both", "oci:image:latest", "true"]).code, 0);
    assert_eq!(machine.output(env!("CARGO_BIN_EXE_tare-image"), &["unpack", "oci:image", "both"]).code, 0);
    let seen = machine.image("remove", &["both"]);
    assert!(seen.code == 1 && seen.err.contains("which one is meant"), "{seen:?}");
    assert_eq!(machine.image("remove", &["./both"]).code, 0);
    assert_eq!(machine.image("remove", &["both"]).code, 0);
    let seen = machine.image("remove", &["both"]);
    assert_eq!(seen.code, 1, "{seen:?}");
}
