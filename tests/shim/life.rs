//! The life of a task, and of the shim itself.

use std::fs;

use prost::Message;

use super::client::{Any, Client, EXISTS, Exec, NOT_FOUND, Named, PRECONDITION, UNIMPLEMENTED};
use super::support::wait_until;
use super::{Shim, start, wait_gone};

#[test]
fn a_task_from_create_to_shutdown_with_its_events_in_order() {
    let Some(mut shim) = Shim::new(&["sh", "-c", "exit 7"]) else { return };
    let named = shim.named();
    shim.client.call("Create", &shim.create()).unwrap();
    assert_eq!(shim.state().status, 1, "created");
    let waits = shim.client.send("Wait", &named);
    shim.client.call("Start", &named).unwrap();
    let exit = super::client::Number::decode(shim.client.answer(waits).unwrap().as_slice()).unwrap();
    assert_eq!(exit.number, 7);
    let state = shim.state();
    assert_eq!((state.status, state.exit_status), (3, 7));
    shim.client.call("Delete", &named).unwrap();
    assert_eq!(shim.client.code("State", &named), NOT_FOUND);
    shim.client.call("Shutdown", &named).unwrap();
    wait_gone(shim.pid);
    assert_eq!(shim.events.seen(), ["create", "start", "exit", "delete"]);
    assert!(!std::path::Path::new(shim.address.trim_start_matches("unix://")).exists(), "its socket is gone");
}

#[test]
fn requests_out_of_order_get_the_code_that_containerd_expects() {
    let Some(mut shim) = Shim::new(&["sleep", "1000"]) else { return };
    let named = shim.named();
    for method in ["State", "Start", "Kill", "Delete", "Wait", "Pause", "Stats", "Pids"] {
        assert_eq!(shim.client.code(method, &named), NOT_FOUND, "{method} before Create");
    }
    shim.client.call("Create", &shim.create()).unwrap();
    assert_eq!(shim.client.code("Create", &shim.create()), EXISTS);
    for method in ["Pause", "Resume", "Checkpoint"] {
        assert_eq!(shim.client.code(method, &named), PRECONDITION, "{method} before Start");
    }
    // Two at once: one starts it.
    let (one, other) = (shim.client.send("Start", &named), shim.client.send("Start", &named));
    assert!(shim.client.answer(one).is_ok());
    assert_eq!(shim.client.answer(other).unwrap_err().code, PRECONDITION);
    for method in ["Start", "Delete", "Resume"] {
        assert_eq!(shim.client.code(method, &named), PRECONDITION, "{method} of a running one");
    }
    assert_eq!(shim.client.code("NoSuchMethod", &named), UNIMPLEMENTED);
    let wrong = Named { number: 999, ..named.clone() };
    assert_eq!(shim.client.code("Kill", &wrong), super::client::INVALID);
    shim.client.call("Kill", &Named { number: 9, ..named.clone() }).unwrap();
    assert_eq!(shim.wait(), 137);
    for (method, code) in [("Kill", NOT_FOUND), ("Start", PRECONDITION), ("Pause", PRECONDITION)] {
        assert_eq!(
            shim.client.code(method, &Named { number: 9, ..named.clone() }),
            code,
            "{method} of a stopped one"
        );
    }
    let exec = exec_request(&shim, "late", &["true"]);
    assert_eq!(shim.client.code("Exec", &exec), PRECONDITION);
    // Two at once: one deletes it.
    let (one, other) = (shim.client.send("Delete", &named), shim.client.send("Delete", &named));
    assert!(shim.client.answer(one).is_ok());
    assert_eq!(shim.client.answer(other).unwrap_err().code, NOT_FOUND);
}

pub(super) fn exec_request(shim: &Shim, name: &str, args: &[&str]) -> Exec {
    let document =
        serde_json::json!({ "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    let spec = Any { type_url: "types".to_owned(), value: serde_json::to_vec(&document).unwrap() };
    Exec { id: shim.bundle.id.clone(), exec_id: name.to_owned(), spec: Some(spec), ..Exec::default() }
}

#[test]
fn a_hundred_execs_leave_the_shim_as_it_was() {
    let Some(mut shim) = Shim::new(&["sleep", "1000"]) else { return };
    let named = shim.named();
    shim.client.call("Create", &shim.create()).unwrap();
    shim.client.call("Start", &named).unwrap();
    let mut figures = Vec::new();
    for round in 0..2 {
        for number in 0..50 {
            let exec_id = format!("e{round}-{number}");
            let process = Named { exec_id: exec_id.clone(), ..named.clone() };
            shim.client.call("Exec", &exec_request(&shim, &exec_id, &["sh", "-c", "exit 3"])).unwrap();
            shim.client.call("Start", &process).unwrap();
            let exit = shim.client.call("Wait", &process).unwrap();
            assert_eq!(super::client::Number::decode(exit.as_slice()).unwrap().number, 3);
            shim.client.call("Delete", &process).unwrap();
        }
        let files = fs::read_dir(format!("/proc/{}/fd", shim.pid)).unwrap().count();
        let threads = fs::read_dir(format!("/proc/{}/task", shim.pid)).unwrap().count();
        let left = fs::read_dir(&shim.bundle.dir).unwrap().flatten();
        let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(".exec")).count();
        figures.push((files, threads, left));
    }
    assert_eq!(figures[0], figures[1], "descriptors, threads, files in the bundle");
    assert_eq!((figures[1].1, figures[1].2), (1, 0), "one thread, no file");
}

#[test]
fn an_idle_shim_is_never_woken() {
    let Some(mut shim) = Shim::new(&["sleep", "1000"]) else { return };
    shim.client.call("Create", &shim.create()).unwrap();
    let named = shim.named();
    shim.client.call("Start", &named).unwrap();
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", shim.pid)).unwrap();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    wait_until("the events are out", || shim.events.seen().len() == 2);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let before = switches();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(before, switches());
}

#[test]
fn containers_of_a_pod_share_a_shim_also_when_they_start_at_once() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    let pod = shim.bundle.id.clone();
    shim.bundle
        .patch(|config| config["annotations"] = serde_json::json!({ "io.kubernetes.cri.sandbox-id": pod }));
    let (bundle, events) = (&shim.bundle, &shim.events.path);
    let addresses: Vec<String> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..4).map(|n| scope.spawn(move || start(bundle, &format!("c{n}"), events))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(addresses.iter().all(|address| *address == shim.address), "{addresses:?}");
    let mut second = Client::connect(&addresses[0]);
    let connected = second.call("Connect", &shim.named()).unwrap();
    assert_eq!(super::client::Number::decode(connected.as_slice()).unwrap().number, shim.pid);
}

#[test]
fn after_sigkill_of_the_shim_delete_leaves_nothing_and_may_come_twice() {
    let Some(mut shim) = Shim::new(&["sleep", "1000"]) else { return };
    shim.client.call("Create", &shim.create()).unwrap();
    let named = shim.named();
    shim.client.call("Start", &named).unwrap();
    let process = shim.state().pid;
    let pid = nix::unistd::Pid::from_raw(shim.pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_gone(shim.pid);
    for _ in 0..2 {
        let output = shim.clean_up();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(super::client::Named::decode(&output.stdout[..]).map(|_| ()).unwrap_or(()), ());
    }
    wait_gone(process);
    let state = shim.bundle.dir.join("state").join(super::NAMESPACE).join(&shim.bundle.id);
    assert!(!state.exists(), "the runtime's state");
    assert!(!std::path::Path::new(shim.address.trim_start_matches("unix://")).exists(), "the socket");
}

/// containerd is not connected yet, so it calls no `delete`: it has an error of `start`'s, and gives up.
#[test]
fn a_shim_that_is_killed_before_its_first_call_leaves_no_socket() {
    let Some(bundle) = super::Bundle::new() else { return };
    let events = bundle.dir.join("events");
    let address = start(&bundle, &bundle.id, &events);
    let socket = std::path::Path::new(address.trim_start_matches("unix://")).to_owned();
    // What is read of it without a call: who listens there.
    let peer = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let shim = nix::sys::socket::getsockopt(&peer, nix::sys::socket::sockopt::PeerCredentials).unwrap();
    drop(peer);
    let shim = nix::unistd::Pid::from_raw(shim.pid());
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("its socket is gone", || !socket.exists());
}

/// As long as nobody has called, the rest of `start` is there; then it is not.
#[test]
fn after_the_first_call_nothing_stays_beside_the_shim() {
    let Some(shim) = Shim::new(&["true"]) else { return };
    let of_this_bundle = || {
        let words = |line: &[u8]| line.split(|&byte| byte == 0).any(|word| word == shim.bundle.id.as_bytes());
        let all = fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| words(line)).count()
    };
    wait_until("the shim alone", || of_this_bundle() == 1);
}
