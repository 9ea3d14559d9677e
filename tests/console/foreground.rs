//! The wait of an attached process: a process of the test stands for a shell, on pipes or on a terminal.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::time::TimeValLike;
use nix::unistd::{ForkResult, fork, pipe2};
use tare::sys::process::{Vector, execve, exit_now, parent_death_signal, pidfd_open, reset_signals};
use tare::sys::tty::{self, Size};
use tare::testing::launch::console::adopt;
use tare::testing::launch::foreground::Foreground;

use crate::support::{Line, Process, let_go, redirect, sit_at};

const ENV: [&CStr; 2] = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin", c"LC_ALL=C"];

/// A shell with `script`, on a terminal of its own if there is one.
fn shell(script: &CStr, terminal: Option<&OwnedFd>) -> i32 {
    // SAFETY: this process has one thread.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child.as_raw(),
        ForkResult::Child => {
            if let Some(terminal) = terminal {
                sit_at(terminal);
            }
            reset_signals(u64::MAX).unwrap();
            // A test that fails kills only the process that stands for this one.
            parent_death_signal(libc::SIGKILL).unwrap();
            execve(c"/bin/sh", &Vector::new([c"sh", c"-c", script]), &Vector::new(ENV));
            exit_now(127)
        }
    }
}

/// What stands for a shell does, without a terminal for that; `before` happens between its start and the wait.
fn stand_for(script: &CStr, before: impl FnOnce()) -> i32 {
    let foreground = Foreground::prepare(true).unwrap();
    let pid = shell(script, None);
    let pidfd = pidfd_open(pid).unwrap();
    before();
    foreground.wait(pid, pidfd.as_fd(), None).unwrap()
}

/// The same, with a terminal made here.
fn stand_for_terminal(script: &CStr) -> i32 {
    let foreground = Foreground::prepare(true).unwrap();
    let (master, peer) = tty::pair().unwrap();
    adopt(master.as_fd()).unwrap();
    let pid = shell(script, Some(&peer));
    drop(peer);
    let pidfd = pidfd_open(pid).unwrap();
    foreground.wait(pid, pidfd.as_fd(), Some(master)).unwrap()
}

/// A process that sits at a terminal, with the test at the other end, and stands for a shell on a terminal.
fn at_terminal(script: &CStr, size: Option<Size>) -> (Process, Line, OwnedFd) {
    let (master, peer) = tty::pair().unwrap();
    if let Some(size) = size {
        tty::set_size(master.as_fd(), size).unwrap();
    }
    let process = Process::start(|| {
        sit_at(&peer);
        let_go();
        stand_for_terminal(script)
    });
    (process, Line::new(master), peer)
}

/// A process on two pipes that stands for a shell on a terminal: what it is to read, and what it has written.
fn on_pipes(script: &CStr) -> (Process, Line, Line) {
    let (input, typed) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (process, printed) = writing(&input, || stand_for_terminal(script));
    (process, Line::new(typed), printed)
}

/// A process that reads `input` and whose output the test reads.
fn writing(input: &OwnedFd, life: impl FnOnce() -> i32) -> (Process, Line) {
    let (printed, output) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let process = Process::start(|| {
        redirect(input, &output);
        let_go();
        life()
    });
    (process, Line::new(printed))
}

fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

#[test]
fn the_exit_status_is_the_code_or_128_and_the_signal() {
    let cases = [(c"exit 0", 0), (c"exit 7", 7), (c"kill -9 $$", 137), (c"kill -35 $$", 163)];
    for (script, expected) in cases {
        assert_eq!(Process::start(|| stand_for(script, || ())).code(), expected, "{script:?}");
        assert_eq!(on_pipes(script).0.code(), expected, "{script:?} on a terminal");
    }
}

#[test]
fn a_process_that_ended_before_the_wait_is_not_waited_for_for_ever() {
    let nap = || std::thread::sleep(Duration::from_millis(100));
    assert_eq!(Process::start(|| stand_for(c"exit 5", nap)).code(), 5);
}

#[test]
fn children_leave_a_status_though_the_caller_ignores_theirs() {
    let process = Process::start(|| {
        // SAFETY: no handler.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.unwrap();
        stand_for(c"exit 6", || ())
    });
    assert_eq!(process.code(), 6);
}

/// A process standing for a shell that says `ready` first.
fn ready(script: &CStr) -> (Process, Line) {
    let (process, mut printed) = writing(&null(), || stand_for(script, || ()));
    printed.expect("ready\n");
    (process, printed)
}

// The shells below spin instead of sleeping: dash forgets a signal that reaches it while it starts a program.
#[test]
fn signals_go_to_the_process() {
    let script =
        c"for s in HUP INT QUIT USR1 USR2 TERM ALRM TSTP TTIN TTOU CONT; do trap \"echo got $s\" $s; done
        trap 'exit 3' IO; echo ready; while :; do :; done";
    let (process, mut printed) = ready(script);
    use Signal::*;
    for signal in
        [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT]
    {
        process.signal(signal);
        printed.expect(&format!("got {}\n", &signal.as_str()[3..]));
    }
    process.signal(SIGIO);
    assert_eq!(process.code(), 3);
}

#[test]
fn what_a_terminal_or_a_runtime_uses_for_itself_is_not_passed_on() {
    let script = c"trap 'echo got WINCH' WINCH; trap 'echo got URG' URG; trap 'echo got CHLD' CHLD
        trap 'exit 3' TERM; echo ready; while :; do :; done";
    let (process, mut printed) = ready(script);
    for signal in [Signal::SIGWINCH, Signal::SIGURG, Signal::SIGCHLD] {
        process.signal(signal);
    }
    std::thread::sleep(Duration::from_millis(50));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.code(), 3);
    assert_eq!(printed.rest(), "");
}

#[test]
fn a_signal_that_comes_before_the_wait_is_not_lost() {
    let script = c"trap 'exit 4' TERM; echo ready; while :; do :; done";
    let process = Process::start(|| {
        let (printed, output) = pipe2(OFlag::O_CLOEXEC).unwrap();
        redirect(&null(), &output);
        stand_for(script, || {
            Line::new(printed).expect("ready\n");
            // Not from ourselves: that would be taken for our own SIGPIPE.
            let me = std::process::id().to_string();
            assert!(std::process::Command::new("kill").arg(me).status().unwrap().success());
        })
    });
    assert_eq!(process.code(), 4);
}

#[test]
fn what_the_caller_ignores_stays_ignored() {
    let (process, mut printed) = writing(&null(), || {
        // SAFETY: no handler.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }.unwrap();
        stand_for(c"trap 'exit 9' HUP; trap 'exit 4' TERM; echo ready; while :; do :; done", || ())
    });
    printed.expect("ready\n");
    process.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(50));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.code(), 4);
}

#[test]
fn a_subreaper_reaps_orphans_and_returns_the_status_of_its_process() {
    let process = Process::start(|| {
        // An orphan that ends at once, one later, and one that is still there at the end.
        let status = stand_for(
            c"(sleep 0 & exec true); (sleep 0.1; exit 9) & (exec sleep 0.4 &); sleep 0.2; exit 3",
            || (),
        );
        let ended = tare::sys::signal::wait(-1, false);
        // One is left and alive; no zombie is.
        if ended == Ok(None) { status } else { 100 }
    });
    assert_eq!(process.code(), 3);
}

#[test]
fn the_terminal_is_raw_while_it_lasts_and_itself_again_after() {
    let script = c"trap 'echo interrupted' INT; echo ready; until read line; do :; done; echo \"[$line]\"; stty -a; exit 3";
    let (process, mut line, peer) = at_terminal(script, None);
    let before = tty::mode(peer.as_fd()).unwrap();
    // The terminal inside ends lines for one in raw mode.
    line.expect("ready\r\n");
    // ^C is for the process inside, and typing is echoed by the terminal inside: once.
    line.write("\u{3}");
    line.expect("interrupted\r\n");
    assert_ne!(tty::mode(peer.as_fd()).unwrap(), before);
    line.write("typed\r");
    line.expect("typed\r\n[typed]\r\n");
    line.expect(" icanon");
    assert_eq!(process.code(), 3);
    assert_eq!(tty::mode(peer.as_fd()).unwrap(), before);
    let flags = OFlag::from_bits_truncate(fcntl(&peer, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK), "the caller's standard input was made non-blocking");
}

#[test]
fn the_mode_comes_back_when_the_process_is_killed() {
    let (process, mut line, peer) = at_terminal(c"echo ready; kill -9 $$", None);
    let before = tty::mode(peer.as_fd()).unwrap();
    line.expect("ready\r\n");
    assert_eq!(process.code(), 137);
    assert_eq!(tty::mode(peer.as_fd()).unwrap(), before);
}

#[test]
fn the_size_of_the_terminal_follows_the_callers() {
    let script = c"trap 'stty size; exit 3' WINCH; echo ready; stty size; while :; do :; done";
    let (process, mut line, _peer) = at_terminal(script, Some(Size { rows: 31, columns: 97 }));
    line.expect("31 97\r\n");
    tty::set_size(line.fd(), Size { rows: 32, columns: 98 }).unwrap();
    line.expect("32 98\r\n");
    assert_eq!(process.code(), 3);
}

#[test]
fn all_output_comes_though_the_process_has_ended_and_the_reader_is_slow() {
    let (process, _typed, mut printed) = on_pipes(c"seq 200000");
    std::thread::sleep(Duration::from_millis(100));
    let all = printed.rest();
    // Without a terminal of the caller's, lines end as the program wrote them.
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(all == expected, "{} bytes of {}", all.len(), expected.len());
    assert_eq!(process.code(), 0);
}

#[test]
fn somebody_left_behind_who_goes_on_writing_does_not_hold_us() {
    let (process, _typed, printed) = on_pipes(c"trap '' HUP; yes & echo started; sleep 0.2");
    let reader = std::thread::spawn(move || {
        let mut printed = printed;
        printed.rest();
    });
    assert_eq!(process.code(), 0);
    reader.join().unwrap();
}

#[test]
fn the_end_of_the_input_ends_who_reads_lines() {
    for (input, expected) in [("one\ntwo\n", "one\ntwo\n"), ("one\ntwo", "one\ntwo"), ("", "")] {
        let (process, mut typed, mut printed) = on_pipes(c"stty -echo; echo ready; cat; exit 3");
        printed.expect("ready\n");
        typed.write(input);
        drop(typed);
        assert_eq!(printed.rest(), expected, "{input:?}");
        assert_eq!(process.code(), 3);
    }
}

/// A shell that edits its lines takes the terminal out of its reading by lines: what was typed before that is nothing
/// to it.
#[test]
fn the_end_of_the_input_ends_a_shell_at_its_prompt_however_fast_it_is() {
    const SHELL: &str = "stty raw -echo; sleep $DELAY; printf prompt
        while :; do test $(head -c 1 | od -An -to1) = 004 && exit 3; done";
    for delay in ["0", "0.3"] {
        let script = CString::new(format!("DELAY={delay}; {SHELL}")).unwrap();
        let (process, typed, mut printed) = on_pipes(&script);
        drop(typed);
        assert!(printed.rest().contains("prompt"));
        assert_eq!(process.code(), 3);
    }
}

#[test]
fn the_end_of_the_input_is_not_the_end_of_the_process() {
    let (process, typed, mut printed) = on_pipes(c"sleep 0.2; echo later; exit 3");
    drop(typed);
    assert_eq!(printed.rest(), "later\n");
    assert_eq!(process.code(), 3);
}

#[test]
fn when_nobody_reads_the_output_any_more_the_terminal_hangs_up() {
    let (process, _typed, mut printed) = on_pipes(c"yes");
    printed.expect("y\n");
    drop(printed);
    assert_eq!(process.code(), 128 + Signal::SIGHUP as i32);
}

#[test]
fn a_terminal_that_the_process_closes_can_be_opened_again_and_costs_nothing_meanwhile() {
    let (process, mut printed) = writing(&null(), || {
        let code = stand_for_terminal(
            c"tty=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.5; exec >$tty; echo again; exit 3",
        );
        let used = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        let used = (used.user_time() + used.system_time()).num_milliseconds();
        if used < 250 { code } else { 100 }
    });
    printed.expect("again\n");
    assert_eq!(process.code(), 3);
}

#[test]
fn signals_reach_the_process_while_the_reader_of_its_output_sleeps() {
    // For the shell to set its trap, and to leave; an emulated machine takes its time.
    let emulated = std::env::var_os("TARE_TEST_GUEST").is_some();
    let moment = Duration::from_millis(if emulated { 4000 } else { 200 });
    let (process, _typed, printed) = on_pipes(c"trap 'exit 3' TERM; (trap - TERM; yes) & wait");
    std::thread::sleep(moment);
    process.signal(Signal::SIGTERM);
    std::thread::sleep(moment);
    // The output that is left has nobody to read it: a second signal ends the wait for that.
    process.signal(Signal::SIGTERM);
    assert_eq!(process.code(), 3);
    drop(printed);
}
