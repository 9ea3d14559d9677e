//! From typed flags to the options of each verb: one function a verb, one line a flag.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::command::{Command, Format, GlobalFlags};
use super::flag_values::Values;
use super::value_parsers;
use crate::cgroup::Driver;
use crate::error::{Error, Kind, Result, matched};
use crate::fail;
use crate::lifecycle::options::{
    CgroupsMode, Change, Checkpoint, Create, Criu, Delete, Events, Exec, Kill, Mounts, Restore, Rootless,
    Run, Spec, Update,
};
use crate::log::Level;

pub fn globals(values: &Values) -> Result<GlobalFlags> {
    Ok(GlobalFlags {
        debug: values.on("debug"),
        log: values.path("log"),
        log_format: values.text("log-format"),
        log_level: values.text("log-level").map(|text| level(&text)).transpose()?,
        root: values.path("root"),
        cgroup_manager: cgroup_manager(values)?,
        rootless: match values.text("rootless").as_deref() {
            Some("auto") | None => Rootless::Auto,
            Some(other) => match value_parsers::boolean(other) {
                Some(true) => Rootless::Yes,
                Some(false) => Rootless::No,
                None => return Err(fail!(Kind::Usage, "invalid rootless: {other}: not true, false or auto")),
            },
        },
    })
}

/// runc has a switch, crun a word; of the two, the one typed last holds.
fn cgroup_manager(values: &Values) -> Result<Driver> {
    let switch = if values.on("systemd-cgroup") { Driver::Systemd } else { Driver::Cgroupfs };
    if values.place("systemd-cgroup") > values.place("cgroup-manager") {
        return Ok(switch);
    }
    match values.text("cgroup-manager").as_deref() {
        None => Ok(switch),
        Some("cgroupfs") => Ok(Driver::Cgroupfs),
        Some("systemd") => Ok(Driver::Systemd),
        Some("disabled") => Ok(Driver::Disabled),
        Some(other) => {
            Err(fail!(Kind::Usage, "invalid cgroup-manager: {other}: not cgroupfs, systemd or disabled"))
        }
    }
}

fn level(text: &str) -> Result<Level> {
    match text {
        "error" => Ok(Level::Error),
        "warning" => Ok(Level::Warning),
        "info" => Ok(Level::Info),
        "debug" => Ok(Level::Debug),
        other => Err(fail!(Kind::Usage, "invalid log-level: {other}: not error, warning or debug")),
    }
}

/// Arguments as text: ids, signals and the words of a process are UTF-8 in every document they end up in.
pub fn arguments(typed: &[OsString]) -> Result<Vec<String>> {
    let text = |word: &OsString| match word.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(fail!(Kind::Usage, "argument is not valid UTF-8: {word:?}")),
    };
    typed.iter().map(text).collect()
}

/// The command of a verb whose number of arguments has been checked.
pub fn command(verb: &'static str, values: &Values, mut arguments: Vec<String>) -> Result<Command> {
    let rest = arguments.split_off(arguments.len().min(1));
    let id = arguments.pop().unwrap_or_default();
    Ok(match verb {
        "checkpoint" => Command::Checkpoint(checkpoint(values, id)?),
        "create" => Command::Create(create(values, id)?),
        "delete" => Command::Delete(Delete { id, force: values.on("force"), regex: values.on("regex") }),
        "events" => Command::Events(events(values, id)?),
        "exec" => Command::Exec(exec(values, id, rest)?),
        "features" => Command::Features,
        "kill" => Command::Kill(kill(values, id, rest)),
        "list" => Command::List { format: format(values)?, quiet: values.on("quiet") },
        "mounts" => Command::Mounts(mounts(&id, rest)?),
        "pause" => Command::Pause(id),
        "plan" => Command::Plan(bundle_to_plan(values, id)),
        "ps" => Command::Ps { id, format: format(values)?, arguments: rest },
        "restore" => Command::Restore(restore(values, id)?),
        "resume" => Command::Resume(id),
        "run" => Command::Run(run(values, id)?),
        "spec" => Command::Spec(Spec {
            bundle: values.path("bundle"),
            file: values.path("file"),
            rootless: values.on("rootless"),
        }),
        "start" => Command::Start(id),
        "state" => Command::State(id),
        "update" => Command::Update(update(values, id)?),
        other => return Err(fail!(Kind::Usage, "command {other} is in the table but has no options")),
    })
}

fn create(values: &Values, id: String) -> Result<Create> {
    Ok(Create {
        id,
        bundle: values.path("bundle"),
        config: values.path("config"),
        console_socket: values.path("console-socket"),
        pidfd_socket: values.path("pidfd-socket"),
        pid_file: values.path("pid-file"),
        no_pivot: values.on("no-pivot"),
        no_new_keyring: values.on("no-new-keyring"),
        preserve_fds: preserve_fds(values)?,
    })
}

fn run(values: &Values, id: String) -> Result<Run> {
    Ok(Run {
        create: create(values, id)?,
        detach: values.on("detach"),
        keep: values.on("keep"),
        no_subreaper: values.on("no-subreaper"),
    })
}

fn exec(values: &Values, id: String, args: Vec<String>) -> Result<Exec> {
    let process = values.path("process");
    if process.is_none() && args.is_empty() {
        return Err(Error::new(Kind::Usage, matched::EXEC_ARGS_EMPTY));
    }
    let gid = |gid: i64| {
        u32::try_from(gid).map_err(|_| fail!(Kind::Usage, "additional-gids: not a group id: {gid}"))
    };
    let user = |text: String| value_parsers::user(&text).map_err(|fault| Error::new(Kind::Usage, fault));
    Ok(Exec {
        id,
        console_socket: values.path("console-socket"),
        pidfd_socket: values.path("pidfd-socket"),
        pid_file: values.path("pid-file"),
        detach: values.on("detach"),
        tty: values.on("tty"),
        preserve_fds: preserve_fds(values)?,
        ignore_paused: values.on("ignore-paused"),
        cgroup: values.texts("cgroup"),
        process,
        args,
        cwd: values.text("cwd"),
        env: values.texts("env"),
        user: values.text("user").map(user).transpose()?,
        additional_gids: values.numbers("additional-gids").into_iter().map(gid).collect::<Result<_>>()?,
        process_label: values.text("process-label"),
        apparmor: values.text("apparmor"),
        no_new_privs: values.on("no-new-privs"),
        caps: values.texts("cap"),
    })
}

fn preserve_fds(values: &Values) -> Result<u32> {
    let count = values.number("preserve-fds").unwrap_or(0);
    u32::try_from(count).map_err(|_| fail!(Kind::Usage, "preserve-fds: not a number of descriptors: {count}"))
}

fn kill(values: &Values, id: String, rest: Vec<String>) -> Kill {
    let signal = rest.into_iter().next().unwrap_or_else(|| String::from("SIGTERM"));
    Kill { id, signal, all: values.on("all"), regex: values.on("regex") }
}

fn mounts(change: &str, rest: Vec<String>) -> Result<Mounts> {
    let change = match change {
        "add" => Change::Add,
        "remove" => Change::Remove,
        other => return Err(fail!(Kind::Usage, "unknown command {other}: not add or remove")),
    };
    let mut rest = rest.into_iter();
    let id = rest.next().unwrap_or_default();
    Ok(Mounts { change, id, file: rest.next().map(PathBuf::from).unwrap_or_default() })
}

fn format(values: &Values) -> Result<Format> {
    match values.text("format").as_deref() {
        Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        _ => Err(Error::new(Kind::Usage, matched::INVALID_FORMAT)),
    }
}

fn bundle_to_plan(values: &Values, argument: String) -> PathBuf {
    let argument = Some(argument).filter(|path| !path.is_empty()).map(PathBuf::from);
    argument.or_else(|| values.path("bundle")).unwrap_or_else(|| PathBuf::from("."))
}

fn events(values: &Values, id: String) -> Result<Events> {
    let interval = values.duration("interval").unwrap_or(0);
    match u64::try_from(interval) {
        Ok(nanoseconds) if nanoseconds > 0 => {
            let interval = Duration::from_nanos(nanoseconds);
            Ok(Events { id, stats: values.on("stats"), openmetrics: values.on("openmetrics"), interval })
        }
        _ => Err(Error::new(Kind::Usage, matched::INTERVAL_NOT_POSITIVE)),
    }
}

fn update(values: &Values, id: String) -> Result<Update> {
    Ok(Update {
        id,
        resources: values.path("resources"),
        blkio_weight: blkio_weight(values)?,
        cpu_period: whole(values, "cpu-period")?,
        cpu_quota: whole(values, "cpu-quota")?,
        cpu_burst: whole(values, "cpu-burst")?,
        cpu_rt_period: whole(values, "cpu-rt-period")?,
        cpu_rt_runtime: whole(values, "cpu-rt-runtime")?,
        cpu_shares: whole(values, "cpu-share")?,
        cpuset_cpus: values.text("cpuset-cpus"),
        cpuset_mems: values.text("cpuset-mems"),
        cpu_idle: values.number("cpu-idle"),
        memory: size(values, "memory")?,
        memory_reservation: size(values, "memory-reservation")?,
        memory_swap: size(values, "memory-swap")?,
        pids_limit: values.number("pids-limit"),
        devices: values.texts("device"),
        l3_cache_schema: values.text("l3-cache-schema"),
        mem_bw_schema: values.text("mem-bw-schema"),
        kernel_memory: values.text("kernel-memory").or_else(|| values.text("kernel-memory-tcp")).is_some(),
    })
}

fn blkio_weight(values: &Values) -> Result<Option<u16>> {
    let weight =
        |n: i64| u16::try_from(n).map_err(|_| fail!(Kind::Usage, "invalid value for blkio-weight: {n}"));
    // 0 is runc's default and means: leave it.
    values.number("blkio-weight").filter(|n| *n != 0).map(weight).transpose()
}

fn whole<T: TryFrom<i64>>(values: &Values, name: &str) -> Result<Option<T>> {
    let parse = |text: String| {
        let number = value_parsers::number(&text).ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| fail!(Kind::Usage, "invalid value for {name}: {text}"))
    };
    values.text(name).map(parse).transpose()
}

fn size(values: &Values, name: &str) -> Result<Option<i64>> {
    let parse = |text: String| {
        value_parsers::size(&text).map_err(|fault| fail!(Kind::Usage, "invalid value for {name}: {fault}"))
    };
    values.text(name).map(parse).transpose()
}

fn criu(values: &Values) -> Result<Criu> {
    let namespaces = values.texts("empty-ns");
    if let Some(other) = namespaces.iter().find(|name| *name != "network") {
        return Err(fail!(Kind::Usage, "namespace {other} is not supported"));
    }
    Ok(Criu {
        image_path: values.path("image-path"),
        work_path: values.path("work-path"),
        tcp_established: values.on("tcp-established"),
        ext_unix_sk: values.on("ext-unix-sk"),
        shell_job: values.on("shell-job"),
        lazy_pages: values.on("lazy-pages"),
        file_locks: values.on("file-locks"),
        manage_cgroups_mode: cgroups_mode(values)?,
        empty_network: !namespaces.is_empty(),
        auto_dedup: values.on("auto-dedup"),
    })
}

fn cgroups_mode(values: &Values) -> Result<Option<CgroupsMode>> {
    Ok(Some(match values.text("manage-cgroups-mode").as_deref() {
        None => return Ok(None),
        Some("soft") => CgroupsMode::Soft,
        Some("full") => CgroupsMode::Full,
        Some("strict") => CgroupsMode::Strict,
        Some("ignore") => CgroupsMode::Ignore,
        Some(_) => return Err(Error::new(Kind::Usage, "invalid manage-cgroups-mode value")),
    }))
}

fn checkpoint(values: &Values, id: String) -> Result<Checkpoint> {
    let status_fd = values.number("status-fd").filter(|fd| *fd != -1);
    let fd = |fd: i64| u32::try_from(fd).map_err(|_| fail!(Kind::Usage, "status-fd: not a descriptor: {fd}"));
    let parent_path = values.path("parent-path");
    if parent_path.as_ref().is_some_and(|path| path.is_absolute()) {
        return Err(fail!(Kind::Usage, "--parent-path: not relative to the image path"));
    }
    Ok(Checkpoint {
        id,
        criu: criu(values)?,
        parent_path,
        leave_running: values.on("leave-running"),
        tcp_skip_in_flight: values.on("tcp-skip-in-flight"),
        link_remap: values.on("link-remap"),
        status_fd: status_fd.map(fd).transpose()?,
        page_server: values.text("page-server").map(|text| page_server(&text)).transpose()?,
        pre_dump: values.on("pre-dump"),
    })
}

fn page_server(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse().ok()?)));
    match parts {
        Some((address, port)) if !address.is_empty() => {
            let address =
                address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            Ok((address.to_owned(), port))
        }
        _ => Err(fail!(Kind::Usage, "use --page-server ADDRESS:PORT to specify page server: {text}")),
    }
}

fn restore(values: &Values, id: String) -> Result<Restore> {
    let profile = |text: String| match text.split_once(':') {
        Some((kind, name)) => Ok((kind.to_owned(), name.to_owned())),
        None => Err(fail!(Kind::Usage, "invalid lsm-profile: {text}: not TYPE:NAME")),
    };
    Ok(Restore {
        id,
        criu: criu(values)?,
        bundle: values.path("bundle"),
        console_socket: values.path("console-socket"),
        pid_file: values.path("pid-file"),
        detach: values.on("detach"),
        no_subreaper: values.on("no-subreaper"),
        no_pivot: values.on("no-pivot"),
        lsm_profile: values.text("lsm-profile").map(profile).transpose()?,
        lsm_mount_context: values.text("lsm-mount-context"),
    })
}
