//! `checkpoint`: lets CRIU write a container's processes to disk. Then they end, unless --leave-running is
//! given.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::host::probe::{Needed, NeededCgroup, read_facts};
use crate::launch::criu::options::*;
use crate::launch::criu::wire::Message;
use crate::launch::criu::{Criu, Verb, check};
use crate::lifecycle::cleanup;
use crate::lifecycle::criu_directories::CriuDirectories;
use crate::lifecycle::criu_request::{self, external};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::{Checkpoint, Globals};
use crate::log;
use crate::plan::{Plan, Request, service_manager::Activation};
use crate::spec;

const LOG: &str = "dump.log";

/// Writes the images of a running container.
pub(crate) fn checkpoint(globals: &Globals, id: &ContainerId, options: &Checkpoint) -> Result<()> {
    criu_request::warn_rootless("checkpoint");
    let entry = load::entry(globals, id);
    let _lock = entry.lock()?;
    let container = load::from_entry(entry)?;
    if !matches!(container.status, Status::Running | Status::Paused) {
        let status = container.status;
        return Err(fail!(Kind::State, "Container cannot be checkpointed in {status} state"));
    }
    let directories = CriuDirectories::open(&options.criu, LOG)?;
    check_parent(options, &directories)?;
    let plan = plan_at_creation(globals, &container)?;
    let mut status_file = open_status_file(options)?;
    let criu_options = criu_request(&container, options, &directories, &plan)?;
    if options.pre_dump {
        check("MemTrack", MEM_TRACK)?;
    } else {
        write_descriptors(&container, &directories)?;
    }
    if options.criu.lazy_pages {
        check("LazyPages", FEATURE_LAZY_PAGES)?;
    }
    let verb = if options.pre_dump { Verb::PreDump } else { Verb::Dump };
    let done = Criu::start(&[], false)?.ask(verb, &criu_options, &mut |event| {
        // The page server is listening now: the caller reads a NUL from --status-fd.
        if event.name == "status-ready"
            && let Some(mut file) = status_file.take()
        {
            let _ = file.write_all(&[0]);
        }
        Ok(())
    });
    done.inspect_err(|_| directories.tell_errors())?;
    if options.leave_running || options.pre_dump {
        return Ok(());
    }
    if let Err(error) = cleanup::remove_container(&container.entry, &container.record, None) {
        log::warn(format_args!("{error}"));
    }
    Ok(())
}

fn check_parent(options: &Checkpoint, directories: &CriuDirectories) -> Result<()> {
    let Some(parent) = &options.parent_path else { return Ok(()) };
    let path = directories.images.path.join(parent);
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(fail!(Kind::Usage, "invalid --parent-path: {} is no directory", path.display())),
        Err(error) => {
            Err(Error::from(error)).with_context(|| format!("invalid --parent-path: {}", path.display()))
        }
    }
}

/// Opens `--status-fd` before anything is done, so that an invalid descriptor is reported at once.
fn open_status_file(options: &Checkpoint) -> Result<Option<File>> {
    let Some(fd) = options.status_fd.filter(|_| options.criu.lazy_pages) else { return Ok(None) };
    let opened = fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"));
    opened.map(Some).with_context(|| format!("invalid --status-fd argument {fd}"))
}

/// Makes the plan again from the configuration that the container was created with: it lists the mounts and
/// namespaces that come from outside.
fn plan_at_creation(globals: &Globals, container: &LoadedContainer) -> Result<Plan> {
    let config = spec::parse(&container.entry.config()?)?;
    let notify = Some(container.entry.notify_directory()).filter(|path| path.is_dir());
    let request = Request {
        cgroup_manager: globals.cgroup_manager,
        rootless: load::rootless(globals, globals.cgroup_manager)?,
        activation: Activation { notify, ..Activation::default() },
        ..Request::new(&container.record.id, container.record.bundle.clone())
    };
    let facts =
        read_facts(Needed { cgroup: NeededCgroup::OwnGroup, seccomp: true, resctrl: true, labels: true })?;
    crate::plan::plan_container(&config, &facts, &request)
}

fn criu_request(
    container: &LoadedContainer,
    options: &Checkpoint,
    directories: &CriuDirectories,
    plan: &Plan,
) -> Result<Message> {
    let pid = container.pid()?;
    let mut criu_options = criu_request::options(&options.criu, directories, LOG, &container.record)
        .text(ROOT, &container.record.rootfs.to_string_lossy())
        .number(PID, pid)
        .switch(LEAVE_RUNNING, options.leave_running)
        .switch(TCP_SKIP_IN_FLIGHT, options.tcp_skip_in_flight)
        .switch(LINK_REMAP, options.link_remap);
    if let Some((address, port)) = &options.page_server {
        let server = Message::default().text(1, address).number(2, i32::from(*port));
        criu_options = criu_options.message(PAGE_SERVER, &server);
    }
    if let Some(parent) = &options.parent_path {
        criu_options = criu_options.text(PARENT_IMG, &parent.to_string_lossy()).switch(TRACK_MEM, true);
    }
    for join in plan.namespaces.joins.iter().filter(|join| criu_request::stays(join.namespace)) {
        let path = criu_request::path_of(&join.path);
        let inode = fs::metadata(path).with_context(|| format!("stat {}", path.display()))?.ino();
        let kind = if join.namespace == crate::plan::namespaces::Namespace::NETWORK { "net" } else { "pid" };
        criu_options =
            criu_options.text(EXTERNAL, &format!("{kind}[{inode}]:{}", criu_request::key(join.namespace)));
    }
    let group = container.group()?;
    if let Some(place) = group.record().location_of("freezer") {
        criu_options =
            criu_options.text(FREEZE_CGROUP, &group.record().locations[place].directory().to_string_lossy());
    }
    if options.pre_dump {
        return Ok(criu_options);
    }
    for (inside, _) in criu_request::external_mounts(plan)? {
        criu_options = external(EXT_MNT, &inside, &inside, criu_options);
    }
    for path in &plan.masked_paths {
        let host_path = format!("/proc/{pid}/root{}", path.to_string_lossy());
        if fs::metadata(host_path).is_ok_and(|found| !found.is_dir()) {
            criu_options = external(EXT_MNT, path.to_bytes(), b"/dev/null", criu_options);
        }
    }
    Ok(criu_options)
}

/// Writes the names of the standard streams (descriptors.json), with which `restore` gives pipes a new other
/// end.
fn write_descriptors(container: &LoadedContainer, directories: &CriuDirectories) -> Result<()> {
    let pid = container.pid()?;
    let name = |fd| {
        let path = format!("/proc/{pid}/fd/{fd}");
        match fs::read_link(&path) {
            // The process has closed this stream.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(PathBuf::new()),
            other => other.with_context(|| format!("read {path}")),
        }
    };
    let names = (0..3).map(name).collect::<Result<Vec<_>>>()?;
    let names = serde_json::to_vec(&names).map_err(|error| Error::new(Kind::State, error.to_string()))?;
    directories.write_descriptors(&names)
}
