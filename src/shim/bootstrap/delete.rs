//! `delete`: cleans up after a container whose shim is gone, and after every other one, where there is nothing to do.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use prost::Message;

use super::address;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::shim::command_line::CommandLine;
use crate::shim::runtime::command::Runtime;
use crate::shim::runtime::options::{self, Options};
use crate::shim::wire::frame;
use crate::shim::wire::rpc::Request;
use crate::shim::wire::task::DeleteResponse;
use crate::shim::wire::types::Timestamp;
use crate::shim::{id, rootfs, small_file};
use crate::sys::socket::connect_now;

/// The status of a container that was killed with its shim.
const KILLED: u32 = 128 + 9;

/// How long a shim may take for an answer. One that stands still is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Removes what is left of the container. It may come twice. Returns what is printed; `warn` gets what did not work.
pub(crate) fn run(line: &CommandLine, warn: &mut dyn FnMut(String)) -> Result<Vec<u8>> {
    id::check(&line.id)?;
    let bundle = bundle(line)?;
    let options = options::load(&bundle)?.unwrap_or_default();
    if let Err(error) = remove_container(line, &bundle, options) {
        warn(format!("removing the container: {error}"));
    }
    if let Err(error) = rootfs::unmount_bundle(&bundle) {
        warn(format!("unmounting the root filesystem: {error}"));
    }
    if let Err(error) = socket(line, &bundle).and_then(|socket| leave_socket(&socket)) {
        warn(format!("removing the socket: {error}"));
    }
    let pid = small_file::read(&bundle.join("init.pid"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let answer = DeleteResponse { pid, exit_status: KILLED, exited_at: Some(Timestamp::now()) };
    Ok(answer.encode_to_vec())
}

/// The shim's socket. The bundle may be gone: containerd removes it while the shim that was killed is still seen to go.
fn socket(line: &CommandLine, bundle: &Path) -> Result<PathBuf> {
    let file = bundle.join("address");
    match small_file::read(&file) {
        Ok(address) => match PathBuf::from(address.trim_start_matches("unix://")) {
            socket if socket.is_absolute() => Ok(socket),
            _ => Err(fail!(Kind::State, "{}: names no socket", file.display())),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(address::socket_path(None, &line.address, &line.namespace, &line.id))
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Removes the socket of a shim that is gone. One that lives is asked to end; one that is just ending, as it was killed, may
/// still seem to listen: it is looked at again when it has let us go.
fn leave_socket(socket: &Path) -> Result<()> {
    for _ in 0..5 {
        if address::remove_if_dead(socket)? || ask_to_end(socket) {
            return Ok(());
        }
    }
    Ok(())
}

/// A shim that lives, and has no container, was made for one that containerd never created. Others pass over it. Returns
/// whether it lives: it has answered, or has not hung up.
fn ask_to_end(socket: &Path) -> bool {
    let call = Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: "Shutdown".to_owned(),
        ..Request::default()
    };
    let mut bytes = Vec::new();
    frame::write(&mut bytes, 1, frame::REQUEST, &call.encode_to_vec());
    let mut shim = match connect_now(socket) {
        Ok(shim) => shim,
        // It listens, and cannot be asked.
        Err(errno) => return errno == Errno::EAGAIN,
    };
    let _ = shim.set_write_timeout(Some(PATIENCE));
    let _ = shim.set_read_timeout(Some(PATIENCE));
    if shim.write_all(&bytes).is_err() {
        return false;
    }
    match shim.read(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn bundle(line: &CommandLine) -> Result<PathBuf> {
    if !line.bundle.is_empty() {
        return Ok(PathBuf::from(&line.bundle));
    }
    // containerd calls us in the bundle of this container, or of another one of the namespace.
    let current = std::env::current_dir().context("looking for the working directory")?;
    Ok(current.parent().map_or_else(|| current.clone(), |parent| parent.join(&line.id)))
}

/// A container that was removed in good order has no directory of state any more: then nothing is started.
fn remove_container(line: &CommandLine, bundle: &Path, options: Options) -> Result<()> {
    let runtime = Runtime::new(options, &line.namespace)?;
    // What cannot be looked at may be there: the runtime is asked.
    if matches!(runtime.root().join(&line.id).try_exists(), Ok(false)) {
        return Ok(());
    }
    runtime.delete_by_force(&line.id, bundle)
}
