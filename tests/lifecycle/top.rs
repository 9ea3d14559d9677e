//! `top`: what the containers use, on a terminal and off one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::json;

use crate::support::machine::{cgroup2_alone, has_controller};
use crate::support::{Bundle, skip_part, wait_until};

/// The command on a terminal.
struct Shown {
    child: Child,
    master: File,
    /// The other end, to look at the terminal's mode.
    terminal: OwnedFd,
    seen: String,
}

impl Shown {
    fn start(bundle: &Bundle, args: &[&str]) -> Self {
        let size = Winsize { ws_row: 8, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        let slave = || pair.slave.try_clone().unwrap();
        let child = bundle.command(args).stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        Self { child, master: File::from(pair.master), terminal: pair.slave, seen: String::new() }
    }

    /// Waits until this is shown, and forgets what came before.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        for _ in 0..500 {
            if let Some(at) = self.seen.find(text) {
                let before = self.seen[..at].to_owned();
                self.seen.drain(..at + text.len());
                return before;
            }
            let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::from(20_u8)).unwrap() > 0 {
                let mut bytes = [0; 4096];
                let count = self.master.read(&mut bytes).unwrap();
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        }
        panic!("no {text:?} in {:?}", self.seen);
    }

    fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
    }

    /// It ends with this code, and leaves the terminal as it was.
    #[track_caller]
    fn ends(mut self, code: i32) {
        self.expect("\u{1b}[?25h\u{1b}[?1049l");
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
        assert!(self.echoes());
    }
}

const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";

#[test]
fn once_without_a_terminal_with_limits_and_the_busiest_first() {
    let Some(mut busy) = Bundle::new() else { return };
    busy.patch(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 77});
    });
    busy.script("while :; do :; done").up();
    let other = format!("{}0", busy.id);
    busy.tare(&["create", &other]).ok();
    let counts = ["pids", "memory", "cpuacct"].into_iter().all(has_controller) || cgroup2_alone();
    if counts {
        // On a busy machine it may have to wait for its turn.
        let first = || busy.tare(&["top"]).ok().lines()[1].to_owned();
        wait_until("it is busy", || first().starts_with(&format!("{} ", busy.id)));
    }
    let table = busy.tare(&["top", "--sort", "id"]).ok();
    let lines = table.lines();
    assert!(lines[0].starts_with("ID ") && lines.len() == 3, "{table:?}");
    let words: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(words[..2], [&busy.id, "running"], "{table:?}");
    if counts {
        assert!(words[2] == "1/77" && words[4].ends_with("/64.0M"), "{table:?}");
        assert!(words[3].parse::<f64>().is_ok(), "{table:?}");
    } else {
        skip_part("needs the controllers pids, memory and cpuacct");
    }
    assert_eq!(lines[2].split_whitespace().take(2).collect::<Vec<_>>(), [&other, "created"]);
    let by_id = busy.tare(&["top", "--sort", "id"]).ok();
    assert!(by_id.lines()[1].starts_with(&format!("{} ", busy.id)), "{by_id:?}");
    busy.tare(&["top", "--sort", "colour"]).fails(1, "invalid sort: colour: not cpu, memory, pids, io or id");
    busy.tare(&["top", "--interval", "0"]).fails(1, "duration");
    // What cannot be read is left out.
    fs::create_dir(busy.state_root().join("torn")).unwrap();
    assert_eq!(busy.tare(&["top"]).ok().lines().len(), 3);
    fs::remove_dir(busy.state_root().join("torn")).unwrap();
}

#[test]
fn on_a_terminal_it_goes_on_until_it_is_told_and_leaves_it_as_it_was() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "1000"]).up();
    let start = || Shown::start(&bundle, &["top", "--interval", "100ms"]);
    // A key; first others, and a container that is gone.
    let other = format!("{}0", bundle.id);
    bundle.tare(&["create", &other]).ok();
    let mut shown = start();
    shown.expect(ENTER);
    shown.expect("2 containers, by cpu;");
    shown.expect(&other);
    assert!(!shown.echoes());
    bundle.tare(&["delete", "--force", &other]).ok();
    shown.expect("1 container, by cpu;");
    shown.master.write_all(b"m").unwrap();
    shown.expect("by memory;");
    shown.master.write_all(b"q").unwrap();
    shown.ends(0);
    // Signals.
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut shown = start();
        shown.expect("by cpu;");
        shown.signal(signal);
        shown.ends(128 + signal as i32);
    }
    // Another size: no line is longer.
    let mut shown = start();
    shown.expect("q quits");
    let narrow = tare::sys::tty::Size { rows: 3, columns: 30 };
    tare::sys::tty::set_size(shown.master.as_fd(), narrow).unwrap();
    shown.signal(Signal::SIGWINCH);
    shown.expect("\u{1b}[J");
    shown.expect("\u{1b}[H");
    let frame = shown.expect("\u{1b}[J");
    let lines: Vec<_> =
        frame.split("\r\n").map(|line| line.replace("\u{1b}[K", "").replace('\r', "")).collect();
    assert!(lines.len() <= 3 && lines.iter().all(|line| line.chars().count() <= 30), "{lines:?}");
    // ^Z, and back.
    shown.signal(Signal::SIGTSTP);
    shown.expect("\u{1b}[?1049l");
    let stat = format!("/proc/{}/stat", shown.child.id());
    wait_until("it has stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
    assert!(shown.echoes());
    shown.signal(Signal::SIGCONT);
    shown.expect(ENTER);
    shown.expect("tare top: 1 container");
    assert!(!shown.echoes());
    // A terminal whose output is stopped (^S) keeps nobody.
    nix::sys::termios::tcflow(&shown.terminal, nix::sys::termios::FlowArg::TCOOFF).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    shown.signal(Signal::SIGTERM);
    assert_eq!(shown.child.wait().unwrap().code(), Some(128 + 15));
    assert!(shown.echoes());
}
