//! A container at a terminal: `-it`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tare::sys::tty;

use crate::machine::Machine;

/// Reads from the terminal until `text` has come.
fn read_until(terminal: &mut File, seen: &mut String, text: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut buffer = [0; 1024];
    while !seen.contains(text) {
        assert!(Instant::now() < end, "waited in vain for {text:?}: {seen:?}");
        match terminal.read(&mut buffer) {
            Ok(count) => seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[test]
fn a_shell_at_a_terminal_has_its_size_and_its_keys() {
    let machine = Machine::new("terminal", json!({}));
    let (master, slave) = tty::pair().unwrap();
    tty::set_size(master.as_fd(), tty::Size { rows: 33, columns: 77 }).unwrap();
    let before = tty::mode(slave.as_fd()).unwrap();
    let args = ["--network", "none", "--rm", "-it", "--name", "shell", "oci:image:latest", "sh"];
    let inner = machine.image_command("run", &args);
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let mut child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    nix::fcntl::fcntl(master.as_fd(), nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let mut terminal = File::from(master);
    let mut seen = String::new();
    read_until(&mut terminal, &mut seen, "# ");
    terminal.write_all(b"stty size; echo $TERM; test -t 0 && echo is-$((1+1))-terminal\r").unwrap();
    read_until(&mut terminal, &mut seen, "is-2-terminal");
    assert!(seen.contains("33 77") && seen.contains("xterm"), "{seen:?}");
    tty::set_size(terminal.as_fd(), tty::Size { rows: 20, columns: 50 }).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    terminal.write_all(b"stty size\r").unwrap();
    read_until(&mut terminal, &mut seen, "20 50");
    // An interrupt is for the program in the container, and does not end the run.
    terminal.write_all(b"sleep 1000\r").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    terminal.write_all(b"\x03").unwrap();
    terminal.write_all(b"echo after-$((2+2)); exit 6\r").unwrap();
    read_until(&mut terminal, &mut seen, "after-4");
    assert_eq!(child.wait().unwrap().code(), Some(6), "{seen:?}");
    // The terminal has its mode back.
    assert_eq!(tty::mode(slave.as_fd()).unwrap().local_flags, before.local_flags);
    assert_eq!(machine.containers(), Vec::<String>::new());
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}
