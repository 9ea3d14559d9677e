//! The rules of the host for the built-in bridge: what comes from it is forwarded and masqueraded, and answers and
//! published ports lead to it, whatever else the host drops. They are the network's: made before its first container
//! and removed with the bridge. Plugins that make and remove some for each container call iptables thirty times for
//! it. Whoever loads a firewall anew takes them away, so they are looked for each time.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::bridge::STATE;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// The lock of those who make rules, in the directory that the bridge's own is in.
const LOCK: &str = "rules.lock";
/// How long another program may keep iptables busy, in seconds.
const PATIENCE: &str = "--wait=10";
/// Our own chain.
const CHAIN: &str = "TARE-FORWARD";

/// One rule: its table, its chain, and what it says.
struct Rule {
    table: &'static str,
    chain: &'static str,
    says: String,
}

/// The two that lead to the rest, in chains that are not ours.
fn entrances(bridge: &str, subnet: &str) -> [Rule; 2] {
    let masquerade = format!("-s {subnet} ! -o {bridge} ! -d 224.0.0.0/4 -j MASQUERADE");
    [
        Rule { table: "nat", chain: "POSTROUTING", says: masquerade },
        Rule { table: "filter", chain: "FORWARD", says: format!("-j {CHAIN}") },
    ]
}

impl Rule {
    /// Its exit code is 1 for a rule that is not there, and 2 for one that leads to a chain that is not.
    fn is_there(&self) -> Result<bool> {
        let words = [PATIENCE, "-t", self.table, "-C", self.chain].into_iter();
        let output = iptables("iptables", words.chain(self.says.split(' ')), None)?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1 | 2) => Ok(false),
            _ => Err(refused(&output)),
        }
    }

    /// Removes it, if it is there.
    fn remove(&self) -> Result<()> {
        let words = [PATIENCE, "-t", self.table, "-D", self.chain].into_iter();
        iptables("iptables", words.chain(self.says.split(' ')), None).map(drop)
    }
}

/// Makes the rules for a bridge and its addresses, unless they are there.
pub(super) fn ensure(bridge: &str, subnet: &str) -> Result<()> {
    let [masquerade, forward] = entrances(bridge, subnet);
    if masquerade.is_there()? && forward.is_there()? {
        return Ok(());
    }
    let path = Path::new(STATE).join(LOCK);
    let place = || format!("open {}", path.display());
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let lock = OpenOptions::new().write(true).create(true).mode(0o600).custom_flags(flags).open(&path);
    let lock = lock.with_context(place)?;
    lock.lock().context("lock the host's rules for the network")?;
    // Another process may have made them meanwhile. The jump comes before all that may drop the packets.
    let masquerade_line = match masquerade.is_there()? {
        true => String::new(),
        false => format!("-A {} {}\n", masquerade.chain, masquerade.says),
    };
    let forward_line = match forward.is_there()? {
        true => String::new(),
        false => format!("-I {} {}\n", forward.chain, forward.says),
    };
    restore(&format!(
        "*nat\n{masquerade_line}COMMIT\n*filter\n:{CHAIN} - [0:0]\n-A {CHAIN} -i {bridge} -j ACCEPT\n\
         -A {CHAIN} -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT\n{forward_line}COMMIT\n"
    ))
}

/// Removes them all.
pub(super) fn remove(bridge: &str, subnet: &str) -> Result<()> {
    let rules = entrances(bridge, subnet);
    let [masquerade, forward] = &rules;
    let whole = restore(&format!(
        "*nat\n-D {} {}\nCOMMIT\n*filter\n-D {} {}\n-F {CHAIN}\n-X {CHAIN}\nCOMMIT\n",
        masquerade.chain, masquerade.says, forward.chain, forward.says
    ));
    if whole.is_ok() {
        return Ok(());
    }
    // Somebody has taken some of them away.
    rules.iter().try_for_each(Rule::remove)?;
    for act in ["-F", "-X"] {
        iptables("iptables", [PATIENCE, act, CHAIN].into_iter(), None)?;
    }
    Ok(())
}

/// Makes several changes at once, all or, in each table, none.
fn restore(text: &str) -> Result<()> {
    let output = iptables("iptables-restore", [PATIENCE, "--noflush"].into_iter(), Some(text))?;
    if output.status.success() { Ok(()) } else { Err(refused(&output)) }
}

fn iptables<'a>(program: &str, words: impl Iterator<Item = &'a str>, input: Option<&str>) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(words).stdin(input.map_or_else(Stdio::null, |_| Stdio::piped()));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let place = || format!("run {program}");
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => fail!(Kind::NotFound, "there is no {program} in PATH")
            .with_hint("the network `bridge` needs the package iptables; --network none and host do without"),
        _ => Error::from(error).context(place()),
    })?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // One that ends without reading says why.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    }
    child.wait_with_output().with_context(place)
}

fn refused(output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    fail!(Kind::Child, "{}: {said}", output.status).context("change the host's rules for the network")
}
