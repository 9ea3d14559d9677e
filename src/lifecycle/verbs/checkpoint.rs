//! `checkpoint`: a container's processes are written to disk by CRIU, and end, unless they are to go on.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::delete;
use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::host::probe::{Needed, NeededCgroup, read_facts};
use crate::launch::criu::options::*;
use crate::launch::criu::wire::Message;
use crate::launch::criu::{Criu, Verb, check, quote};
use crate::lifecycle::criu_request::{self, DESCRIPTORS, Places, external};
use crate::lifecycle::load::{self, Known};
use crate::lifecycle::options::{Checkpoint, Globals};
use crate::log;
use crate::plan::{Plan, Request, activation::Activation};
use crate::spec;

const LOG: &str = "dump.log";

pub fn checkpoint(globals: &Globals, id: &ContainerId, options: &Checkpoint) -> Result<()> {
    criu_request::warn_rootless("checkpoint");
    let entry = load::entry(globals, id);
    let _lock = entry.lock()?;
    let known = load::of_entry(entry)?;
    if !matches!(known.status, Status::Running | Status::Paused) {
        let status = known.status;
        return Err(fail!(Kind::State, "Container cannot be checkpointed in {status} state"));
    }
    let places = Places::open(&options.criu, LOG)?;
    check_parent(options, &places)?;
    let plan = plan(globals, &known)?;
    let ready = status_file(options)?;
    let wanted = request(&known, options, &places, &plan)?;
    if options.pre_dump {
        check("MemTrack", MEM_TRACK)?;
    } else {
        write_descriptors(&known, &places.images)?;
    }
    if options.criu.lazy_pages {
        check("LazyPages", FEATURE_LAZY_PAGES)?;
    }
    let verb = if options.pre_dump { Verb::PreDump } else { Verb::Dump };
    let mut ready = ready;
    let done = Criu::start(&[], false)?.ask(verb, &wanted, &mut |event| {
        // The server of pages listens now; the end of the file says so to those that wait for one.
        if let ("status-ready", Some(mut file)) = (&*event.name, ready.take()) {
            let _ = file.write_all(&[0]);
        }
        Ok(())
    });
    done.inspect_err(|_| quote(&places.log))?;
    if options.leave_running || options.pre_dump {
        return Ok(());
    }
    if let Err(error) = delete::remove(&known.entry, &known.record) {
        log::warn(format_args!("{error}"));
    }
    Ok(())
}

fn check_parent(options: &Checkpoint, places: &Places) -> Result<()> {
    let Some(parent) = &options.parent_path else { return Ok(()) };
    let path = places.images.join(parent);
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(fail!(Kind::Usage, "invalid --parent-path: {} is no directory", path.display())),
        Err(error) => {
            Err(Error::from(error)).with_context(|| format!("invalid --parent-path: {}", path.display()))
        }
    }
}

/// Opened before anything is done: a number that is no open descriptor is told at once.
fn status_file(options: &Checkpoint) -> Result<Option<File>> {
    let Some(fd) = options.status_fd.filter(|_| options.criu.lazy_pages) else { return Ok(None) };
    let opened = fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"));
    opened.map(Some).with_context(|| format!("invalid --status-fd argument {fd}"))
}

/// What the container was made of, as it was at its creation.
fn plan(globals: &Globals, known: &Known) -> Result<Plan> {
    let config = spec::parse(&known.entry.config()?)?;
    let notify = Some(known.entry.notify_directory()).filter(|path| path.is_dir());
    let request = Request {
        cgroup_manager: globals.cgroup_manager,
        rootless: load::rootless(globals, globals.cgroup_manager),
        activation: Activation { notify, ..Activation::default() },
        ..Request::new(&known.record.id, known.record.bundle.clone())
    };
    let facts =
        read_facts(Needed { cgroup: NeededCgroup::OwnGroup, seccomp: true, resctrl: true, labels: true })?;
    crate::plan::plan_container(&config, &facts, &request)
}

fn request(known: &Known, asked: &Checkpoint, places: &Places, plan: &Plan) -> Result<Message> {
    let pid = known.record.init.map_or(0, |init| init.pid);
    let mut wanted = criu_request::options(&asked.criu, places, LOG, &known.record)
        .text(ROOT, &known.record.rootfs.to_string_lossy())
        .number(PID, pid)
        .switch(LEAVE_RUNNING, asked.leave_running)
        .switch(TCP_SKIP_IN_FLIGHT, asked.tcp_skip_in_flight)
        .switch(LINK_REMAP, asked.link_remap);
    if let Some((address, port)) = &asked.page_server {
        let server = Message::default().text(1, address).number(2, i32::from(*port));
        wanted = wanted.message(PAGE_SERVER, &server);
    }
    if let Some(parent) = &asked.parent_path {
        wanted = wanted.text(PARENT_IMG, &parent.to_string_lossy()).switch(TRACK_MEM, true);
    }
    for join in plan.topology.joins.iter().filter(|join| criu_request::stays(join.namespace)) {
        let path = criu_request::path_of(&join.path);
        let inode = fs::metadata(path).with_context(|| format!("stat {}", path.display()))?.ino();
        let kind = if join.namespace == crate::plan::topology::Namespace::NETWORK { "net" } else { "pid" };
        wanted = wanted.text(EXTERNAL, &format!("{kind}[{inode}]:{}", criu_request::key(join.namespace)));
    }
    let group = known.group()?;
    if let Some(place) = group.record().place_of("freezer") {
        wanted = wanted.text(FREEZE_CGROUP, &group.record().places[place].directory().to_string_lossy());
    }
    if asked.pre_dump {
        return Ok(wanted);
    }
    for (inside, _) in criu_request::external_mounts(plan)? {
        wanted = external(EXT_MNT, &inside, &inside, wanted);
    }
    for path in &plan.masked_paths {
        let seen = format!("/proc/{pid}/root{}", path.to_string_lossy());
        if fs::metadata(seen).is_ok_and(|found| !found.is_dir()) {
            wanted = external(EXT_MNT, path.to_bytes(), b"/dev/null", wanted);
        }
    }
    Ok(wanted)
}

/// Pipes among the standard streams get other ends at the restore: by these names.
fn write_descriptors(known: &Known, images: &Path) -> Result<()> {
    let pid = known.record.init.map_or(0, |init| init.pid);
    let name = |fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    let names: Vec<_> = (0..3).map(name).collect();
    let path = images.join(DESCRIPTORS);
    let write = || {
        // Not through a link that somebody has put there.
        let _ = fs::remove_file(&path);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        serde_json::to_writer(file, &names).map_err(std::io::Error::from)
    };
    write().with_context(|| format!("write {}", path.display()))
}
