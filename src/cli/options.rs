//! Turns flags into the options of each verb: one function per verb, one line per flag.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::command::{Command, Format, GlobalFlags};
use super::flag_values::FlagValues;
use super::go_flags::{FlagsEnd, split};
use super::{command_table, value_parsers};
use crate::cgroup::Manager;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::fail;
use crate::lifecycle::options::{
    CgroupsMode, Change, Checkpoint, Create, Criu, Debug, Delete, Events, Exec, Explain, Kill, Mounts, Plan,
    Record, Restore, Rootless, Run, SortKey, Spec, Targets, Top, Update,
};
use crate::log::Level;

pub(super) fn globals(values: &FlagValues) -> Result<GlobalFlags> {
    Ok(GlobalFlags {
        debug: values.is_on("debug"),
        log: values.path("log"),
        log_format: values.text("log-format"),
        log_level: values.text("log-level").map(|text| level(&text)).transpose()?,
        root: values.path("root"),
        cgroup_manager: cgroup_manager(values)?,
        timings: values.is_on("timings"),
        trace: values.path("trace"),
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

/// Reads runc's `--systemd-cgroup` and crun's `--cgroup-manager`: the one given last counts.
fn cgroup_manager(values: &FlagValues) -> Result<Manager> {
    let switch = if values.is_on("systemd-cgroup") { Manager::Systemd } else { Manager::Cgroupfs };
    if values.position("systemd-cgroup") > values.position("cgroup-manager") {
        return Ok(switch);
    }
    match values.text("cgroup-manager").as_deref() {
        None => Ok(switch),
        Some("cgroupfs") => Ok(Manager::Cgroupfs),
        Some("systemd") => Ok(Manager::Systemd),
        Some("disabled") => Ok(Manager::Disabled),
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

/// Returns arguments as text: ids, signals and the words of a process are UTF-8 in every document that they
/// end up in.
pub(super) fn arguments(typed: &[OsString]) -> Result<Vec<String>> {
    let text = |word: &OsString| match word.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(fail!(Kind::Usage, "argument is not valid UTF-8: {word:?}")),
    };
    typed.iter().map(text).collect()
}

/// Makes the command of a verb whose number of arguments has been checked.
pub(super) fn command(verb: &'static str, values: &FlagValues, arguments: &[String]) -> Result<Command> {
    let first = arguments.first().map_or("", String::as_str);
    let rest = arguments.get(1..).unwrap_or_default();
    let id = || ContainerId::parse(first);
    Ok(match verb {
        "checkpoint" => Command::Checkpoint(id()?, checkpoint(values)?),
        "create" => Command::Create(id()?, create(values)?),
        "debug" => Command::Debug(id()?, debug(values, rest)),
        "delete" => Command::Delete(targets(values, first)?, Delete { force: values.is_on("force") }),
        "events" => Command::Events(id()?, events(values)?),
        "exec" => Command::Exec(id()?, exec(values, rest)?),
        "features" => Command::Features { facts: values.is_on("facts") },
        "inspect" => Command::Inspect { id: id()?, format: format(values)? },
        "kill" => Command::Kill(targets(values, first)?, kill(values, rest)),
        "list" => Command::List { format: format(values)?, quiet: values.is_on("quiet") },
        "mounts" => mounts(first, rest)?,
        "pause" => Command::Pause(id()?),
        "check" => Command::Check {
            bundle: bundle_to_plan(values, first),
            json: values.is_on("json"),
            strict: values.is_on("strict"),
        },
        "plan" => Command::Plan {
            options: Plan {
                bundle: bundle_to_plan(values, first),
                id: values.text("id").map(|id| ContainerId::parse(&id)).transpose()?,
                facts: values.path("facts"),
            },
            json: values.is_on("json"),
            other: values.path("diff"),
        },
        "ps" => Command::Ps { id: id()?, format: format(values)?, arguments: rest.to_vec() },
        "restore" => Command::Restore(id()?, restore(values)?),
        "resume" => Command::Resume(id()?),
        "run" => Command::Run(id()?, run(values)?),
        "seccomp" => seccomp(values, first, rest)?,
        "spec" => Command::Spec(Spec {
            bundle: values.path("bundle"),
            file: values.path("file"),
            rootless: values.is_on("rootless"),
        }),
        "start" => Command::Start(id()?),
        "state" => Command::State(id()?),
        "top" => Command::Top(top(values)?),
        "update" => Command::Update(id()?, update(values)?),
        other => return Err(fail!(Kind::Usage, "command {other} is in the table but has no options")),
    })
}

/// Returns the containers that the first argument of `kill` and `delete` names.
fn targets(values: &FlagValues, argument: &str) -> Result<Targets> {
    match values.is_on("regex") {
        true => Ok(Targets::Matching(argument.to_owned())),
        false => Ok(Targets::One(ContainerId::parse(argument)?)),
    }
}

fn create(values: &FlagValues) -> Result<Create> {
    Ok(Create {
        bundle: values.path("bundle"),
        config: values.path("config"),
        console_socket: values.path("console-socket"),
        pidfd_socket: values.path("pidfd-socket"),
        pid_file: values.path("pid-file"),
        no_pivot: values.is_on("no-pivot"),
        no_new_keyring: values.is_on("no-new-keyring"),
        preserve_fds: preserve_fds(values)?,
    })
}

fn run(values: &FlagValues) -> Result<Run> {
    Ok(Run {
        create: create(values)?,
        detach: values.is_on("detach"),
        keep: values.is_on("keep"),
        no_subreaper: values.is_on("no-subreaper"),
    })
}

fn exec(values: &FlagValues, args: &[String]) -> Result<Exec> {
    let process = values.path("process");
    if process.is_none() && args.is_empty() {
        return Err(Error::new(Kind::Usage, matched::EXEC_ARGS_EMPTY)
            .with_hint("the command follows the id: `tare exec [options] ID COMMAND [arguments...]`"));
    }
    let gid = |gid: i64| {
        u32::try_from(gid).map_err(|_| fail!(Kind::Usage, "additional-gids: not a group id: {gid}"))
    };
    let user = |text: String| value_parsers::user(&text).map_err(|fault| Error::new(Kind::Usage, fault));
    Ok(Exec {
        console_socket: values.path("console-socket"),
        pidfd_socket: values.path("pidfd-socket"),
        pid_file: values.path("pid-file"),
        detach: values.is_on("detach"),
        tty: values.is_on("tty"),
        preserve_fds: preserve_fds(values)?,
        ignore_paused: values.is_on("ignore-paused"),
        cgroup: values.texts("cgroup"),
        process,
        args: args.to_vec(),
        cwd: values.text("cwd"),
        env: values.texts("env"),
        user: values.text("user").map(user).transpose()?,
        additional_gids: values.numbers("additional-gids").into_iter().map(gid).collect::<Result<_>>()?,
        seccomp: values.path("seccomp"),
        process_label: values.text("process-label"),
        apparmor: values.text("apparmor"),
        no_new_privs: values.is_on("no-new-privs"),
        caps: values.texts("cap"),
    })
}

fn debug(values: &FlagValues, args: &[String]) -> Debug {
    Debug {
        image: values.path("image"),
        args: args.to_vec(),
        env: values.texts("env"),
        tty: values.is_on("tty"),
        confined: values.is_on("confined"),
        caps: values.texts("cap"),
    }
}

fn preserve_fds(values: &FlagValues) -> Result<u32> {
    let count = values.number("preserve-fds").unwrap_or(0);
    u32::try_from(count).map_err(|_| fail!(Kind::Usage, "preserve-fds: not a number of descriptors: {count}"))
}

fn kill(values: &FlagValues, rest: &[String]) -> Kill {
    let signal = rest.first().map_or("SIGTERM", String::as_str).to_owned();
    Kill { signal, all: values.is_on("all") }
}

/// Reads `mounts add|remove ID FILE`.
fn mounts(change: &str, rest: &[String]) -> Result<Command> {
    let change = match change {
        "add" => Change::Add,
        "remove" => Change::Remove,
        other => return Err(fail!(Kind::Usage, "unknown command {other}: not add or remove")),
    };
    let argument = |index: usize| rest.get(index).map_or("", String::as_str);
    let id = ContainerId::parse(argument(0))?;
    Ok(Command::Mounts(id, Mounts { change, file: argument(1).into() }))
}

fn seccomp(values: &FlagValues, word: &str, rest: &[String]) -> Result<Command> {
    match word {
        "explain" => {
            refuse_flags(values, word, &["bundle", "output"])?;
            seccomp_explain(values, rest)
        }
        "record" => {
            refuse_flags(values, word, &["arch", "json"])?;
            seccomp_record(values, rest).map(Command::SeccompRecord)
        }
        _ => Err(fail!(Kind::Usage, "unknown command {word}: not explain or record")),
    }
}

/// Reads `seccomp record --bundle BUNDLE [ID] [-- OPTION...]` or `seccomp record ID -- COMMAND...`. The parser
/// has taken the dashes away: with a bundle, an id is a first word that is no flag.
fn seccomp_record(values: &FlagValues, rest: &[String]) -> Result<Record> {
    let bundle = values.path("bundle");
    let output = values.path("output").unwrap_or_else(|| "-".into());
    let has_id = |id: &&String| bundle.is_none() || !id.starts_with('-');
    let (id, words) = match rest.split_first().filter(|(id, _)| has_id(id)) {
        Some((id, words)) => (Some(ContainerId::parse(id)?), words),
        None => (None, rest),
    };
    if bundle.is_none() && id.is_none() {
        return Err(Error::new(Kind::Usage, "seccomp record needs a bundle, or a container that runs")
            .with_hint(
                "`tare seccomp record -b BUNDLE` runs the bundle's container and records it; \
                 `tare seccomp record ID -- COMMAND` records a command in a container that runs",
            ));
    }
    let flags = if bundle.is_some() { words.len() } else { exec_flags(words)? };
    let (before_id, after_id) = words.split_at(flags);
    let (before_id, after_id) = (before_id.to_vec(), after_id.to_vec());
    Ok(Record { bundle, id, output, before_id, after_id, globals: Vec::new() })
}

/// Returns how many of these words are flags of `exec`; its command follows.
fn exec_flags(words: &[String]) -> Result<usize> {
    let typed: Vec<OsString> = words.iter().map(OsString::from).collect();
    let flags = command_table::find("exec").map_or(&[][..], |verb| verb.flags);
    let split = split(flags, FlagsEnd::AtFirstArgument, &typed)
        .map_err(|message| Error::new(Kind::Usage, message))?;
    Ok(words.len() - split.arguments.len())
}

/// Refuses flags of the other half of `seccomp`: none is ignored in silence.
fn refuse_flags(values: &FlagValues, word: &str, foreign: &[&str]) -> Result<()> {
    match foreign.iter().find(|flag| values.position(flag).is_some()) {
        Some(flag) => Err(fail!(Kind::Usage, "seccomp {word} has no --{flag}")),
        None => Ok(()),
    }
}

/// Reads `seccomp explain PROFILE SYSCALL [ARGUMENT...]`.
fn seccomp_explain(values: &FlagValues, rest: &[String]) -> Result<Command> {
    let [profile, call, arguments @ ..] = rest else {
        return Err(fail!(Kind::Usage, "seccomp explain needs a profile and a system call"));
    };
    if arguments.len() > 6 {
        return Err(fail!(Kind::Usage, "a system call has 6 arguments, not {}", arguments.len()));
    }
    let argument = |text: &String| {
        let number = value_parsers::register(text);
        number.ok_or_else(|| fail!(Kind::Usage, "not the number in a register of 64 bits: {text}"))
    };
    let options = Explain {
        profile: profile.into(),
        call: call.clone(),
        arguments: arguments.iter().map(argument).collect::<Result<_>>()?,
        arch: values.text("arch"),
    };
    Ok(Command::SeccompExplain { options, json: values.is_on("json") })
}

fn format(values: &FlagValues) -> Result<Format> {
    match values.text("format").as_deref() {
        Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        _ => {
            Err(Error::new(Kind::Usage, matched::INVALID_FORMAT).with_hint("the formats are table and json"))
        }
    }
}

fn bundle_to_plan(values: &FlagValues, argument: &str) -> PathBuf {
    let argument = Some(argument).filter(|path| !path.is_empty()).map(PathBuf::from);
    argument.or_else(|| values.path("bundle")).unwrap_or_else(|| PathBuf::from("."))
}

fn events(values: &FlagValues) -> Result<Events> {
    let interval = interval(values)?;
    Ok(Events { stats: values.is_on("stats"), openmetrics: values.is_on("openmetrics"), interval })
}

fn interval(values: &FlagValues) -> Result<Duration> {
    match u64::try_from(values.duration("interval").unwrap_or(0)) {
        Ok(nanoseconds) if nanoseconds > 0 => Ok(Duration::from_nanos(nanoseconds)),
        _ => Err(Error::new(Kind::Usage, matched::INTERVAL_NOT_POSITIVE)),
    }
}

fn top(values: &FlagValues) -> Result<Top> {
    let asked = values.text("sort").unwrap_or_default();
    let sort = SortKey::ALL.into_iter().find(|key| key.word() == asked);
    let wrong = || fail!(Kind::Usage, "invalid sort: {asked}: not cpu, memory, pids, io or id");
    Ok(Top { interval: interval(values)?, sort: sort.ok_or_else(wrong)? })
}

fn update(values: &FlagValues) -> Result<Update> {
    Ok(Update {
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
        kernel_memory_tcp: size(values, "kernel-memory-tcp")?,
        kernel_memory: values.text("kernel-memory").is_some(),
    })
}

fn blkio_weight(values: &FlagValues) -> Result<Option<u16>> {
    let weight =
        |n: i64| u16::try_from(n).map_err(|_| fail!(Kind::Usage, "invalid value for blkio-weight: {n}"));
    // 0 is runc's default and means "do not change".
    values.number("blkio-weight").filter(|n| *n != 0).map(weight).transpose()
}

fn whole<T: TryFrom<i64>>(values: &FlagValues, name: &str) -> Result<Option<T>> {
    let parse = |text: String| {
        let number = value_parsers::number(&text).ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| fail!(Kind::Usage, "invalid value for {name}: {text}"))
    };
    values.text(name).map(parse).transpose()
}

fn size(values: &FlagValues, name: &str) -> Result<Option<i64>> {
    let parse = |text: String| {
        value_parsers::size(&text).map_err(|fault| fail!(Kind::Usage, "invalid value for {name}: {fault}"))
    };
    values.text(name).map(parse).transpose()
}

fn criu(values: &FlagValues) -> Result<Criu> {
    let namespaces = values.texts("empty-ns");
    if let Some(other) = namespaces.iter().find(|name| *name != "network") {
        return Err(fail!(Kind::Usage, "namespace {other} is not supported"));
    }
    Ok(Criu {
        image_path: values.path("image-path"),
        work_path: values.path("work-path"),
        tcp_established: values.is_on("tcp-established"),
        ext_unix_sk: values.is_on("ext-unix-sk"),
        shell_job: values.is_on("shell-job"),
        lazy_pages: values.is_on("lazy-pages"),
        file_locks: values.is_on("file-locks"),
        manage_cgroups_mode: cgroups_mode(values)?,
        empty_network: !namespaces.is_empty(),
        auto_dedup: values.is_on("auto-dedup"),
    })
}

fn cgroups_mode(values: &FlagValues) -> Result<Option<CgroupsMode>> {
    Ok(Some(match values.text("manage-cgroups-mode").as_deref() {
        None => return Ok(None),
        Some("soft") => CgroupsMode::Soft,
        Some("full") => CgroupsMode::Full,
        Some("strict") => CgroupsMode::Strict,
        Some("ignore") => CgroupsMode::Ignore,
        Some(_) => return Err(Error::new(Kind::Usage, "invalid manage-cgroups-mode value")),
    }))
}

fn checkpoint(values: &FlagValues) -> Result<Checkpoint> {
    let status_fd = values.number("status-fd").filter(|fd| *fd != -1);
    let fd = |fd: i64| u32::try_from(fd).map_err(|_| fail!(Kind::Usage, "status-fd: not a descriptor: {fd}"));
    let parent_path = values.path("parent-path");
    if parent_path.as_ref().is_some_and(|path| path.is_absolute()) {
        return Err(fail!(Kind::Usage, "--parent-path: not relative to the image path"));
    }
    Ok(Checkpoint {
        criu: criu(values)?,
        parent_path,
        leave_running: values.is_on("leave-running"),
        tcp_skip_in_flight: values.is_on("tcp-skip-in-flight"),
        link_remap: values.is_on("link-remap"),
        status_fd: status_fd.map(fd).transpose()?,
        page_server: values.text("page-server").map(|text| page_server(&text)).transpose()?,
        pre_dump: values.is_on("pre-dump"),
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

fn restore(values: &FlagValues) -> Result<Restore> {
    let profile = |text: String| match text.split_once(':') {
        Some((kind, name)) => Ok((kind.to_owned(), name.to_owned())),
        None => Err(fail!(Kind::Usage, "invalid lsm-profile: {text}: not TYPE:NAME")),
    };
    Ok(Restore {
        criu: criu(values)?,
        bundle: values.path("bundle"),
        console_socket: values.path("console-socket"),
        pid_file: values.path("pid-file"),
        detach: values.is_on("detach"),
        no_subreaper: values.is_on("no-subreaper"),
        no_pivot: values.is_on("no-pivot"),
        lsm_profile: values.text("lsm-profile").map(profile).transpose()?,
        lsm_mount_context: values.text("lsm-mount-context"),
    })
}
