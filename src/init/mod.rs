//! The child's half: it walks the plan. It parses nothing, and decides nothing that could be decided before.
//!
//! It runs after clone3 in a copy of a single-threaded process. Nothing here returns to the parent's code: it
//! ends with execve, or with `_exit` after a report.

pub(crate) mod args;
mod confine;
pub(crate) mod console;
mod copy_up;
mod descriptors;
mod devices;
mod filesystem;
pub(crate) mod hook;
pub(crate) mod hook_state;
mod keyring;
mod label;
pub(crate) mod live_mounts;
mod masked_paths;
mod mount_attributes;
mod mount_error;
mod mount_target;
mod mounts;
pub(crate) mod namespaces;
mod no_pivot;
mod null;
mod place;
mod program;
pub(crate) mod refusal;
mod rootfs;
mod seccomp;
mod sync;
mod sysctl;
mod toolbox;
mod tree_namespace;

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

use crate::errno_words::words;
use crate::handshake::{Acknowledgement, HOOKS_DONE, InStep, Message, Report, Step, SyncSocket};
use crate::inroot::Root;
use crate::plan::Plan;
use crate::plan::hooks::Hook;
use crate::plan::namespaces::Namespace;
use crate::plan::process::ProcessPlan;
use crate::plan::rootfs::RootSwitch;
use crate::plan::waits::ReadyMoment;
use crate::sys::file::standard_streams;
use crate::sys::process;
use crate::timeline::{Phase, begin};
use crate::weak::{Defence, stands};
use args::{InitArgs, InitFds};
use hook::HookOptions;
use seccomp::FilterMoment;
use sync::{FAILED, ask_for, send_ready, wait_for, wait_for_start};

/// Runs `body` to its execve. If it fails, sends the report and exits.
pub(crate) fn run_or_report(socket: &SyncSocket, body: impl FnOnce() -> Result<Infallible, Report>) -> ! {
    crate::sys::heap_end::end_without_memory();
    let Err(report) = body();
    if socket.send(&Message::Failed(report)).is_err() && report.step != Step::Execute {
        // The parent has gone after `create`: only the process's own stderr is left. `program::execute` has
        // already written its own failure there.
        let text = format!("exec failed: {}\n", describe(&report));
        let _ = nix::unistd::write(standard_streams()[2], text.as_bytes());
    }
    process::exit_now(FAILED)
}

fn describe(report: &Report) -> String {
    match report.errno {
        0 => report.text(),
        code => format!("{}: {}", report.text(), words(Errno::from_raw(code))),
    }
}

/// The container's first process, from clone3(2) to execve(2).
pub(crate) fn container_init(
    plan: &Plan,
    args: &InitArgs,
    socket: &SyncSocket,
) -> Result<Infallible, Report> {
    enter_namespaces(plan, args, socket)?;
    set_up_container(plan, args, socket)?;
    let program = confine_and_wait(&plan.process, args, socket)?;
    // From here on the process is as confined as the program will be: the rest must not need a privilege.
    reset_signals_and_filter(&plan.process, args, socket)?;
    // After the filter, because runc's startContainer hooks run under it.
    let options = HookOptions { env: Some(&program.env), ..HookOptions::default() };
    run_container_hooks("startContainer", &plan.hooks.start_container, "created", args, options)
        .inspect_err(|text| sync::tell_start(args, text))
        .map_err(|text| Report::from_text(Step::StartContainerHook, &text))?;
    if !plan.hooks.start_container.is_empty() {
        sync::tell_start(args, HOOKS_DONE);
    }
    // After the last hook, which writes to these files.
    descriptors::close_hook_output(&args.fds);
    program::execute(&plan.process, &program)
}

/// A process that `exec` adds, from clone3(2) to execve(2). The helper has brought it into the container's
/// namespaces and its cgroup.
pub(crate) fn exec_init(
    plan: &ProcessPlan,
    user_namespace: bool,
    args: &InitArgs,
    socket: &SyncSocket,
) -> Result<Infallible, Report> {
    process::parent_death_signal(libc::SIGKILL).in_step(Step::NewProcess, "prctl(PR_SET_PDEATHSIG)")?;
    if user_namespace {
        confine::become_root(plan.keep_groups)?;
    }
    keyring::join(plan)?;
    // Before the terminal, which only a session leader can have.
    if stands(Defence::Session) {
        nix::unistd::setsid().in_step(Step::NewProcess, "setsid")?;
    }
    exec_terminal(plan, &args.fds)?;
    set_umask(plan);
    let program = confine_and_wait(plan, args, socket)?;
    reset_signals_and_filter(plan, args, socket)?;
    if args.toolbox.is_some() {
        // After the last change of ids and capabilities, which clears it; execve keeps it.
        process::parent_death_signal(libc::SIGKILL).in_step(Step::NewProcess, "prctl(PR_SET_PDEATHSIG)")?;
    }
    program::execute(plan, &program)
}

/// Brings the process into its cgroup and its namespaces. It is already in those that clone3(2) made.
fn enter_namespaces(plan: &Plan, args: &InitArgs, socket: &SyncSocket) -> Result<(), Report> {
    let namespaces = &plan.namespaces;
    // First of all, so that this process is not left behind however the parent ends. `Ready` undoes it.
    process::parent_death_signal(libc::SIGKILL).in_step(Step::NewProcess, "prctl(PR_SET_PDEATHSIG)")?;
    // Before anything that costs memory or time: limits hold only inside. A helper, if there is one, has done
    // it already.
    if !namespaces.needs_helper() {
        sync::wait_until_placed(args, socket)?;
    }
    // After the ids are mapped: before, the namespace has no id 0. And before everything that needs a
    // privilege in the user namespace.
    if namespaces.has(Namespace::USER) {
        confine::become_root(plan.process.keep_groups)?;
    }
    // After the user namespace, because a keyring belongs to the user namespace that it is made in.
    keyring::join(&plan.process)?;
    if !namespaces.needs_helper() {
        namespaces::join(&namespaces.joins, &args.fds)?;
    }
    // Before the terminal, because only a session leader can get a controlling terminal.
    nix::unistd::setsid().in_step(Step::NewProcess, "setsid")?;
    // After the cgroup is joined: the root of the new namespace is the cgroup that we are in now.
    if namespaces.makes(Namespace::CGROUP) {
        let unshare = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP);
        unshare.in_step(Step::CgroupNamespace, "unshare(CLONE_NEWCGROUP)")?;
    }
    // After the network namespace is entered, and before hooks and the program, which must find the devices
    // there.
    if args.waits.resources_assigned {
        wait_for(Acknowledgement::ResourcesAssigned, socket)?;
    }
    if namespaces.makes(Namespace::NETWORK) {
        process::bring_loopback_up().in_step(Step::Loopback, "ioctl(SIOCSIFFLAGS)")?;
    }
    Ok(())
}

/// Sets up what surrounds the process: root, mounts, devices, names, kernel parameters.
fn set_up_container(plan: &Plan, args: &InitArgs, socket: &SyncSocket) -> Result<(), Report> {
    begin(Phase::PrepareRoot);
    // First, so that each file gets exactly the mode that it is made with.
    let callers_umask = umask(Mode::empty());
    let late = match plan.rootfs.switch {
        RootSwitch::Chroot => {
            let root = rootfs::enter_mounts(&plan.rootfs, &args.fds, socket)?;
            set_up_in_shared_mounts(plan, args, socket, &root, callers_umask)?;
            LateReadOnly::default()
        }
        RootSwitch::PivotRoot | RootSwitch::MoveMount => {
            let root = rootfs::enter_mounts(&plan.rootfs, &args.fds, socket)?;
            // Before the container's /dev is mounted, in which the name null may be any file (CVE-2025-31133).
            let null = masked_paths::host_null(!plan.masked_paths.is_empty())?;
            let entered = Entered { root: &root, is_ours: false, sources: &args.fds.sources, null };
            set_up_in_own_mounts(plan, args, socket, entered, callers_umask)?
        }
        RootSwitch::TreeNamespace => {
            let cloned = tree_namespace::clone_sources(plan, &args.fds)?;
            let own = tree_namespace::enter(plan)?;
            let is_ours = own.is_some();
            let root = match own {
                Some(root) => root,
                None => rootfs::enter_mounts(&plan.rootfs, &args.fds, socket)?,
            };
            let entered = Entered { root: &root, is_ours, sources: &cloned.sources, null: cloned.null };
            set_up_in_own_mounts(plan, args, socket, entered, callers_umask)?
        }
    };
    begin(Phase::LateReadOnly);
    // After everything that makes files or mount points below these mounts.
    mounts::make_read_only(late.mounts)?;
    rootfs::finish(&plan.rootfs, late.root)?;
    set_umask(&plan.process);
    Ok(())
}

/// What becomes read-only at the end.
#[derive(Default)]
struct LateReadOnly {
    mounts: Vec<mounts::LateReadOnlyMount>,
    /// The step that asks for a read-only root, if one does.
    root: Option<Step>,
}

/// A mount namespace of the container's own.
struct Entered<'a> {
    root: &'a Root,
    /// Whether the container's root is our root already.
    is_ours: bool,
    /// Detached clones of bind sources, by index in the plan's mounts.
    sources: &'a [Option<OwnedFd>],
    /// The host's null device.
    null: Option<OwnedFd>,
}

/// Sets up a container with a mount namespace of its own. Returns what becomes read-only at the end.
fn set_up_in_own_mounts(
    plan: &Plan,
    args: &InitArgs,
    socket: &SyncSocket,
    entered: Entered<'_>,
    callers_umask: Mode,
) -> Result<LateReadOnly, Report> {
    let root = entered.root;
    let mut place = rootfs::target_context(plan, root);
    let mounts = mounts::mount_all(&plan.mounts, &mut place, entered.sources, socket)?;
    begin(Phase::MakeDevices);
    // After the mounts, because /dev is one of them.
    devices::make_devices(&plan.devices, &place, plan.namespaces.has(Namespace::USER))?;
    begin(Phase::CreateHooks);
    // Before the root is changed: hooks see the paths of the host, and all mounts.
    run_creation_hooks(plan, args, socket, callers_umask)?;
    // After the hooks, which may make devices; before the root is changed, because the host's null device may
    // be needed.
    null::reopen(root)?;
    begin(Phase::PivotRoot);
    match entered.is_ours {
        true => nix::unistd::chdir(c"/").in_step(Step::Pivot, "chdir")?,
        false => rootfs::pivot_root(&plan.rootfs, root)?,
    }
    begin(Phase::SetNamesAndSysctls);
    // Before the masks: in a user namespace the kernel mounts a procfs only if a procfs without covers is
    // visible. And after the change of root, so that no mount of the container can take its place: it is
    // attached nowhere.
    let procfs = sysctl::procfs(plan)?;
    // After the change of root: the pair is made in the container's devpts.
    terminal(&plan.process, &args.fds, root, true)?;
    set_names(plan)?;
    sysctl::write_sysctls(&plan.sysctls, procfs.as_ref())?;
    begin(Phase::MaskPaths);
    // After the sysctls, which lie below such paths. Read-only comes first: if a path is in both lists, the
    // mask is on top.
    let by_path = masked_paths::make_paths_read_only(&plan.read_only_paths, &place)?;
    masked_paths::mask_paths(&plan.masked_paths, plan.mask_context.as_ref(), &place, entered.null)?;
    // Before the root becomes read-only.
    make_working_directory(&plan.process, root)?;
    Ok(LateReadOnly { mounts, root: plan.rootfs.read_only.then_some(Step::ReadOnlyRoot).or(by_path) })
}

/// Sets up a container in a shared mount namespace: nothing is mounted, because it would be mounted for the
/// others too.
fn set_up_in_shared_mounts(
    plan: &Plan,
    args: &InitArgs,
    socket: &SyncSocket,
    root: &Root,
    callers_umask: Mode,
) -> Result<(), Report> {
    run_creation_hooks(plan, args, socket, callers_umask)?;
    // Before the change of root: the terminal comes from the shared namespace.
    let outside = Root::open("/".as_ref()).in_step(Step::Console, "open /")?;
    terminal(&plan.process, &args.fds, &outside, false)?;
    rootfs::pivot_root(&plan.rootfs, root)?;
    let procfs = sysctl::procfs(plan)?;
    set_names(plan)?;
    sysctl::write_sysctls(&plan.sysctls, procfs.as_ref())?;
    make_working_directory(&plan.process, root)
}

/// Makes a missing working directory, as runc does: images rely on it.
fn make_working_directory(plan: &ProcessPlan, root: &Root) -> Result<(), Report> {
    if plan.cwd.as_c_str() == c"/" {
        return Ok(());
    }
    match root.mkdir_all(&plan.cwd, 0o755) {
        // Another file in its place is reported by chdir, as the user of the process.
        Ok(_) | Err(Errno::ENOTDIR | Errno::EACCES | Errno::EROFS | Errno::ELOOP) => Ok(()),
        Err(errno) => Err(Report::new(Step::WorkingDirectory, errno, "mkdir")),
    }
}

/// Lets the runtime run its hooks, then runs those of the container.
fn run_creation_hooks(
    plan: &Plan,
    args: &InitArgs,
    socket: &SyncSocket,
    callers_umask: Mode,
) -> Result<(), Report> {
    if args.waits.hooks_done {
        ask_for(Acknowledgement::HooksDone, &Message::RunHooks, socket)?;
    }
    if plan.hooks.create_container.is_empty() {
        return Ok(());
    }
    // Files that a hook makes are not writable to everybody only because ours get exact modes.
    umask(callers_umask);
    // In the rootfs, as with runc: paths are still those of the host.
    let options = HookOptions { dir: Some(&*plan.rootfs.path), ..HookOptions::default() };
    run_container_hooks("createContainer", &plan.hooks.create_container, "creating", args, options)
        .map_err(|text| Report::from_text(Step::CreateContainerHook, &text))?;
    umask(Mode::empty());
    Ok(())
}

/// Runs hooks in the container: they get the pid that this process has inside.
fn run_container_hooks(
    kind: &'static str,
    hooks: &[Hook],
    status: &str,
    args: &InitArgs,
    options: HookOptions<'_>,
) -> Result<(), String> {
    let (false, Some(state)) = (hooks.is_empty(), &args.hook_state) else { return Ok(()) };
    let document = state.to_json(status, nix::unistd::getpid().as_raw());
    let output = args.fds.hook_output.each_ref().map(|file| file.as_ref().map(AsFd::as_fd));
    hook::run_all(kind, hooks, &document, HookOptions { output, ..options })
        .map(drop)
        .map_err(|failed| failed.text)
}

/// Sets the host name and the NIS domain name.
fn set_names(plan: &Plan) -> Result<(), Report> {
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(std::ffi::OsStr::new(&*name.to_string_lossy()))
            .in_step(Step::Hostname, "sethostname")?;
    }
    if let Some(name) = &plan.domainname {
        process::set_domain_name(name).in_step(Step::Domainname, "setdomainname")?;
    }
    Ok(())
}

fn set_umask(plan: &ProcessPlan) {
    umask(Mode::from_bits_truncate(plan.umask));
}

/// Confines the process, sends `Ready`, and waits for its start. For `run` and `exec`, `Ready` is sent before
/// the confinement, so that the parent works meanwhile. It is sent afterwards if others learn of the process
/// before its start (by a pid file or a pidfd socket).
fn confine_and_wait(
    plan: &ProcessPlan,
    args: &InitArgs,
    socket: &SyncSocket,
) -> Result<program::Program, Report> {
    // Before chdir, so that neither the working directory nor a path of the program can lead to a descriptor
    // of ours (CVE-2024-21626). Before any filter: an older profile does not know close_range. And before
    // others can know of us.
    descriptors::close_all_but_ours(plan, &args.fds, socket)
        .in_step(Step::CloseDescriptors, "close_range")?;
    if args.waits.ready == ReadyMoment::BeforeConfinement {
        send_ready(socket)?;
    }
    begin(Phase::Confine);
    let program = confine::confine(plan, args.chown_stdio, socket)?;
    if args.toolbox.is_some() {
        // Before `Ready`: a runtime without privilege then looks at our mount namespace, which it may not
        // while we are undumpable. There is nothing left here that the program will not have.
        process::set_dumpable(true).in_step(Step::NewProcess, "prctl(PR_SET_DUMPABLE)")?;
    }
    if args.waits.ready == ReadyMoment::AfterConfinement {
        // Before `create` can end: from then on somebody may send a signal, and it must have an effect.
        sync::let_signals_end_process(args)?;
        send_ready(socket)?;
    }
    begin(Phase::WaitForStart);
    wait_for_start(plan, args, socket)?;
    begin(Phase::Execute);
    Ok(program)
}

/// Resets signals first, because a filter that is meant for the program alone may deny that; then loads the
/// filter.
fn reset_signals_and_filter(plan: &ProcessPlan, args: &InitArgs, socket: &SyncSocket) -> Result<(), Report> {
    process::reset_signals(args.ignored_signals).in_step(Step::Signals, "sigprocmask")?;
    seccomp::load_filter(plan, socket, FilterMoment::BeforeProgram)
}

/// Makes the terminal of an exec process, in the container's devpts. The root that it opens is dropped here
/// and not later: all descriptors are then closed by number, and a later drop could close another one with
/// the same number.
fn exec_terminal(plan: &ProcessPlan, fds: &InitFds) -> Result<(), Report> {
    let root = Root::open("/".as_ref()).in_step(Step::Rootfs, "open /")?;
    terminal(plan, fds, &root, false)
}

/// Makes the terminal of the process whose `/` is `root`, if it has one. `bind_console`: also over
/// /dev/console.
fn terminal(plan: &ProcessPlan, fds: &InitFds, root: &Root, bind_console: bool) -> Result<(), Report> {
    let (Some(terminal), Some(socket)) = (&plan.terminal, &fds.console) else { return Ok(()) };
    console::set_up(root, terminal.size, plan.uid, socket.as_fd(), bind_console)
        .map_err(|failure| Report::new(Step::Console, failure.errno, failure.call))
}
