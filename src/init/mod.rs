//! The child's half: it walks the plan. It parses nothing and decides nothing that could be decided before.
//!
//! It runs after clone3 in a copy of a single-threaded process. Nothing here returns to the parent's code: the way
//! out is execve, or `_exit` after a report.

pub mod console;
pub mod copy_up;
pub mod devices;
pub mod exec;
pub mod fds;
mod filesystem;
pub mod hook;
pub mod hook_state;
pub mod identity;
pub mod label;
pub mod live_mounts;
pub mod mounts;
pub mod namespaces;
pub mod no_pivot;
pub mod null;
pub mod paths;
pub mod rootfs;
pub mod sync;
pub mod sysctl;

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::inroot::Root;
use crate::plan::Plan;
use crate::plan::hooks::Hook;
use crate::plan::process::ProcessPlan;
use crate::plan::rootfs::Enter;
use crate::plan::topology::Namespace;
use crate::plan::waits::ReadyMoment;
use crate::sys::file::standard_streams;
use crate::sys::{process, seccomp};
pub use fds::Fds;
use hook::Setting;
use sync::{FAILED, ask_for, send_ready, wait_for};

/// Runs `life` to its execve. If it fails, reports and exits.
pub fn live(socket: &SyncSocket, life: impl FnOnce() -> Result<Infallible, Report>) -> ! {
    let Err(report) = life();
    if socket.send(&Message::Failed(report)).is_err() && report.step != Step::Execute {
        // The parent has gone after `create`: what is left is the process's own stderr, as for any exec failure.
        let text = format!("exec failed: {}\n", describe(&report));
        let _ = nix::unistd::write(standard_streams()[2], text.as_bytes());
    }
    process::exit_now(FAILED)
}

fn describe(report: &Report) -> String {
    match report.errno {
        0 => report.text(),
        code => format!("{}: {}", report.text(), Errno::from_raw(code).desc().to_lowercase()),
    }
}

/// The container's first process, from its birth to its program.
pub fn container(plan: &Plan, fds: &Fds, socket: &SyncSocket) -> Result<Infallible, Report> {
    arrive(plan, fds, socket)?;
    prepare(plan, fds, socket)?;
    let ready = confine(&plan.process, fds, socket)?;
    let setting = Setting { env: Some(&ready.env), ..Setting::default() };
    last(&plan.process, fds, socket)?;
    own_hooks("startContainer", &plan.hooks.start_container, "created", fds, setting)
        .map_err(|text| Report::from_text(Step::StartContainerHook, &text))?;
    exec::close_hook_output(fds);
    exec::execute(&plan.process, &ready)
}

/// What a filter that is for the program alone may deny, then the filter. runc's startContainer hooks run under it.
fn last(plan: &ProcessPlan, fds: &Fds, socket: &SyncSocket) -> Result<(), Report> {
    process::reset_signals(fds.ignored_signals).in_step(Step::Signals, "sigprocmask")?;
    load_seccomp(plan, socket, Load::BeforeProgram)
}

/// A process that `exec` adds: it is in its namespaces and cgroup already.
pub fn guest(
    plan: &ProcessPlan,
    user_namespace: bool,
    fds: &Fds,
    socket: &SyncSocket,
) -> Result<Infallible, Report> {
    process::parent_death_signal(libc::SIGKILL).in_step(Step::NewProcess, "prctl(PR_SET_PDEATHSIG)")?;
    if user_namespace {
        identity::become_root(plan.keep_groups)?;
    }
    keyring(plan)?;
    nix::unistd::setsid().in_step(Step::NewProcess, "setsid")?;
    guest_terminal(plan, fds)?;
    umask(plan);
    let ready = confine(plan, fds, socket)?;
    last(plan, fds, socket)?;
    exec::execute(plan, &ready)
}

/// The root it opens is closed again here: later all descriptors are closed by number, and no owner may then close
/// one of that number again. (`Fds` is never dropped: nothing returns from here.)
fn guest_terminal(plan: &ProcessPlan, fds: &Fds) -> Result<(), Report> {
    let root = Root::open("/".as_ref()).in_step(Step::Rootfs, "open /")?;
    terminal(plan, fds, &root, false)
}

/// Born: dies with its parent until it is ready, waits until it is where it belongs.
fn arrive(plan: &Plan, fds: &Fds, socket: &SyncSocket) -> Result<(), Report> {
    process::parent_death_signal(libc::SIGKILL).in_step(Step::NewProcess, "prctl(PR_SET_PDEATHSIG)")?;
    let topology = &plan.topology;
    // Else the helper has done so.
    if !topology.needs_helper() {
        join_cgroups(fds)?;
        if fds.waits.placed {
            wait_for(Acknowledgement::Placed, socket)?;
        }
    }
    if topology.has(Namespace::USER) {
        identity::become_root(plan.process.keep_groups)?;
    }
    keyring(&plan.process)?;
    if !topology.needs_helper() {
        namespaces::join(&topology.joins, fds)?;
    }
    nix::unistd::setsid().in_step(Step::NewProcess, "setsid")?;
    if topology.makes(Namespace::CGROUP) {
        let unshare = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP);
        unshare.in_step(Step::CgroupNamespace, "unshare(CLONE_NEWCGROUP)")?;
    }
    if fds.waits.resources_assigned {
        wait_for(Acknowledgement::ResourcesAssigned, socket)?;
    }
    if topology.makes(Namespace::NETWORK) {
        process::loopback_up().in_step(Step::Loopback, "ioctl(SIOCSIFFLAGS)")?;
    }
    Ok(())
}

/// Not born in its control groups, it does nothing before it is there, where its limits hold.
pub fn join_cgroups(fds: &Fds) -> Result<(), Report> {
    fds.doors.iter().try_for_each(|door| {
        door.enter()
            .map_err(|errno| Report::new(Step::JoinCgroup, errno, &format!("write {}", door.path.display())))
    })
}

/// Everything that changes the surroundings rather than the process.
fn prepare(plan: &Plan, fds: &Fds, socket: &SyncSocket) -> Result<(), Report> {
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let root = rootfs::enter_mounts(&plan.rootfs, fds)?;
    let mut late = Vec::new();
    if plan.rootfs.enter != Enter::Chroot {
        let null = paths::host_null(!plan.masked_paths.is_empty())?;
        late = mounts::mount_all(&plan.mounts, &root, fds, socket)?;
        devices::make(&plan.devices, &root, plan.topology.has(Namespace::USER))?;
        hooks(plan, fds, socket)?;
        rootfs::pivot(&plan.rootfs, &root)?;
        let procfs = sysctl::procfs(plan)?;
        null::reopen(&root)?;
        terminal(&plan.process, fds, &root, true)?;
        names(plan)?;
        sysctl::write_all(&plan.sysctls, procfs.as_ref())?;
        paths::make_read_only(&plan.read_only_paths, &root)?;
        paths::mask(&plan.masked_paths, plan.mask_context.as_ref(), &root, null)?;
        working_directory(&plan.process, &root)?;
    } else {
        hooks(plan, fds, socket)?;
        // Nothing was mounted in the rootfs: the terminal is one of those of the namespace that is shared.
        let outside = Root::open("/".as_ref()).in_step(Step::Console, "open /")?;
        terminal(&plan.process, fds, &outside, false)?;
        rootfs::pivot(&plan.rootfs, &root)?;
        let procfs = sysctl::procfs(plan)?;
        names(plan)?;
        sysctl::write_all(&plan.sysctls, procfs.as_ref())?;
        working_directory(&plan.process, &root)?;
    }
    mounts::finish(late)?;
    rootfs::finish(&plan.rootfs)?;
    umask(&plan.process);
    Ok(())
}

/// runc makes a missing working directory, and so images rely on it.
fn working_directory(plan: &ProcessPlan, root: &Root) -> Result<(), Report> {
    if plan.cwd.as_c_str() == c"/" {
        return Ok(());
    }
    match root.mkdir_all(&plan.cwd, 0o755) {
        // What stands there is found out by chdir, as the user that it is for.
        Ok(_) | Err(Errno::ENOTDIR | Errno::EACCES | Errno::EROFS | Errno::ELOOP) => Ok(()),
        Err(errno) => Err(Report::new(Step::WorkingDirectory, errno, "mkdir")),
    }
}

fn hooks(plan: &Plan, fds: &Fds, socket: &SyncSocket) -> Result<(), Report> {
    if fds.waits.hooks_done {
        ask_for(Acknowledgement::HooksDone, &Message::RunHooks, socket)?;
    }
    // In the rootfs, as with runc: paths are still those of the host.
    let setting = Setting { dir: Some(&*plan.rootfs.path), ..Setting::default() };
    own_hooks("createContainer", &plan.hooks.create_container, "creating", fds, setting)
        .map_err(|text| Report::from_text(Step::CreateContainerHook, &text))
}

/// Hooks that run in the container: they see this process by its number in there.
fn own_hooks(
    kind: &'static str,
    hooks: &[Hook],
    status: &str,
    fds: &Fds,
    setting: Setting<'_>,
) -> Result<(), String> {
    let (false, Some(state)) = (hooks.is_empty(), &fds.hook_state) else { return Ok(()) };
    let document = state.document(status, nix::unistd::getpid().as_raw());
    let output = fds.hook_output.each_ref().map(|file| file.as_ref().map(AsFd::as_fd));
    hook::run_all(kind, hooks, &document, Setting { output, ..setting })
        .map(drop)
        .map_err(|failed| failed.text)
}

fn names(plan: &Plan) -> Result<(), Report> {
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(std::ffi::OsStr::new(&*name.to_string_lossy()))
            .in_step(Step::Hostname, "sethostname")?;
    }
    if let Some(name) = &plan.domainname {
        process::set_domain_name(name).in_step(Step::Domainname, "setdomainname")?;
    }
    Ok(())
}

fn keyring(plan: &ProcessPlan) -> Result<(), Report> {
    let Some(name) = &plan.keyring else { return Ok(()) };
    let Some(label) = &plan.selinux else { return join_keyring(name) };
    label::on_keys(label).in_step(Step::Keyring, "selinux: write /proc/thread-self/attr/keycreate")?;
    join_keyring(name)?;
    label::on_keys(c"").in_step(Step::Keyring, "selinux: write /proc/thread-self/attr/keycreate")
}

fn join_keyring(name: &CStr) -> Result<(), Report> {
    match process::join_session_keyring(name) {
        // A kernel without keyrings; under an outer container's seccomp profile the call is denied.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
        Ok(key) => match process::set_key_permissions(key, KEY_PERMISSIONS) {
            Ok(()) | Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
            Err(errno) => Err(Report::new(Step::Keyring, errno, "keyctl(KEYCTL_SETPERM)")),
        },
        Err(errno) => Err(Report::new(Step::Keyring, errno, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)")),
    }
}

/// Possessor: all; user: view, read and search: the container's own user finds its keyring, others do not change it.
const KEY_PERMISSIONS: u32 = 0x3f0b_0000;

fn terminal(plan: &ProcessPlan, fds: &Fds, root: &Root, bind_console: bool) -> Result<(), Report> {
    let (Some(terminal), Some(socket)) = (&plan.terminal, &fds.console) else { return Ok(()) };
    console::set_up(root, terminal.size, plan.uid, socket.as_fd(), bind_console)
        .map_err(|failure| Report::new(Step::Console, failure.errno, failure.call))
}

fn umask(plan: &ProcessPlan) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(plan.umask));
}

/// The process as it is to be, ready, and told to start. Where it may, it says so before it is, and the answer is there
/// when it is done.
fn confine(plan: &ProcessPlan, fds: &Fds, socket: &SyncSocket) -> Result<identity::Ready, Report> {
    // CVE-2024-21626: before chdir, so that no descriptor of ours can be where the working directory or a path of the
    // program leads. Before any filter: an older profile does not know close_range. And before others can know of us.
    exec::close_all_but_ours(plan, fds, socket).in_step(Step::CloseDescriptors, "close_range")?;
    if fds.waits.ready == ReadyMoment::BeforeConfinement {
        send_ready(socket)?;
    }
    let confined = identity::confine(plan, fds, socket)?;
    if fds.waits.ready == ReadyMoment::AfterConfinement {
        send_ready(socket)?;
    }
    wait_for_start(plan, fds, socket)?;
    Ok(confined)
}

/// Created, no longer tied to the parent; then the exec fifo, unless the parent says to start at once.
fn wait_for_start(plan: &ProcessPlan, fds: &Fds, socket: &SyncSocket) -> Result<(), Report> {
    match socket.recv_acknowledgement().in_step(Step::Handshake, "recv")? {
        Some(Acknowledgement::Start) => Ok(()),
        Some(Acknowledgement::Created) => exec::wait_on_fifo(plan, fds),
        // The parent died between our `Ready` and its record: nobody knows of us.
        _ => process::exit_now(FAILED),
    }
}

/// When the filter is loaded. With no_new_privs as late as can be, so that it is for the program alone; without it,
/// loading takes CAP_SYS_ADMIN, which goes. A filter that notifies needs the parent, which may be gone later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names)]
enum Load {
    BeforeCapabilitiesGo,
    BeforeReady,
    BeforeProgram,
}

/// Loads the filter if its moment has come. Of one that notifies the parent fetches the listener: it knows the agent.
fn load_seccomp(plan: &ProcessPlan, socket: &SyncSocket, moment: Load) -> Result<(), Report> {
    let Some(filter) = &plan.seccomp else { return Ok(()) };
    let its = match (plan.no_new_privileges, &filter.notify) {
        (false, _) => Load::BeforeCapabilitiesGo,
        (true, Some(_)) => Load::BeforeReady,
        (true, None) => Load::BeforeProgram,
    };
    if its != moment {
        return Ok(());
    }
    match seccomp::load(&filter.program, filter.flags).in_step(Step::Seccomp, "seccomp")? {
        Some(listener) => {
            // It stays open until it has been fetched.
            let question = Message::Listener(listener.as_raw_fd());
            ask_for(Acknowledgement::ListenerTaken, &question, socket)
        }
        None => Ok(()),
    }
}
