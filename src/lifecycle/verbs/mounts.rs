//! `mounts`: adds mounts to a running container or takes them out. A verb of crun; runc has none.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde_json::Value;

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::handshake::{Report, SyncSocket};
use crate::host::cgroup::Mode;
use crate::host::probe::{Needed, NeededCgroup, read_facts};
use crate::init::args::{InitArgs, InitFds};
use crate::init::live_mounts;
use crate::launch::explain::{ExplainContext, explain};
use crate::launch::sources::{Sources, open_sources};
use crate::launch::{self, SpawnError, SpawnOptions, seal};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::{Change, Globals, Mounts};
use crate::plan::cgroup_mounts::Cgroups;
use crate::plan::mount_label::MountLabel;
use crate::plan::mounts as plan;
use crate::plan::mounts::{Mount, MountContext};
use crate::plan::namespaces::{Namespace, NamespacePlan};
use crate::plan::waits::Waits;
use crate::spec::strict::{self, Spelling};
use crate::spec::{self, CheckedSpec};
use crate::{fail, log};

/// Adds or removes the mounts that a file lists.
pub(crate) fn mounts(globals: &Globals, id: &ContainerId, options: &Mounts) -> Result<()> {
    seal::own_binary()?;
    let container = load::container(globals, id)?;
    if matches!(container.status, Status::Stopped | Status::Creating) {
        return Err(Error::new(Kind::State, matched::NOT_RUNNING));
    }
    if container.record.namespaces & Namespace::MOUNT.0 == 0 {
        return Err(fail!(Kind::State, "the container has no mount namespace of its own"));
    }
    let list = parse_mount_list(&load::read_input(&options.file)?)
        .with_context(|| options.file.display().to_string())?;
    match options.change {
        Change::Add => add(&container, list),
        Change::Remove => remove(&container, &list),
    }
}

/// Parses the list of mounts: the document is the list, or an object with a member `mounts`.
fn parse_mount_list(document: &[u8]) -> Result<Value> {
    let value: Value = strict::from_slice(document, Spelling::AnyCase)
        .map_err(|error| fail!(Kind::Spec, "not JSON: {error}"))?;
    let list = match value {
        Value::Object(mut members) => members.remove("mounts").unwrap_or_default(),
        other => other,
    };
    if list.is_array() { Ok(list) } else { Err(fail!(Kind::Spec, "no list of mounts")) }
}

fn add(container: &LoadedContainer, list: Value) -> Result<()> {
    // The list replaces the mounts of the container's configuration: the meaning of a mount depends on the
    // rest of it.
    let kept_config: Value = serde_json::from_slice(&container.entry.config()?).unwrap_or_default();
    let Value::Object(mut own) = kept_config else {
        return Err(Error::new(Kind::Spec, matched::CONFIG_NULL));
    };
    own.insert("mounts".to_owned(), list);
    let config = spec::parse(Value::Object(own).to_string().as_bytes())?;
    for warning in config.warnings.iter().filter(|warning| warning.starts_with("/mounts/")) {
        log::warn(format_args!("{warning}"));
    }
    let namespaces = crate::plan::namespaces::plan_namespaces(config.linux().as_ref())?;
    let mounts = plan_mounts(container, &config, &namespaces)?;
    let users = || match namespaces.joins(Namespace::USER) {
        true => open_user_namespace(container).map(Some),
        false => Ok(None),
    };
    let joined = users()?;
    let sources = open_sources(&mounts, true, joined.as_ref().map(AsFd::as_fd))?;
    let args = InitArgs { fds: InitFds { sources, ..InitFds::default() }, ..InitArgs::default() };
    let in_container =
        |users, args: &InitArgs, socket: &SyncSocket| live_mounts::add(&mounts, users, args, socket);
    let sources = Sources::of_mounts(&mounts, &users);
    run_in_container(container, args, in_container, &sources, &ExplainContext::from_mounts(&mounts))
}

fn plan_mounts(
    container: &LoadedContainer,
    config: &CheckedSpec,
    namespaces: &NamespacePlan,
) -> Result<Vec<Mount>> {
    let facts =
        read_facts(Needed { cgroup: NeededCgroup::OwnGroup, seccomp: false, resctrl: false, labels: true })?;
    let requested = config.mounts().as_deref().unwrap_or_default();
    let cgroups = facts.cgroup.mode() == Mode::V2 && namespaces.has(Namespace::CGROUP);
    let is_cgroup = |kind: &Option<String>| matches!(kind.as_deref(), Some("cgroup" | "cgroup2"));
    if let Some(index) = requested.iter().position(|mount| is_cgroup(mount.typ())).filter(|_| !cgroups) {
        let why =
            "cgroups are mounted later only from version 2, in a cgroup namespace of the container's own";
        return Err(fail!(Kind::Unsupported, "/mounts/{index}: {why}"));
    }
    let annotations = config.annotations().clone().unwrap_or_default();
    let label = MountLabel::new(config.linux().as_ref(), &annotations, facts.selinux)?;
    let context = MountContext {
        bundle: &container.record.bundle,
        rootfs: &container.record.rootfs,
        cgroups: &Cgroups::Own,
        namespaces,
        label: &label,
    };
    plan::plan_mounts(requested, &context)
}

/// Opens the user namespace of the container's process. The path in the configuration may lead to another one
/// by now.
fn open_user_namespace(container: &LoadedContainer) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/user", container.pid()?);
    File::open(&path).map(OwnedFd::from).with_context(|| format!("open {path}"))
}

fn remove(container: &LoadedContainer, list: &Value) -> Result<()> {
    let target = |(index, mount): (usize, &Value)| {
        let path = mount.get("destination").and_then(Value::as_str).filter(|path| !path.is_empty());
        let path = path.map(|path| Path::new("/").join(path));
        let path = path.map(|path| plan::within(&path, &container.record.rootfs).unwrap_or(path));
        path.and_then(|path| CString::new(path.into_os_string().into_encoded_bytes()).ok())
            .ok_or_else(|| fail!(Kind::Spec, "/mounts/{index}/destination: is no path"))
    };
    let targets = list.as_array().into_iter().flatten().enumerate().map(target);
    let targets = targets.collect::<Result<Vec<CString>>>()?;
    let in_container =
        |users, args: &InitArgs, socket: &SyncSocket| live_mounts::remove(&targets, users, args, socket);
    let sources = Sources::of_mounts(&[], &|| Ok(None));
    run_in_container(
        container,
        InitArgs::default(),
        in_container,
        &sources,
        &ExplainContext::from_unmounts(&targets),
    )
}

/// Sends a process into the container's namespaces, and waits until it is done.
fn run_in_container(
    container: &LoadedContainer,
    args: InitArgs,
    in_container: impl FnOnce(
        bool,
        &InitArgs,
        &SyncSocket,
    ) -> std::result::Result<std::convert::Infallible, Report>,
    sources: &Sources<'_>,
    context: &ExplainContext<'_>,
) -> Result<()> {
    let namespaces =
        NamespacePlan { setns_flags: Some(container.record.namespaces), ..NamespacePlan::default() };
    let users = container.record.namespaces & Namespace::USER.0 != 0;
    let fds = InitFds { target: Some(container.pidfd()?), ..args.fds };
    let args = InitArgs { fds, waits: Waits::for_namespaces(&namespaces), ..args };
    let options = SpawnOptions {
        namespaces: &namespaces,
        group: None,
        oom_score_adj: None,
        preserve_fds: 0,
        foreground: false,
    };
    let child = launch::spawn(&options, args, |args, socket| in_container(users, args, socket));
    let done = child.and_then(|child| {
        let done = child.wait_until_ready(None, || Ok(()), sources);
        child.kill();
        done
    });
    done.map_err(|failure| match failure {
        SpawnError::Reported(report) => explain(&report, context),
        SpawnError::Died(_) => Error::new(Kind::Child, "the process was killed before it was ready"),
        SpawnError::Other(error) => error,
    })
}
