//! The command line as runc reads it: every verb, every flag, every way to write one. No container is touched.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tare::cli::command::{Command, Format, GlobalFlags};
use tare::cli::command_line::{CommandLine, UsageError};
use tare::cli::command_table::{self, GLOBAL, VERBS};
use tare::cli::flag::{Flag, ValueType};
use tare::testing::cgroup::Manager;
use tare::testing::container_id::ContainerId;
use tare::testing::lifecycle::options::{
    CgroupsMode, Checkpoint, Create, Criu, Delete, Events, Exec, Explain, Kill, Plan, Restore, Rootless, Run,
    Spec, Targets, Update,
};

/// A line of words between blanks; `''` is the empty word.
fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(|word| OsString::from(if word == "''" { "" } else { word })).collect()
}

fn id() -> ContainerId {
    ContainerId::parse("c").unwrap()
}

fn command(line: &str) -> Command {
    CommandLine::parse(&words(line)).command.unwrap_or_else(|fault| panic!("{line}: {fault:?}"))
}

fn globals(line: &str) -> GlobalFlags {
    let parsed = CommandLine::parse(&words(line));
    assert!(parsed.command.is_ok(), "{line}: {:?}", parsed.command);
    parsed.globals
}

fn fault(line: &str) -> String {
    match CommandLine::parse(&words(line)).command {
        Ok(command) => panic!("{line}: understood as {command:?}"),
        Err(UsageError::Flag { message, .. } | UsageError::ArgumentCount { message, .. }) => message,
        Err(UsageError::UnknownVerb(verb)) => format!("no verb {verb}"),
        Err(UsageError::Value { error, .. }) => error.to_string(),
    }
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn text(text: &str) -> Option<String> {
    Some(String::from(text))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn explain(profile: &str, call: &str, fill: impl FnOnce(&mut Explain)) -> Command {
    let mut options = Explain { profile: profile.into(), call: call.into(), ..Explain::default() };
    fill(&mut options);
    Command::SeccompExplain { options, json: false }
}

fn plan(bundle: &str, fill: impl FnOnce(&mut Plan)) -> Command {
    let mut options = Plan { bundle: PathBuf::from(bundle), ..Plan::default() };
    fill(&mut options);
    Command::Plan { options, json: false, other: None }
}

fn create(fill: impl FnOnce(&mut Create)) -> Command {
    let mut create = Create { ..Create::default() };
    fill(&mut create);
    Command::Create(id(), create)
}

fn run(fill: impl FnOnce(&mut Run)) -> Command {
    let mut run = Run { create: Create { ..Create::default() }, ..Run::default() };
    fill(&mut run);
    Command::Run(id(), run)
}

fn exec(fill: impl FnOnce(&mut Exec)) -> Command {
    let mut exec = Exec { args: texts(&["sh"]), ..Exec::default() };
    fill(&mut exec);
    Command::Exec(id(), exec)
}

fn kill(signal: &str, all: bool) -> Command {
    Command::Kill(Targets::One(id()), Kill { signal: String::from(signal), all })
}

fn delete(force: bool) -> Command {
    Command::Delete(Targets::One(id()), Delete { force })
}

fn list(format: Format, quiet: bool) -> Command {
    Command::List { format, quiet }
}

fn ps(format: Format, arguments: &[&str]) -> Command {
    Command::Ps { id: id(), format, arguments: texts(arguments) }
}

fn events(stats: bool, milliseconds: u64) -> Command {
    let interval = Duration::from_millis(milliseconds);
    Command::Events(id(), Events { stats, openmetrics: false, interval })
}

fn update(fill: impl FnOnce(&mut Update)) -> Command {
    let mut update = Update { ..Update::default() };
    fill(&mut update);
    Command::Update(id(), update)
}

fn checkpoint(fill: impl FnOnce(&mut Checkpoint)) -> Command {
    let mut checkpoint = Checkpoint { ..Checkpoint::default() };
    fill(&mut checkpoint);
    Command::Checkpoint(id(), checkpoint)
}

fn restore(fill: impl FnOnce(&mut Restore)) -> Command {
    let mut restore = Restore { ..Restore::default() };
    fill(&mut restore);
    Command::Restore(id(), restore)
}

fn check(rows: Vec<(&str, Command)>) {
    for (line, expected) in rows {
        assert_eq!(command(line), expected, "{line}");
    }
}

#[test]
fn create_and_run_are_read() {
    check(vec![
        ("create c", create(|_| {})),
        ("create -b /b c", create(|o| o.bundle = path("/b"))),
        ("create --bundle /b c", create(|o| o.bundle = path("/b"))),
        ("create c --bundle /b", create(|o| o.bundle = path("/b"))),
        ("create -bundle=/b c", create(|o| o.bundle = path("/b"))),
        ("create --b=/b c", create(|o| o.bundle = path("/b"))),
        ("create --bundle=/a=b c", create(|o| o.bundle = path("/a=b"))),
        ("create --bundle '' c", create(|_| {})),
        ("create --bundle= c", create(|_| {})),
        ("create --bundle /a --bundle /b c", create(|o| o.bundle = path("/b"))),
        ("create --bundle -x c", create(|o| o.bundle = path("-x"))),
        ("create --bundle -- c", create(|o| o.bundle = path("--"))),
        ("create --console-socket /s c", create(|o| o.console_socket = path("/s"))),
        ("create c -console-socket /s", create(|o| o.console_socket = path("/s"))),
        ("create --console-socket '' c", create(|_| {})),
        ("create --pidfd-socket=/s c", create(|o| o.pidfd_socket = path("/s"))),
        ("create --pid-file /p c", create(|o| o.pid_file = path("/p"))),
        ("create -pid-file /p c", create(|o| o.pid_file = path("/p"))),
        ("create --no-pivot c", create(|o| o.no_pivot = true)),
        ("create c --no-pivot", create(|o| o.no_pivot = true)),
        ("create --no-pivot=false c", create(|_| {})),
        ("create --no-pivot --no-pivot=false c", create(|_| {})),
        ("create --no-pivot=false --no-pivot c", create(|o| o.no_pivot = true)),
        ("create --no-pivot=1 c", create(|o| o.no_pivot = true)),
        ("create --no-new-keyring c", create(|o| o.no_new_keyring = true)),
        ("create --preserve-fds 3 c", create(|o| o.preserve_fds = 3)),
        ("create --preserve-fds=0x10 c", create(|o| o.preserve_fds = 16)),
        ("create --preserve-fds 1 --preserve-fds 2 c", create(|o| o.preserve_fds = 2)),
        ("create -- c", create(|_| {})),
        ("create -- -c", Command::Create(ContainerId::parse("-c").unwrap(), Create::default())),
        ("create -", Command::Create(ContainerId::parse("-").unwrap(), Create::default())),
        ("run c", run(|_| {})),
        ("run -d c", run(|o| o.detach = true)),
        ("run c --detach", run(|o| o.detach = true)),
        ("run -detach=T c", run(|o| o.detach = true)),
        ("run --keep c", run(|o| o.keep = true)),
        ("run -no-subreaper c", run(|o| o.no_subreaper = true)),
        ("run --no-subreaper=true c", run(|o| o.no_subreaper = true)),
        ("run -b /b -d c", {
            run(|o| {
                o.detach = true;
                o.create.bundle = path("/b");
            })
        }),
        ("run c -d -b /b --pid-file /p --console-socket /s --no-new-keyring --no-pivot --preserve-fds 1", {
            run(|o| {
                o.detach = true;
                o.create.bundle = path("/b");
                o.create.pid_file = path("/p");
                o.create.console_socket = path("/s");
                o.create.no_new_keyring = true;
                o.create.no_pivot = true;
                o.create.preserve_fds = 1;
            })
        }),
    ]);
}

#[test]
fn exec_stops_at_the_id() {
    check(vec![
        ("exec c sh", exec(|_| {})),
        ("exec c sh -c true", exec(|o| o.args = texts(&["sh", "-c", "true"]))),
        ("exec c -t sh", exec(|o| o.args = texts(&["-t", "sh"]))),
        ("exec c -- sh", exec(|o| o.args = texts(&["--", "sh"]))),
        ("exec -- c sh", exec(|_| {})),
        ("exec -- c -t", exec(|o| o.args = texts(&["-t"]))),
        ("exec -t c sh --help", {
            exec(|o| {
                o.tty = true;
                o.args = texts(&["sh", "--help"]);
            })
        }),
        ("exec --tty c sh", exec(|o| o.tty = true)),
        ("exec -tty=false c sh", exec(|_| {})),
        ("exec -td c sh", {
            exec(|o| {
                o.tty = true;
                o.detach = true;
            })
        }),
        ("exec -d c sh", exec(|o| o.detach = true)),
        ("exec --detach c sh", exec(|o| o.detach = true)),
        ("exec -e A=1 c sh", exec(|o| o.env = texts(&["A=1"]))),
        ("exec --env=A=1,B=2 c sh", exec(|o| o.env = texts(&["A=1,B=2"]))),
        ("exec -e A=1 --env B=2 -env=C= c sh", exec(|o| o.env = texts(&["A=1", "B=2", "C="]))),
        ("exec -c CAP_KILL -cap=CAP_CHOWN c sh", exec(|o| o.caps = texts(&["CAP_KILL", "CAP_CHOWN"]))),
        ("exec -g 1 -g 2 --additional-gids=3 c sh", exec(|o| o.additional_gids = vec![1, 2, 3])),
        ("exec -u 5 c sh", exec(|o| o.user = Some((5, None)))),
        ("exec --user=5:6 c sh", exec(|o| o.user = Some((5, Some(6))))),
        ("exec --cwd /x c sh", exec(|o| o.cwd = text("/x"))),
        ("exec --process-label l c sh", exec(|o| o.process_label = text("l"))),
        ("exec --apparmor p c sh", exec(|o| o.apparmor = text("p"))),
        ("exec --no-new-privs c sh", exec(|o| o.no_new_privs = true)),
        ("exec --preserve-fds 2 c sh", exec(|o| o.preserve_fds = 2)),
        ("exec --cgroup cpu:/a --cgroup /b c sh", exec(|o| o.cgroup = texts(&["cpu:/a", "/b"]))),
        ("exec --cgroup cpu,memory:/a c sh", exec(|o| o.cgroup = texts(&["cpu,memory:/a"]))),
        ("exec --ignore-paused c sh", exec(|o| o.ignore_paused = true)),
        ("exec --console-socket /s c sh", exec(|o| o.console_socket = path("/s"))),
        ("exec --pidfd-socket /s c sh", exec(|o| o.pidfd_socket = path("/s"))),
        ("exec --pid-file /p c sh", exec(|o| o.pid_file = path("/p"))),
        ("exec --process /p c", {
            exec(|o| {
                o.process = path("/p");
                o.args.clear();
            })
        }),
        ("exec -p /p -d --pid-file /q --console-socket /s c", {
            exec(|o| {
                o.process = path("/p");
                o.detach = true;
                o.pid_file = path("/q");
                o.console_socket = path("/s");
                o.args.clear();
            })
        }),
        ("exec c ''", exec(|o| o.args = texts(&[""]))),
    ]);
}

#[test]
fn kill_stops_at_the_id() {
    check(vec![
        ("kill c", kill("SIGTERM", false)),
        ("kill c 9", kill("9", false)),
        ("kill c KILL", kill("KILL", false)),
        ("kill c sigkill", kill("sigkill", false)),
        ("kill c -9", kill("-9", false)),
        ("kill --all c 9", kill("9", true)),
        ("kill -a c", kill("SIGTERM", true)),
        ("kill -all=false c", kill("SIGTERM", false)),
        ("kill c --all", kill("--all", false)),
        ("kill -- c 15", kill("15", false)),
    ]);
}

#[test]
fn the_verbs_with_few_flags_are_read() {
    check(vec![
        ("start c", Command::Start(id())),
        ("start -- c", Command::Start(id())),
        ("state c", Command::State(id())),
        ("state c --", Command::State(id())),
        ("state -- --help", Command::State(ContainerId::parse("--help").unwrap())),
        ("pause c", Command::Pause(id())),
        ("resume c", Command::Resume(id())),
        ("features", Command::Features { facts: false }),
        ("delete c", delete(false)),
        ("delete -f c", delete(true)),
        ("delete --force c", delete(true)),
        ("delete c --force", delete(true)),
        ("delete c -force=true", delete(true)),
        ("delete c --force=f", delete(false)),
        ("list", list(Format::Table, false)),
        ("list -q", list(Format::Table, true)),
        ("list --quiet", list(Format::Table, true)),
        ("list --format json", list(Format::Json, false)),
        ("list -f json -q", list(Format::Json, true)),
        ("list -format=table", list(Format::Table, false)),
        ("ps c", ps(Format::Table, &[])),
        ("ps --format json c", ps(Format::Json, &[])),
        ("ps -f json c", ps(Format::Json, &[])),
        ("ps c -ef", ps(Format::Table, &["-ef"])),
        ("ps c -f json", ps(Format::Table, &["-f", "json"])),
        ("ps c -- x", ps(Format::Table, &["--", "x"])),
        ("events c", events(false, 5000)),
        ("events --stats c", events(true, 5000)),
        ("events --interval 100ms c", events(false, 100)),
        ("events --interval=1m30s c", events(false, 90_000)),
        ("events c --interval 2s --stats", events(true, 2000)),
        ("spec", Command::Spec(Spec::default())),
        ("spec -b /b", Command::Spec(Spec { bundle: path("/b"), file: None, rootless: false })),
        ("spec --rootless", Command::Spec(Spec { bundle: None, file: None, rootless: true })),
        (
            "spec --bundle /b --rootless=true",
            Command::Spec(Spec { bundle: path("/b"), file: None, rootless: true }),
        ),
        ("check", Command::Check { bundle: PathBuf::from("."), json: false, strict: false }),
        ("check --strict /b", Command::Check { bundle: PathBuf::from("/b"), json: false, strict: true }),
        ("check -b /b --json", Command::Check { bundle: PathBuf::from("/b"), json: true, strict: false }),
        ("seccomp explain /b read", explain("/b", "read", |_| {})),
        (
            "seccomp explain /b clone --arch x86 0x10 -- -1",
            explain("/b", "clone", |e| (e.arch, e.arguments) = (text("x86"), vec![16, u64::MAX])),
        ),
        ("features --facts", Command::Features { facts: true }),
        ("plan", plan(".", |_| {})),
        ("plan /b", plan("/b", |_| {})),
        ("plan -b /b", plan("/b", |_| {})),
        ("plan /b --id c --facts f", plan("/b", |plan| (plan.id, plan.facts) = (Some(id()), path("f")))),
        (
            "plan /b --json --diff /c",
            Command::Plan {
                options: Plan { bundle: PathBuf::from("/b"), ..Plan::default() },
                json: true,
                other: path("/c"),
            },
        ),
        ("--version", Command::Version),
        ("-v", Command::Version),
        ("-version", Command::Version),
        ("--version list", Command::Version),
        ("--root /r --version", Command::Version),
    ]);
}

#[test]
fn update_is_read() {
    check(vec![
        ("update c", update(|_| {})),
        ("update --resources=- c", update(|o| o.resources = path("-"))),
        ("update --resources - c", update(|o| o.resources = path("-"))),
        ("update -r /f c", update(|o| o.resources = path("/f"))),
        ("update --blkio-weight 100 c", update(|o| o.blkio_weight = Some(100))),
        ("update --blkio-weight 0 c", update(|_| {})),
        ("update --cpu-period 100000 c", update(|o| o.cpu_period = Some(100_000))),
        ("update --cpu-quota -1 c", update(|o| o.cpu_quota = Some(-1))),
        ("update --cpu-quota=50000 c", update(|o| o.cpu_quota = Some(50_000))),
        ("update --cpu-burst 1 c", update(|o| o.cpu_burst = Some(1))),
        ("update --cpu-share 512 c", update(|o| o.cpu_shares = Some(512))),
        ("update --cpu-rt-period 1 c", update(|o| o.cpu_rt_period = Some(1))),
        ("update --cpu-rt-runtime 1 c", update(|o| o.cpu_rt_runtime = Some(1))),
        ("update --cpuset-cpus 0-1,3 c", update(|o| o.cpuset_cpus = text("0-1,3"))),
        ("update --cpuset-mems 0 c", update(|o| o.cpuset_mems = text("0"))),
        ("update --cpu-idle 1 c", update(|o| o.cpu_idle = Some(1))),
        ("update c --memory 1g", update(|o| o.memory = Some(1 << 30))),
        ("update --memory -1 c", update(|o| o.memory = Some(-1))),
        ("update --memory-reservation 1k c", update(|o| o.memory_reservation = Some(1024))),
        ("update --memory-swap=-1 c", update(|o| o.memory_swap = Some(-1))),
        ("update --pids-limit 0 c", update(|o| o.pids_limit = Some(0))),
        ("update --pids-limit -1 c", update(|o| o.pids_limit = Some(-1))),
        ("update --l3-cache-schema L3:0=f c", update(|o| o.l3_cache_schema = text("L3:0=f"))),
        ("update --mem-bw-schema MB:0=20 c", update(|o| o.mem_bw_schema = text("MB:0=20"))),
        ("update --kernel-memory 1 c", update(|o| o.kernel_memory = true)),
        ("update --kernel-memory-tcp 1k c", update(|o| o.kernel_memory_tcp = Some(1024))),
    ]);
}

#[test]
fn checkpoint_and_restore_are_read() {
    check(vec![
        ("checkpoint c", checkpoint(|_| {})),
        ("checkpoint --image-path /i c", checkpoint(|o| o.criu.image_path = path("/i"))),
        ("checkpoint --work-path /w c", checkpoint(|o| o.criu.work_path = path("/w"))),
        ("checkpoint --parent-path ../p c", checkpoint(|o| o.parent_path = path("../p"))),
        ("checkpoint --leave-running c", checkpoint(|o| o.leave_running = true)),
        ("checkpoint --tcp-established c", checkpoint(|o| o.criu.tcp_established = true)),
        ("checkpoint --tcp-skip-in-flight c", checkpoint(|o| o.tcp_skip_in_flight = true)),
        ("checkpoint --link-remap c", checkpoint(|o| o.link_remap = true)),
        ("checkpoint --status-fd 7 c", checkpoint(|o| o.status_fd = Some(7))),
        ("checkpoint --status-fd -1 c", checkpoint(|_| {})),
        ("checkpoint --page-server 1.2.3.4:99 c", {
            checkpoint(|o| o.page_server = Some((String::from("1.2.3.4"), 99)))
        }),
        ("checkpoint --page-server [::1]:99 c", {
            checkpoint(|o| o.page_server = Some((String::from("::1"), 99)))
        }),
        ("checkpoint --pre-dump c", checkpoint(|o| o.pre_dump = true)),
        ("checkpoint --empty-ns network c", checkpoint(|o| o.criu.empty_network = true)),
        ("checkpoint --manage-cgroups-mode ignore c", {
            checkpoint(|o| o.criu.manage_cgroups_mode = Some(CgroupsMode::Ignore))
        }),
        ("checkpoint c --shell-job --file-locks --ext-unix-sk --lazy-pages --auto-dedup", {
            checkpoint(|o| {
                o.criu = Criu {
                    shell_job: true,
                    file_locks: true,
                    ext_unix_sk: true,
                    lazy_pages: true,
                    auto_dedup: true,
                    ..Criu::default()
                }
            })
        }),
        ("restore c", restore(|_| {})),
        ("restore -d -no-subreaper --bundle /b c", {
            restore(|o| {
                o.detach = true;
                o.no_subreaper = true;
                o.bundle = path("/b");
            })
        }),
        ("restore --console-socket /s c", restore(|o| o.console_socket = path("/s"))),
        ("restore --pid-file /p c", restore(|o| o.pid_file = path("/p"))),
        ("restore --no-pivot c", restore(|o| o.no_pivot = true)),
        ("restore --manage-cgroups-mode=soft c", {
            restore(|o| o.criu.manage_cgroups_mode = Some(CgroupsMode::Soft))
        }),
        ("restore --lsm-profile selinux:a:b:c c", {
            restore(|o| o.lsm_profile = Some((String::from("selinux"), String::from("a:b:c"))))
        }),
        ("restore --lsm-mount-context=x c", restore(|o| o.lsm_mount_context = text("x"))),
    ]);
}

#[test]
fn help_is_shown_wherever_it_is_asked_for() {
    let of = |name| Command::Help(command_table::find(name));
    check(vec![
        ("", Command::Help(None)),
        ("-h", Command::Help(None)),
        ("--help", Command::Help(None)),
        ("-help", Command::Help(None)),
        ("help", Command::Help(None)),
        ("h", Command::Help(None)),
        ("--help list", Command::Help(None)),
        ("help list", of("list")),
        ("h exec", of("exec")),
        ("list -h", of("list")),
        ("state --help", of("state")),
        ("exec -h", of("exec")),
        ("exec --help c sh", of("exec")),
        ("list --help=false", list(Format::Table, false)),
    ]);
}

#[test]
fn global_flags_are_read() {
    let with = |fill: fn(&mut GlobalFlags)| {
        let mut flags = GlobalFlags { log_format: text("text"), ..GlobalFlags::default() };
        fill(&mut flags);
        flags
    };
    let rows: Vec<(&str, GlobalFlags)> = vec![
        ("list", with(|_| {})),
        ("--debug list", with(|o| o.debug = true)),
        ("-debug list", with(|o| o.debug = true)),
        ("--debug=false list", with(|_| {})),
        ("--log /l list", with(|o| o.log = path("/l"))),
        ("--log=/l list", with(|o| o.log = path("/l"))),
        ("--log '' list", with(|_| {})),
        ("--log-format json list", with(|o| o.log_format = text("json"))),
        ("--log-format= list", with(|o| o.log_format = None)),
        ("--root /r list", with(|o| o.root = path("/r"))),
        ("-root /r list", with(|o| o.root = path("/r"))),
        ("--systemd-cgroup list", with(|o| o.cgroup_manager = Manager::Systemd)),
        ("--systemd-cgroup=true list", with(|o| o.cgroup_manager = Manager::Systemd)),
        ("--rootless true list", with(|o| o.rootless = Rootless::Yes)),
        ("--rootless=false list", with(|o| o.rootless = Rootless::No)),
        ("--rootless auto list", with(|o| o.rootless = Rootless::Auto)),
        ("--root /r --log /l --log-format json --systemd-cgroup list", {
            with(|o| {
                o.root = path("/r");
                o.log = path("/l");
                o.log_format = text("json");
                o.cgroup_manager = Manager::Systemd;
            })
        }),
    ];
    for (line, expected) in rows {
        assert_eq!(globals(line), expected, "{line}");
    }
}

#[test]
fn what_is_wrong_is_said_as_runc_says_it() {
    let rows = [
        ("--foo list", "flag provided but not defined: -foo"),
        ("list --foo", "flag provided but not defined: -foo"),
        ("list -foo=1", "flag provided but not defined: -foo"),
        ("list --root /r", "flag provided but not defined: -root"),
        ("state -v c", "flag provided but not defined: -v"),
        ("exec -it c sh", "flag provided but not defined: -it"),
        ("exec --td c sh", "flag provided but not defined: -td"),
        ("exec -td=1 c sh", "flag provided but not defined: -td"),
        ("restore --keep c", "flag provided but not defined: -keep"),
        ("restore --parent-path x c", "flag provided but not defined: -parent-path"),
        ("list ---x", "bad flag syntax: ---x"),
        ("list -=x", "bad flag syntax: -=x"),
        ("list --=x", "bad flag syntax: --=x"),
        ("--root", "flag needs an argument: -root"),
        ("exec -p", "flag needs an argument: -p"),
        ("create c --bundle", "flag needs an argument: -bundle"),
        ("--debug=x list", "invalid boolean value \"x\" for -debug: parse error"),
        ("delete --force=maybe c", "invalid boolean value \"maybe\" for -force: parse error"),
        ("delete --force= c", "invalid boolean value \"\" for -force: parse error"),
        ("exec --preserve-fds x c sh", "invalid value \"x\" for flag -preserve-fds: parse error"),
        ("create --preserve-fds= c", "invalid value \"\" for flag -preserve-fds: parse error"),
        ("exec --additional-gids a c sh", "invalid value \"a\" for flag -additional-gids: parse error"),
        ("events --interval=abc c", "invalid value \"abc\" for flag -interval: parse error"),
        ("checkpoint --status-fd x c", "invalid value \"x\" for flag -status-fd: parse error"),
        ("state", "\"state\" requires exactly 1 argument(s)"),
        ("state a b", "\"state\" requires exactly 1 argument(s)"),
        ("create ''", "container id cannot be empty"),
        (
            "start a/b",
            "invalid container ID format: \"a/b\": up to 255 letters, digits and _ + - . make an ID, and not . or .. alone",
        ),
        (
            "kill .. 9",
            "invalid container ID format: \"..\": up to 255 letters, digits and _ + - . make an ID, and not . or .. alone",
        ),
        ("create", "\"create\" requires exactly 1 argument(s)"),
        ("list x", "\"list\" requires exactly 0 argument(s)"),
        ("features x", "\"features\" requires exactly 0 argument(s)"),
        ("exec", "\"exec\" requires a minimum of 1 argument(s)"),
        ("kill", "\"kill\" requires a minimum of 1 argument(s)"),
        ("kill a b c", "\"kill\" requires a maximum of 2 argument(s)"),
        ("ps", "\"ps\" requires a minimum of 1 argument(s)"),
        ("plan a b", "\"plan\" requires a maximum of 1 argument(s)"),
        ("foo", "no verb foo"),
        ("''", "no verb "),
        ("help foo", "no verb foo"),
        ("init", "no verb init"),
        ("exec c", "exec args cannot be empty"),
        ("exec -u a c sh", "parsing a as int for uid failed: numbers, UID or UID:GID"),
        ("exec -u 1:b c sh", "parsing b as int for gid failed: numbers, UID or UID:GID"),
        ("exec -g -1 c sh", "additional-gids: not a group id: -1"),
        ("create --preserve-fds -1 c", "preserve-fds: not a number of descriptors: -1"),
        ("list -f xml", "invalid format option"),
        ("list --format ''", "invalid format option"),
        ("ps -f xml c", "invalid format option"),
        ("events --interval 0 c", "duration interval must be greater than 0"),
        ("events --interval -5s c", "duration interval must be greater than 0"),
        (
            "update --memory x c",
            "invalid value for memory: invalid size: 'x': not bytes, nor a number with k, m, g, t or p",
        ),
        ("update --cpu-period -1 c", "invalid value for cpu-period: -1"),
        ("update --cpu-share x c", "invalid value for cpu-share: x"),
        ("update --blkio-weight 70000 c", "invalid value for blkio-weight: 70000"),
        ("checkpoint --empty-ns mount c", "namespace mount is not supported"),
        ("checkpoint --parent-path /abs c", "--parent-path: not relative to the image path"),
        ("checkpoint --manage-cgroups-mode x c", "invalid manage-cgroups-mode value"),
        ("checkpoint --page-server x c", "use --page-server ADDRESS:PORT to specify page server: x"),
        ("checkpoint --page-server :1 c", "use --page-server ADDRESS:PORT to specify page server: :1"),
        ("checkpoint --status-fd -2 c", "status-fd: not a descriptor: -2"),
        ("restore --lsm-profile x c", "invalid lsm-profile: x: not TYPE:NAME"),
        ("--rootless maybe list", "invalid rootless: maybe: not true, false or auto"),
    ];
    for (line, expected) in rows {
        assert_eq!(fault(line), expected, "{line}");
    }
}

#[test]
fn words_that_are_not_utf8_are_refused_where_they_must_be_text_and_kept_where_they_are_paths() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(b"/x\xff".to_vec());
    let line = |words: &[&str]| {
        let mut line: Vec<OsString> = words.iter().map(OsString::from).collect();
        line.push(odd.clone());
        line
    };
    let created = CommandLine::parse(&[line(&["create", "c", "--bundle"])].concat()).command.unwrap();
    assert_eq!(created, create(|o| o.bundle = Some(PathBuf::from(&odd))));
    for words in [&["state"][..], &["exec", "c"], &["exec", "c", "sh"], &["spec", "--\u{e4}"]] {
        assert!(CommandLine::parse(&line(words)).command.is_err(), "{words:?}");
    }
    let flag = OsString::from_vec(b"--x\xff".to_vec());
    assert!(CommandLine::parse(&[OsString::from("list"), flag]).command.is_err());
}

/// A value for each flag that takes one, other than its default.
fn sample(flag: &Flag) -> &'static str {
    match (flag.long, flag.takes) {
        (_, ValueType::Switch) => "true",
        (_, ValueType::Path) => "some/path",
        (_, ValueType::Number) => "7",
        (_, ValueType::Duration) => "7s",
        ("format" | "log-format", _) => "json",
        ("rootless", _) => "true",
        ("cgroup-manager", _) => "disabled",
        ("log-level", _) => "info",
        ("sort", _) => "memory",
        ("user", _) => "7",
        ("empty-ns", _) => "network",
        ("manage-cgroups-mode", _) => "strict",
        ("page-server", _) => "host:7",
        ("lsm-profile", _) => "apparmor:p",
        _ => "7",
    }
}

/// All ways to write one flag with its sample value.
fn forms(flag: &Flag) -> Vec<Vec<String>> {
    let names: Vec<String> =
        std::iter::once(flag.long.to_owned()).chain(flag.short.map(String::from)).collect();
    let mut forms = Vec::new();
    for name in &names {
        for dashes in ["-", "--"] {
            forms.push(vec![format!("{dashes}{name}={}", sample(flag))]);
            forms.push(match flag.takes {
                ValueType::Switch => vec![format!("{dashes}{name}")],
                _ => vec![format!("{dashes}{name}"), sample(flag).to_owned()],
            });
        }
    }
    forms
}

/// The fewest arguments that make a command of each verb.
fn arguments(verb: &str, flag: &str) -> &'static [&'static str] {
    match verb {
        "list" | "top" | "features" | "spec" | "help" | "plan" | "check" => &[],
        "exec" => &["c", "sh"],
        "mounts" => &["add", "c", "file"],
        "seccomp" if matches!(flag, "bundle" | "output") => &["record", "c"],
        "seccomp" => &["explain", "/b", "read"],
        _ => &["c"],
    }
}

#[test]
fn every_flag_of_every_verb_is_read_in_every_form_and_none_is_ignored() {
    let mut lines = 0;
    let read = |words: &[String]| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        CommandLine::parse(&words).command.unwrap_or_else(|fault| panic!("{words:?}: {fault:?}"))
    };
    for verb in VERBS {
        let verb_word = [String::from(verb.name)];
        for flag in verb.flags {
            let arguments = texts(arguments(verb.name, flag.long));
            let bare = read(&[&verb_word[..], &arguments].concat());
            let mut before = forms(flag).into_iter().map(|form| [&verb_word[..], &form, &arguments].concat());
            let first = read(&before.next().unwrap());
            assert_ne!(first, bare, "{} --{} changes nothing", verb.name, flag.long);
            let after = forms(flag).into_iter().map(|form| [&verb_word[..], &arguments, &form].concat());
            for words in before.chain(after.filter(|_| !verb.stops_at_first_argument)) {
                assert_eq!(read(&words), first, "{words:?}");
                lines += 1;
            }
        }
    }
    assert!(lines > 400, "{lines}");
}

#[test]
fn every_global_flag_is_read_in_every_form_and_none_is_ignored() {
    let bare = globals("list");
    for flag in GLOBAL.iter().filter(|flag| flag.long != "version") {
        let read = |form: Vec<String>| globals(&[form, texts(&["list"])].concat().join(" "));
        let all: Vec<GlobalFlags> = forms(flag).into_iter().map(read).collect();
        assert!(all.iter().all(|one| *one == all[0] && *one != bare), "--{}", flag.long);
    }
}

/// Words of every kind, thrown together: each line is a command or a fault with a sentence, and never a panic.
#[test]
fn no_line_of_words_is_too_odd_to_be_answered() {
    let mut pieces: Vec<String> = texts(&[
        "", "-", "--", "---", "-=", "=", "--=x", "-7", "c", "sh", "json", "\u{e4}", "-td", "--help=0",
    ]);
    for flag in VERBS.iter().flat_map(|verb| verb.flags).chain(GLOBAL) {
        pieces.extend(forms(flag).concat());
        pieces.push(format!("--{}=", flag.long));
    }
    // A linear congruence: the same lines in every run.
    let mut state: u64 = 1;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..5_000 {
        let before: Vec<OsString> =
            (0..next(3)).map(|_| OsString::from(&pieces[next(pieces.len())])).collect();
        let verb = OsString::from(VERBS[next(VERBS.len())].name);
        let after: Vec<OsString> =
            (0..next(6)).map(|_| OsString::from(&pieces[next(pieces.len())])).collect();
        let line = [before, vec![verb], after].concat();
        match CommandLine::parse(&line).command {
            Ok(_) | Err(UsageError::UnknownVerb(_)) => {}
            Err(UsageError::Flag { message, .. } | UsageError::ArgumentCount { message, .. }) => {
                assert!(!message.is_empty(), "{line:?}");
            }
            Err(UsageError::Value { error, .. }) => assert!(!error.to_string().is_empty(), "{line:?}"),
        }
    }
}
