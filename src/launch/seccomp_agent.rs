//! Sends the seccomp listener, with the process's state, to the agent that answers system calls with
//! SCMP_ACT_NOTIFY.

use std::io::Write;
use std::os::fd::AsFd;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Child;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::plan::seccomp::Notify;
use crate::sys::process::pidfd_getfd;
use crate::sys::socket::{connect, send_fd};

/// Where the listener goes, and what is sent with it.
#[derive(Debug)]
pub(crate) struct Agent<'a> {
    pub notify: &'a Notify,
    /// The version of the runtime specification.
    pub version: &'a str,
    /// The container's state.
    pub state: Vec<u8>,
}

/// The message (runtime-spec, config-linux.md, "The Container Process State").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    /// The names of the descriptors that come with the message.
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a RawValue,
}

impl Agent<'_> {
    /// Sends the listener, which is `number` in the child, to the agent. Until then, calls that notify wait.
    pub(super) fn send_listener(&self, child: &Child, number: i32) -> Result<()> {
        let listener = pidfd_getfd(child.pidfd.as_fd(), number).context("take the seccomp listener")?;
        let path = &self.notify.listener_path;
        let stream = connect(path.as_os_str()).context(matched::SECCOMP_AGENT);
        let mut stream = stream.with_context(|| format!("connect to {}", path.display()))?;
        let message = self.message(child.process.pid)?;
        // A stream takes the descriptor with the first byte; the other bytes may follow.
        let sent =
            send_fd(stream.as_fd(), &message, listener.as_fd()).context("send the seccomp listener")?;
        stream.write_all(&message[sent..]).context("send the state of the process to the seccomp agent")
    }

    fn message(&self, pid: i32) -> Result<Vec<u8>> {
        let broken = |error: serde_json::Error| Error::new(Kind::State, error.to_string());
        let state = serde_json::from_slice(&self.state).map_err(broken)?;
        let (version, metadata) = (self.version, &*self.notify.listener_metadata);
        let message = ProcessState { oci_version: version, fds: ["seccompFd"], pid, metadata, state };
        serde_json::to_vec(&message).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_members_of_the_specification() {
        let notify = Notify { listener_path: "/x".into(), listener_metadata: "bar".into() };
        let agent = Agent { notify: &notify, version: "1.3.0", state: br#"{"id":"a"}"#.to_vec() };
        let text = String::from_utf8(agent.message(7).unwrap()).unwrap();
        let members = r#""fds":["seccompFd"],"pid":7,"metadata":"bar","state":{"id":"a"}"#;
        assert_eq!(text, format!("{{\"ociVersion\":\"1.3.0\",{members}}}"));
    }
}
