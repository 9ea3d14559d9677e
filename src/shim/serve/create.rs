//! Create: mounts the root filesystem, opens the streams, and has the runtime make the container.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use prost::Message;

use super::dispatch::Outcome;
use super::job::{ConsoleSocket, Ended, Opening, Work};
use super::shim::Shim;
use crate::error::Context;
use crate::shim::process::container::Container;
use crate::shim::process::state::State;
use crate::shim::process::{Process, Reply};
use crate::shim::runtime::command::Runtime;
use crate::shim::runtime::options;
use crate::shim::streams::open::{Opened, Stdio, open_pipes, open_terminal};
use crate::shim::wire::events::{TaskCreate, TaskIo};
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::{CreateTaskRequest, CreateTaskResponse};
use crate::shim::{id, rootfs, small_file};
use crate::sys::tty;

impl Shim {
    pub(super) fn create(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = CreateTaskRequest::decode(payload)?;
        if self.containers.contains_key(&request.id) {
            return Err(Failure::new(
                Code::AlreadyExists,
                format!("container {}: already exists", request.id),
            ));
        }
        id::check(&request.id)?;
        let bundle = PathBuf::from(&request.bundle);
        let options = options::read(request.options.as_ref())?;
        let runtime = Runtime::new(options, &self.namespace)?;
        options::save(&bundle, &runtime.options)?;
        fs::write(bundle.join("runtime"), &runtime.options.binary_name).context("writing into the bundle")?;
        let container = new_container(&request, bundle, runtime)?;
        let opening = open_streams(&container.first.stdio, &container, "init.pid")?;
        if !request.rootfs.is_empty() {
            let place = rootfs::place(&container.bundle);
            make_directory(&place)?;
            rootfs::mount_all(&request.rootfs, &place)?;
        }
        self.containers.insert(request.id.clone(), container);
        if let Err(failure) = self.start_create(&request.id, opening, reply) {
            self.forget_created(&request.id);
            return Err(failure);
        }
        // Now, as the runtime is at work.
        let container = self.container_mut(&request.id)?;
        container.ends_together = has_own_pids(&container.bundle);
        Ok(None)
    }

    /// A checkpoint is restored by Start: until then there is no process.
    fn start_create(&mut self, id: &str, opening: Opening, reply: Reply) -> Result<(), Failure> {
        let container = self.container_mut(id)?;
        if !container.checkpoint.is_empty() {
            drop(opening);
            container.first.state = State::Restorable;
            self.created_event(id);
            self.answer(reply, Ok(CreateTaskResponse { pid: 0 }.encode_to_vec()));
            return Ok(());
        }
        container.busy = true;
        let log = container.bundle.join("log.json");
        let mut words = vec!["create".into(), "--bundle".into(), container.bundle.clone().into_os_string()];
        words.extend(["--pid-file".into(), opening.pid_file.clone().into_os_string()]);
        if container.runtime.options.no_pivot_root {
            words.push("--no-pivot".into());
        }
        if container.runtime.options.no_new_keyring {
            words.push("--no-new-keyring".into());
        }
        if let Some(console) = &opening.console {
            words.extend(["--console-socket".into(), console.path.clone().into_os_string()]);
        }
        words.push(id.into());
        let call = container.runtime.call(&log, words)?;
        self.launch(id, Work::Create(opening), Some(reply), call, Vec::new())
    }

    pub(super) fn create_ended(&mut self, id: &str, opening: Opening, reply: Option<Reply>, ended: Ended) {
        if let Err(said) = ended {
            let failure = Failure::new(Code::Unknown, format!("OCI runtime create failed: {said}"));
            return self.cleared(id, reply, failure);
        }
        match self.adopt(id, "", opening, State::Created) {
            Ok(pid) => {
                if let Some(reply) = reply {
                    self.answer(reply, Ok(CreateTaskResponse { pid: pid as u32 }.encode_to_vec()));
                }
                self.created_event(id);
                self.find_group(id, pid);
                self.take_early(id, "", pid);
                self.release(id);
            }
            // There is a container, and nothing to reach it by.
            Err(failure) => self.remove_unfinished(id, reply, failure),
        }
    }

    /// Takes what the runtime has made for ours: its pid, its terminal, and the copies of its streams.
    pub(super) fn adopt(
        &mut self,
        id: &str,
        exec: &str,
        opening: Opening,
        state: State,
    ) -> Result<i32, Failure> {
        let pid = read_pid(&opening.pid_file)?;
        let Opening { mut opened, console, .. } = opening;
        let mut master = None;
        if let Some(console) = console {
            let received = receive_console(&console.listener)?;
            let stdio = self.container(id)?.process(exec)?.stdio.clone();
            opened = open_terminal(&stdio, &received)?;
            master = Some(received);
        }
        opened.ends = None;
        if let Some(ends) = opened.logger.take() {
            self.start_logger(id, exec, ends)?;
        }
        let process = self.container_mut(id)?.process_mut(exec)?;
        process.pid = pid;
        process.state = state;
        process.peer = master.as_ref().and_then(|master| tty::peer(master.as_fd()).ok());
        process.console = master;
        self.start_copies(id, exec, opened);
        Ok(pid)
    }

    fn created_event(&mut self, id: &str) {
        let Ok(container) = self.container(id) else { return };
        let stdio = &container.first.stdio;
        let event = TaskCreate {
            container_id: id.to_owned(),
            bundle: container.bundle.to_string_lossy().into_owned(),
            rootfs: container.mounts.clone(),
            io: Some(TaskIo {
                stdin: stdio.stdin.clone(),
                stdout: stdio.stdout.clone(),
                stderr: stdio.stderr.clone(),
                terminal: stdio.terminal,
            }),
            checkpoint: container.checkpoint.clone(),
            pid: container.first.pid as u32,
        };
        self.publish(&event);
    }

    /// Takes away a container that was not made.
    pub(super) fn forget_created(&mut self, id: &str) {
        let Some(container) = self.containers.remove(id) else { return };
        if !container.mounts.is_empty()
            && let Err(error) = rootfs::unmount(&rootfs::place(&container.bundle))
        {
            crate::log::plain(format_args!("{error}"));
        }
        let gone = || Err(Failure::new(Code::NotFound, "container not created"));
        for waiting in container.waiting {
            self.answer(waiting.reply, gone());
        }
        for waiter in container.first.waiters {
            self.answer(waiter, gone());
        }
        if self.is_sandbox(id) {
            self.sandbox_removed();
        }
    }
}

fn new_container(
    request: &CreateTaskRequest,
    bundle: PathBuf,
    runtime: Runtime,
) -> Result<Container, Failure> {
    let stdio = Stdio {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    };
    Ok(Container {
        ends_together: false,
        bundle,
        runtime,
        mounts: request.rootfs.clone(),
        first: Process::new(stdio, State::Creating),
        added: BTreeMap::new(),
        busy: false,
        waiting: VecDeque::new(),
        checkpoint: request.checkpoint.clone(),
        group: None,
        rest_killed: false,
    })
}

/// Whether the configuration asks for a new pid namespace: the kernel ends everything in it with its first process.
fn has_own_pids(bundle: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        linux: Option<Linux>,
    }
    #[derive(serde::Deserialize)]
    struct Linux {
        #[serde(default)]
        namespaces: Option<Vec<Namespace>>,
    }
    #[derive(serde::Deserialize)]
    struct Namespace {
        #[serde(default)]
        r#type: String,
        #[serde(default)]
        path: String,
    }
    let config = small_file::read(&bundle.join("config.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<Config>(&text).ok());
    let namespaces =
        config.and_then(|config| config.linux).and_then(|linux| linux.namespaces).unwrap_or_default();
    namespaces.iter().any(|namespace| namespace.r#type == "pid" && namespace.path.is_empty())
}

fn make_directory(place: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o711).create(place) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making {}", place.display()))?
        }
        _ => Ok(()),
    }
}

/// Opens the pipes of a process; where it gets a terminal, the socket to which the runtime sends it.
pub(super) fn open_streams(stdio: &Stdio, container: &Container, pid_file: &str) -> Result<Opening, Failure> {
    let pid_file = container.bundle.join(pid_file);
    let _ = fs::remove_file(&pid_file);
    let options = &container.runtime.options;
    if !stdio.terminal {
        let opened = open_pipes(stdio, options.io_uid, options.io_gid)?;
        return Ok(Opening { opened, console: None, pid_file });
    }
    let console = ConsoleSocket::new()?;
    Ok(Opening { opened: Opened::default(), console: Some(console), pid_file })
}

/// The runtime has ended, so what it has sent is there.
fn receive_console(listener: &UnixListener) -> Result<std::os::fd::OwnedFd, Failure> {
    let none = |why: String| Failure::new(Code::Unknown, format!("the runtime has sent no terminal: {why}"));
    let (socket, _) = listener.accept().map_err(|error| none(error.to_string()))?;
    socket.set_nonblocking(true).map_err(|error| none(error.to_string()))?;
    let mut name = [0; 4096];
    let (_, master) = crate::sys::socket::receive_fd(socket.as_fd(), &mut name)
        .map_err(|errno| none(crate::error::describe(errno)))?;
    master.ok_or_else(|| none("the message holds no descriptor".to_owned()))
}

fn read_pid(path: &Path) -> Result<i32, Failure> {
    let text = small_file::read(path).with_context(|| format!("reading {}", path.display()))?;
    text.trim()
        .parse()
        .ok()
        .filter(|&pid| pid > 0)
        .ok_or_else(|| Failure::new(Code::Unknown, format!("{}: {text:?} is no process id", path.display())))
}
