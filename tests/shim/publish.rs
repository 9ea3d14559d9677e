//! Events without containerd's ttrpc socket: by the program that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::client::Events;
use super::support::{Bundle, wait_until};
use super::{Shim, start_with, wait_gone};

#[test]
fn without_a_socket_each_event_goes_by_containerds_program_once_and_in_order() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sh", "-c", "exit 7"]);
    bundle.patch(|config| config["process"]["terminal"] = false.into());
    let (program, told) = (bundle.dir.join("publisher"), bundle.dir.join("told"));
    // It refuses the first two, as containerd's does while the daemon is away.
    let script = format!(
        "#!/bin/sh\ncd {}\nif [ $(ls tries* 2>/dev/null | wc -l) -lt 2 ]; then touch tries.$$; exit 1; fi\n\
         echo \"$* $(wc -c)\" >>told\n",
        bundle.dir.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let address =
        start_with(&bundle, &bundle.id, Path::new(""), &["-publish-binary", &program.to_string_lossy()]);
    let events = Events::at(&bundle.dir.join("nobody"));
    let mut shim = Shim::at(bundle, address, events);
    let named = shim.named();
    shim.client.call("Create", &shim.create()).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 7);
    shim.client.call("Delete", &named).unwrap();
    let lines = || fs::read_to_string(&told).unwrap_or_default();
    wait_until("four events are told", || lines().lines().count() >= 4);
    shim.client.call("Shutdown", &named).unwrap();
    wait_gone(shim.pid);
    let lines = lines();
    let words: Vec<Vec<&str>> = lines.lines().map(|line| line.split(' ').collect()).collect();
    let topics: Vec<&str> = words.iter().map(|line| line[4]).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    for line in words {
        assert_eq!(line[..4], ["--address", "/none", "publish", "--topic"], "{line:?}");
        assert_eq!(line[5..7], ["--namespace", "tests"], "{line:?}");
        assert!(line[7].parse::<usize>().unwrap() > 40, "{line:?}: the event on standard input");
    }
}
