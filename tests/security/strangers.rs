//! Ids, paths, terminals and messages that lead to something that is another's.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{Bundle, control_falls, program, run::wait_for};

#[test]
fn an_id_that_leads_up_does_not_lead_to_the_neighbours_directory() {
    // crun before 1.28 removed what `delete --force -- ../victim` named.
    let Some(bundle) = Bundle::new() else { return };
    let root = bundle.dir.join("deep/a/b/c/state");
    let victim = bundle.dir.join("deep/a/b/c/victim");
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&victim).unwrap();
    fs::write(victim.join("kept"), "alive").unwrap();
    for verb in [&["delete", "--force"][..], &["kill"], &["start"], &["delete"]] {
        let mut call = Command::new(&bundle.program);
        call.arg("--root").arg(&root).args(verb).args(["--", "../victim"]).current_dir(&bundle.dir);
        let answer = wait_for(&mut call);
        assert!(victim.join("kept").exists(), "the neighbour is gone: {verb:?}: {answer:?}");
        assert_ne!(answer.code, 0, "an id with dots is taken: {verb:?}: {answer:?}");
    }
}

#[test]
fn a_process_that_joins_does_not_have_its_callers_terminal() {
    // CVE-2016-10124, CVE-2017-5226: TIOCSTI types at the terminal of whoever says `exec`.
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(script) = program("script") else { return };
    bundle.up();
    // The fields of proc(5) behind the name: state, parent, group, session, terminal.
    let show = "sed 's/.*) //' /proc/self/stat | cut -d' ' -f4,5";
    let at_terminal = |command: String| {
        let mut call = Command::new(&script);
        call.args(["-qec", &command, "/dev/null"]).stdin(std::process::Stdio::null());
        wait_for(&mut call).stdout
    };
    let call = bundle.command(&["exec", &bundle.id, "sh", "-c", show]);
    let words: Vec<_> = call.get_args().map(|word| word.to_str().unwrap()).collect();
    let (last, words) = words.split_last().unwrap();
    let inside =
        at_terminal(format!("{} {} \"{}\"", bundle.program, words.join(" "), last.replace('"', "\\\"")));
    let fields: Vec<&str> = inside.split_whitespace().collect();
    assert_eq!(fields.len(), 2, "{inside:?}");
    assert!(fields[1] == "0" && fields[0] != "0", "it has the terminal of its caller: {inside:?}");
    let outside = at_terminal(show.into());
    assert!(!outside.trim_end().ends_with(" 0"), "{outside:?}");
    control_falls("a program without a session of its own has the terminal");
}

#[test]
fn a_message_that_is_too_long_is_not_taken_for_two() {
    // CVE-2021-43784: a length of 16 bits, for a path of 65,536 bytes and more.
    let Some(mut bundle) = Bundle::new() else { return };
    let host = fs::read_link("/proc/self/ns/uts").unwrap();
    for (kind, more) in [("uts", 8), ("uts", 0), ("network", 32), ("ipc", 4096)] {
        let name = if kind == "network" { "net" } else { kind };
        let path = format!("/proc/1/ns{}/{name}", "/.".repeat((65_536 + more) / 2));
        bundle.namespace(kind, Some(&path)).args(&["readlink", "/proc/self/ns/uts"]);
        let answer = bundle.run();
        assert!(answer.code != 0, "{more}: {answer:?}");
        assert!(answer.told().contains("/linux/namespaces"), "{more}: {answer:?}");
        assert!(!answer.stdout.contains(host.to_str().unwrap()), "{answer:?}");
        bundle.namespace(kind, None);
    }
    // What the netlink attribute of runc was: two bytes of length, and the content.
    let attribute = |content: &[u8]| [&(content.len() as u16).to_le_bytes()[..], content].concat();
    let smuggled = attribute(b"/proc/1/ns/uts");
    let message = attribute(&[&vec![b'/'; 65_536 - smuggled.len()], &smuggled[..], b"xx"].concat());
    assert_eq!(u16::from_le_bytes([message[0], message[1]]), 2);
    control_falls("a length of 16 bits ends the attribute early");
    bundle.leaves_nothing();
}

#[test]
fn an_annotation_sets_no_property_of_a_unit_that_runs_programs() {
    // CVE-2024-3154.
    let Some(mut bundle) = Bundle::new() else { return };
    let long = "x".repeat(1 << 20);
    for (name, value) in [
        ("ExecStopPost", "['/bin/touch','/tmp/x']"),
        ("ExecStart", "'/bin/true'"),
        ("FailureAction", "'poweroff'"),
        ("JobTimeoutAction", "'reboot'"),
        ("OnFailure", "['other.service']"),
        ("TasksMax", "'no number"),
        ("MemoryMax", long.as_str()),
        ("../x", "1"),
        ("", "1"),
    ] {
        bundle.patch(|config| {
            config["annotations"] = json!({format!("org.systemd.property.{name}"): value});
            config["linux"]["cgroupsPath"] = json!("tare.slice:test:properties");
        });
        let answer = bundle.tare(&["--systemd-cgroup", "plan"]);
        assert!(answer.code != 0, "{name} is told to systemd: {answer:?}");
        assert!(answer.told().contains("org.systemd.property"), "{name}: {answer:?}");
        assert!(answer.stderr.len() < 4000, "{name}: {} bytes", answer.stderr.len());
    }
    bundle.leaves_nothing();
}
