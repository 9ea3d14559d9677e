//! The older way to containerd: its own program, `publish`, which gets an event on standard input. It is for those that do
//! not tell the address of their ttrpc socket, and costs a process for each event.

use std::ffi::CString;
use std::io::{Seek, Write};
use std::os::fd::AsFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use prost::Message;

use super::runtime::command::{environment, null};
use super::wire::events::Envelope;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::spawn::{Program, spawn_in_place};

pub(crate) struct PublishCommand {
    program: String,
    /// containerd's gRPC socket.
    address: String,
    running: Option<i32>,
}

impl PublishCommand {
    /// None where containerd has named no such program.
    pub(crate) fn new(program: String, address: String) -> Option<Self> {
        (!program.is_empty()).then_some(Self { program, address, running: None })
    }

    /// Starts the program for an event. Its end comes as a signal like that of every other process.
    pub(crate) fn start(&mut self, event: &Envelope) -> Result<()> {
        let words = [
            self.program.as_str(),
            "--address",
            &self.address,
            "publish",
            "--topic",
            &event.topic,
            "--namespace",
            &event.namespace,
        ];
        let args = words
            .into_iter()
            .map(|word| CString::new(word).map_err(|_| fail!(Kind::Usage, "{word:?} holds a NUL")))
            .collect::<Result<Vec<_>>>()?;
        let mut input = memfd_create(c"event", MFdFlags::MFD_CLOEXEC)
            .map(std::fs::File::from)
            .context("making a file for an event")?;
        input
            .write_all(&event.event.clone().unwrap_or_default().encode_to_vec())
            .and_then(|()| input.rewind())
            .context("writing an event")?;
        let null = null()?;
        let env = environment();
        let path = args.first().cloned().unwrap_or_default();
        let program = Program {
            path: &path,
            args: &args,
            env: &env,
            dir: None,
            stdio: [input.as_fd(), null.as_fd(), null.as_fd()],
            more: &[],
            ends_with_us: true,
        };
        let pid = spawn_in_place(&program, None)
            .with_context(|| format!("starting {} to publish an event", self.program))?;
        self.running = Some(pid);
        Ok(())
    }

    /// Whether this was the program.
    pub(crate) fn ended(&mut self, pid: i32) -> bool {
        let ours = self.running == Some(pid);
        if ours {
            self.running = None;
        }
        ours
    }

    /// Kills a program that takes too long.
    pub(crate) fn kill(&self) {
        if let Some(pid) = self.running {
            let _ = crate::sys::signal::send(pid, libc::SIGKILL);
        }
    }
}
