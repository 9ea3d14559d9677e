//! containerd's shim, driven by its protocol alone: no containerd is needed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod client;
mod faults;
mod life;
mod mounts;
mod publish;
mod sandbox;
mod streams;
mod weight;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use client::{Any, Bootstrap, BootstrapResult, Client, Create, Events, Named, Number, Options, State};
use prost::Message;
use support::{Bundle, wait_until};

pub(crate) const NAMESPACE: &str = "tests";

/// A shim that serves, in a bundle of its own, and what was sent to containerd.
pub(crate) struct Shim {
    pub client: Client,
    pub address: String,
    pub pid: u32,
    pub events: Events,
    pub bundle: Bundle,
    /// The runtime, where it is not `tare`.
    pub runtime: String,
}

impl Shim {
    /// None, which is recorded as a skip, where no container can be run. `args` is what the container runs.
    pub(crate) fn new(args: &[&str]) -> Option<Self> {
        let mut bundle = Bundle::new()?;
        bundle.args(args);
        bundle.patch(|config| config["process"]["terminal"] = false.into());
        Some(Self::in_bundle(bundle, true))
    }

    pub(crate) fn in_bundle(bundle: Bundle, listens: bool) -> Self {
        let events = Events::at(&bundle.dir.join("events"));
        if listens {
            events.listen();
        }
        let address = start(&bundle, &bundle.id, &events.path);
        Self::at(bundle, address, events)
    }

    /// The one that was started there.
    pub(crate) fn at(bundle: Bundle, address: String, events: Events) -> Self {
        let mut client = Client::connect(&address);
        let connected = client.call("Connect", &Named { id: bundle.id.clone(), ..Named::default() }).unwrap();
        let pid = Number::decode(connected.as_slice()).unwrap().number;
        Self { client, address, pid, events, bundle, runtime: env!("CARGO_BIN_EXE_tare").to_owned() }
    }

    pub(crate) fn options(&self) -> Any {
        let root = self.bundle.dir.join("state").to_string_lossy().into_owned();
        let options = Options { binary_name: self.runtime.clone(), root };
        Any { type_url: "containerd.runc.v1.Options".to_owned(), value: options.encode_to_vec() }
    }

    pub(crate) fn create(&self) -> Create {
        Create {
            id: self.bundle.id.clone(),
            bundle: self.bundle.dir.to_string_lossy().into_owned(),
            options: Some(self.options()),
            ..Create::default()
        }
    }

    pub(crate) fn named(&self) -> Named {
        Named { id: self.bundle.id.clone(), ..Named::default() }
    }

    pub(crate) fn state(&mut self) -> State {
        let named = self.named();
        State::decode(self.client.call("State", &named).unwrap().as_slice()).unwrap()
    }

    /// Waits for the end, and returns the exit status.
    pub(crate) fn wait(&mut self) -> u32 {
        let named = self.named();
        Number::decode(self.client.call("Wait", &named).unwrap().as_slice()).unwrap().number
    }

    /// `delete`, as containerd calls it when the shim is gone.
    pub(crate) fn clean_up(&self) -> std::process::Output {
        let bundle = self.bundle.dir.to_string_lossy();
        shim()
            .args(["-namespace", NAMESPACE, "-id", &self.bundle.id, "-bundle", &bundle, "delete"])
            .output()
            .unwrap()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.pid as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        self.clean_up();
    }
}

pub(crate) fn shim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_containerd-shim-tare-v2"))
}

/// Calls `start` as containerd 2.3 does, and returns the address.
pub(crate) fn start(bundle: &Bundle, id: &str, events: &Path) -> String {
    start_with(bundle, id, events, &[])
}

/// The same, with more options.
pub(crate) fn start_with(bundle: &Bundle, id: &str, events: &Path, more: &[&str]) -> String {
    let sockets = bundle.dir.join("s").to_string_lossy().into_owned();
    let bootstrap = Bootstrap {
        id: id.to_owned(),
        namespace: NAMESPACE.to_owned(),
        ttrpc_address: events.to_string_lossy().into_owned(),
        socket_dir: Some(sockets),
    };
    let mut child = shim()
        .args(["-namespace", NAMESPACE, "-id", id, "-address", "/none"])
        .args(more)
        .arg("start")
        .current_dir(&bundle.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bootstrap.encode_to_vec()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "start: {output:?}");
    let result = BootstrapResult::decode(output.stdout.as_slice()).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    result.address
}

/// Waits for a process's end.
pub(crate) fn wait_gone(pid: u32) {
    wait_until("the process is gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
    });
}
