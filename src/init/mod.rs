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
pub mod sysctl;

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;

use crate::handshake::{At, Line, Report, Step, Word};
use crate::inroot::Root;
use crate::plan::Plan;
use crate::plan::hooks::Hook;
use crate::plan::process::ProcessPlan;
use crate::plan::rootfs::Enter;
use crate::plan::topology::Namespace;
use crate::sys::file::standard_streams;
use crate::sys::{process, seccomp};
pub use fds::Fds;
use hook::Setting;

/// Code of a process that failed before its program ran.
const FAILED: i32 = 255;

/// Runs `life` to its execve. If it fails, reports and exits.
pub fn live(line: &Line, life: impl FnOnce() -> Result<Infallible, Report>) -> ! {
    let Err(report) = life();
    if line.failed(&report).is_err() && report.step != Step::Execute {
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
pub fn container(plan: &Plan, fds: &Fds, line: &Line) -> Result<Infallible, Report> {
    arrive(plan, fds, line)?;
    prepare(plan, fds, line)?;
    let ready = confine(&plan.process, fds, line)?;
    let setting = Setting { env: Some(&ready.env), ..Setting::default() };
    last(&plan.process, fds, line)?;
    own_hooks("startContainer", &plan.hooks.start_container, "created", fds, setting)
        .map_err(|text| Report::sentence(Step::StartContainerHook, 0, &text))?;
    exec::close_hook_output(fds);
    exec::execute(&plan.process, &ready)
}

/// What a filter that is for the program alone may deny, then the filter. runc's startContainer hooks run under it.
fn last(plan: &ProcessPlan, fds: &Fds, line: &Line) -> Result<(), Report> {
    process::reset_signals(fds.ignored_signals).at(Step::Execute, 0, "sigprocmask")?;
    load_seccomp(plan, line, Load::BeforeProgram)
}

/// A process that `exec` adds: it is in its namespaces and cgroup already.
pub fn guest(plan: &ProcessPlan, user_namespace: bool, fds: &Fds, line: &Line) -> Result<Infallible, Report> {
    process::parent_death_signal(libc::SIGKILL).at(Step::Arrive, 0, "prctl(PR_SET_PDEATHSIG)")?;
    if user_namespace {
        identity::become_root(plan.keep_groups)?;
    }
    keyring(plan)?;
    nix::unistd::setsid().at(Step::Arrive, 0, "setsid")?;
    guest_terminal(plan, fds)?;
    umask(plan);
    let ready = confine(plan, fds, line)?;
    last(plan, fds, line)?;
    exec::execute(plan, &ready)
}

/// The root it opens is closed again here: later all descriptors are closed by number, and no owner may then close
/// one of that number again. (`Fds` is never dropped: nothing returns from here.)
fn guest_terminal(plan: &ProcessPlan, fds: &Fds) -> Result<(), Report> {
    let root = Root::open("/".as_ref()).at(Step::Rootfs, 0, "open /")?;
    terminal(plan, fds, &root, false)
}

/// Born: dies with its parent until it is ready, waits until it is where it belongs.
fn arrive(plan: &Plan, fds: &Fds, line: &Line) -> Result<(), Report> {
    process::parent_death_signal(libc::SIGKILL).at(Step::Arrive, 0, "prctl(PR_SET_PDEATHSIG)")?;
    if !plan.topology.needs_helper() {
        join_groups(fds)?;
    }
    if fds.wait_for_go {
        go(line)?;
    }
    let topology = &plan.topology;
    if topology.has(Namespace::USER) {
        identity::become_root(plan.process.keep_groups)?;
    }
    keyring(&plan.process)?;
    if !topology.needs_helper() {
        namespaces::join(&topology.joins, fds)?;
    }
    nix::unistd::setsid().at(Step::Arrive, 0, "setsid")?;
    if topology.makes(Namespace::CGROUP) {
        let unshare = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP);
        unshare.at(Step::CgroupNamespace, 0, "unshare(CLONE_NEWCGROUP)")?;
    }
    if plan.waits_for_runtime() {
        go(line)?;
    }
    if topology.makes(Namespace::NETWORK) {
        process::loopback_up().at(Step::Loopback, 0, "ioctl(SIOCSIFFLAGS)")?;
    }
    Ok(())
}

/// Not born in its control groups, it does nothing before it is there, where its limits hold.
fn join_groups(fds: &Fds) -> Result<(), Report> {
    fds.doors.iter().try_for_each(|door| {
        door.enter().map_err(|errno| {
            Report::new(Step::ControlGroup, 0, errno, &format!("write {}", door.path.display()))
        })
    })
}

/// Everything that changes the surroundings rather than the process.
fn prepare(plan: &Plan, fds: &Fds, line: &Line) -> Result<(), Report> {
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let root = rootfs::enter_mounts(&plan.rootfs, fds)?;
    let mut late = Vec::new();
    if plan.rootfs.enter != Enter::Chroot {
        let null = paths::host_null(!plan.masked_paths.is_empty())?;
        late = mounts::mount_all(&plan.mounts, &root, fds, line)?;
        devices::make(&plan.devices, &root, plan.topology.has(Namespace::USER))?;
        hooks(plan, fds, line)?;
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
        hooks(plan, fds, line)?;
        // Nothing was mounted in the rootfs: the terminal is one of those of the namespace that is shared.
        let outside = Root::open("/".as_ref()).at(Step::Console, 0, "open /")?;
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
        Err(errno) => Err(Report::new(Step::WorkingDirectory, 0, errno, "mkdir")),
    }
}

fn hooks(plan: &Plan, fds: &Fds, line: &Line) -> Result<(), Report> {
    if !plan.hooks.prestart.is_empty() || !plan.hooks.create_runtime.is_empty() {
        line.at_hooks().at(Step::Handshake, 0, "send")?;
        go(line)?;
    }
    // In the rootfs, as with runc: paths are still those of the host.
    let setting = Setting { dir: Some(&*plan.rootfs.path), ..Setting::default() };
    own_hooks("createContainer", &plan.hooks.create_container, "creating", fds, setting)
        .map_err(|text| Report::sentence(Step::CreateContainerHook, 0, &text))
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
        nix::unistd::sethostname(std::ffi::OsStr::new(&*name.to_string_lossy())).at(
            Step::Hostname,
            0,
            "sethostname",
        )?;
    }
    if let Some(name) = &plan.domainname {
        process::set_domain_name(name).at(Step::Domainname, 0, "setdomainname")?;
    }
    Ok(())
}

fn keyring(plan: &ProcessPlan) -> Result<(), Report> {
    let Some(name) = &plan.keyring else { return Ok(()) };
    let Some(label) = &plan.selinux else { return join_keyring(name) };
    label::on_keys(label).at(Step::Keyring, 0, "selinux: write /proc/thread-self/attr/keycreate")?;
    join_keyring(name)?;
    label::on_keys(c"").at(Step::Keyring, 0, "selinux: write /proc/thread-self/attr/keycreate")
}

fn join_keyring(name: &CStr) -> Result<(), Report> {
    match process::join_session_keyring(name) {
        // A kernel without keyrings; under an outer container's seccomp profile the call is denied.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
        Ok(key) => match process::set_key_permissions(key, KEY_PERMISSIONS) {
            Ok(()) | Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
            Err(errno) => Err(Report::new(Step::Keyring, 0, errno, "keyctl(KEYCTL_SETPERM)")),
        },
        Err(errno) => Err(Report::new(Step::Keyring, 0, errno, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)")),
    }
}

/// Possessor: all; user: view, read and search: the container's own user finds its keyring, others do not change it.
const KEY_PERMISSIONS: u32 = 0x3f0b_0000;

fn terminal(plan: &ProcessPlan, fds: &Fds, root: &Root, bind_console: bool) -> Result<(), Report> {
    let (Some(terminal), Some(socket)) = (&plan.terminal, &fds.console) else { return Ok(()) };
    console::set_up(root, terminal.size, plan.uid, socket.as_fd(), bind_console)
        .map_err(|failure| Report::new(Step::Console, 0, failure.errno, failure.call))
}

fn umask(plan: &ProcessPlan) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(plan.umask));
}

fn go(line: &Line) -> Result<(), Report> {
    match line.hear().at(Step::Handshake, 0, "recv")? {
        Word::Go => Ok(()),
        _ => process::exit_now(FAILED),
    }
}

/// The process as it is to be, ready, and told to start. Where it may, it says so before it is, and the answer is there
/// when it is done.
fn confine(plan: &ProcessPlan, fds: &Fds, line: &Line) -> Result<identity::Ready, Report> {
    // CVE-2024-21626: before chdir, so that no descriptor of ours can be where the working directory or a path of the
    // program leads. Before any filter: an older profile does not know close_range. And before others can know of us.
    exec::close_all_but_ours(plan, fds, line).at(Step::WorkingDirectory, 0, "close_range")?;
    // The listener of a filter is fetched before.
    let early = fds.ready_early && plan.seccomp.as_ref().is_none_or(|filter| filter.notify.is_none());
    if early {
        ready(line)?;
    }
    let confined = identity::confine(plan, fds, line)?;
    if !early {
        ready(line)?;
    }
    wait_for_start(plan, fds, line)?;
    Ok(confined)
}

fn ready(line: &Line) -> Result<(), Report> {
    // Before `Ready`: a parent that has heard it may write the record and end, and must not take us with it. From
    // here on its death is an end of the line instead.
    process::parent_death_signal(0).at(Step::Handshake, 0, "prctl(PR_SET_PDEATHSIG)")?;
    line.ready().at(Step::Handshake, 0, "send")
}

/// Created, no longer tied to the parent; then the exec fifo, unless the parent says to start at once.
fn wait_for_start(plan: &ProcessPlan, fds: &Fds, line: &Line) -> Result<(), Report> {
    match line.hear().at(Step::Handshake, 0, "recv")? {
        Word::Start => Ok(()),
        Word::Created => exec::wait_on_fifo(plan, fds),
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
fn load_seccomp(plan: &ProcessPlan, line: &Line, moment: Load) -> Result<(), Report> {
    let Some(filter) = &plan.seccomp else { return Ok(()) };
    let its = match (plan.no_new_privileges, &filter.notify) {
        (false, _) => Load::BeforeCapabilitiesGo,
        (true, Some(_)) => Load::BeforeReady,
        (true, None) => Load::BeforeProgram,
    };
    if its != moment {
        return Ok(());
    }
    match seccomp::load(&filter.program, filter.flags).at(Step::Seccomp, 0, "seccomp")? {
        Some(listener) => {
            line.listener(listener.as_fd()).at(Step::Seccomp, 0, "tell of the listener")?;
            // It stays open until it has been fetched.
            go(line)
        }
        None => Ok(()),
    }
}
