//! `kill`: sends a signal to the first process, or to all processes.

use std::os::fd::AsFd;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::{Globals, Kill, Targets};
use crate::lifecycle::{cleanup, id_pattern};
use crate::sys::process::pidfd_send_signal;

/// Sends the signal to each of `targets`.
pub(crate) fn kill(globals: &Globals, targets: &Targets, options: &Kill) -> Result<()> {
    let signal = parse_signal(&options.signal)?;
    match targets {
        Targets::One(id) => kill_container(globals, id, signal, options.all),
        // If an expression matches several containers, ended ones are skipped.
        Targets::Matching(pattern) => {
            id_pattern::for_each_match(globals, pattern, |id| {
                match kill_container(globals, id, signal, options.all) {
                    Err(error) if error.kind() == Kind::State => Ok(()),
                    other => other,
                }
            })
        }
    }
}

fn kill_container(globals: &Globals, id: &ContainerId, signal: i32, all: bool) -> Result<()> {
    let container = load::container(globals, id)?;
    if !all {
        return send(&container, signal);
    }
    if container.status == Status::Stopped && !cleanup::may_be_left(&container.record) {
        return Ok(());
    }
    // Processes in a shared pid namespace outlive the first process, and so does its group.
    let group = container.group()?;
    if !group.procs()?.is_empty() {
        return group.kill_all(signal);
    }
    match send(&container, signal) {
        Err(error) if error.kind() == Kind::State => Ok(()),
        other => other,
    }
}

/// Parses a signal: its number, or its name with or without SIG, in any case.
fn parse_signal(typed: &str) -> Result<i32> {
    let unknown = || Error::new(Kind::Usage, matched::unknown_signal(typed));
    if let Ok(number) = typed.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let name = typed.to_uppercase();
    let bare = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(number) = real_time(bare) {
        return Ok(number);
    }
    let old = match bare {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "UNUSED" => "SYS",
        other => other,
    };
    Signal::from_str(&format!("SIG{old}")).map(|signal| signal as i32).map_err(|_| unknown())
}

/// Parses RTMIN+n and RTMAX-n, counted as the C library does.
fn real_time(name: &str) -> Option<i32> {
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.get(1..)?.parse::<i32>().ok() };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => 34 + offset(rest)?,
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => 64 - offset(rest)?,
        _ => return None,
    };
    (34..=64).contains(&number).then_some(number)
}

/// Sends a signal to the first process. SIGKILL goes to all processes of a container that shares its pid
/// namespace: nothing else would end them.
///
/// # Errors
/// `Kind::State`, `matched::NOT_RUNNING`, if the process has ended.
pub(crate) fn send(container: &LoadedContainer, signal: i32) -> Result<()> {
    if signal == libc::SIGKILL && !container.record.own_pid_namespace {
        let group = container.group()?;
        if !group.procs()?.is_empty() {
            return group.kill_all(libc::SIGKILL);
        }
    }
    let gone = || Error::new(Kind::State, matched::NOT_RUNNING);
    if container.status == Status::Stopped {
        return Err(gone());
    }
    match pidfd_send_signal(container.pidfd()?.as_fd(), signal) {
        Err(Errno::ESRCH) => return Err(gone()),
        other => other.with_context(|| format!("send signal {signal}"))?,
    }
    // A frozen v1 process dies only when it is thawed, wherever below its group it is frozen.
    if signal == libc::SIGKILL { container.group()?.let_die() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_name_in_any_case() {
        let rows = [
            ("9", 9),
            ("KILL", 9),
            ("sigkill", 9),
            ("SigTerm", 15),
            ("0", 0),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("CLD", 17),
        ];
        for (typed, number) in rows {
            assert_eq!(parse_signal(typed).unwrap(), number, "{typed}");
        }
        for typed in ["", "SIG", "65", "-1", "FOO", "RTMIN-1", "RTMAX+1", "SIGSIGKILL", "9x"] {
            assert_eq!(parse_signal(typed).unwrap_err().to_string(), format!("unknown signal {typed:?}"));
        }
    }
}
