//! The command table: every verb with its flags. The parser, the help texts and the tests read it; there is
//! no other list of flags.
//!
//! To add a flag: a row here, a field in `lifecycle::options`, a line in `cli::options`.

use super::flag::{Arity, Flag, Verb};

/// The flags before the verb.
pub const GLOBAL: &[Flag] = &[
    Flag::text("cgroup-manager", "who makes the cgroup: cgroupfs, systemd or disabled (nobody)"),
    Flag::switch("debug", "write debug records to the log"),
    Flag::path(
        "log",
        "where the log goes instead of standard error: [file:]PATH, journald:NAME or syslog:NAME",
    ),
    Flag::text("log-format", "format of the log: text or json").default("text"),
    Flag::text("log-level", "lowest level that is logged: error, warning or debug"),
    Flag::path("root", "directory for the state of containers, best on a tmpfs (default: /run/tare)"),
    Flag::switch("systemd-cgroup", "let systemd manage cgroups; cgroupsPath is then slice:prefix:name"),
    Flag::text("rootless", "ignore cgroup permission errors: true, false or auto").default("auto"),
    Flag::switch("timings", "write how long each phase took to standard error, when the command ends"),
    Flag::path("trace", "write the same to this file, as trace events that Chrome and Perfetto open"),
    Flag::switch("version", "show the version").short('v').crun_short('V'),
];

const BUNDLE: Flag = Flag::path("bundle", "the bundle directory (default: the current directory)").short('b');
const CONFIG: Flag =
    Flag::path("config", "the configuration (default: config.json of the bundle)").short('f');
const CONSOLE_SOCKET: Flag =
    Flag::path("console-socket", "AF_UNIX socket that receives the terminal's master descriptor");
const PIDFD_SOCKET: Flag = Flag::path("pidfd-socket", "AF_UNIX socket that receives a pidfd of the process");
const PID_FILE: Flag = Flag::path("pid-file", "file to write the process id to");
const NO_PIVOT: Flag = Flag::switch("no-pivot", "do not use pivot_root, for a rootfs on a ramdisk");
const NO_NEW_KEYRING: Flag = Flag::switch("no-new-keyring", "keep the caller's session keyring");
const PRESERVE_FDS: Flag =
    Flag::number("preserve-fds", "pass N more descriptors, after standard ones and LISTEN_FDS").default("0");
const DETACH: Flag = Flag::switch("detach", "do not wait for the process").short('d');
const NO_SUBREAPER: Flag = Flag::switch("no-subreaper", "do not reap processes that lose their parent");
const FORMAT: Flag = Flag::text("format", "table or json").short('f').default("table");

const IMAGE_PATH: Flag = Flag::path("image-path", "directory of the image files");
const WORK_PATH: Flag = Flag::path("work-path", "directory for working files and logs");
const TCP_ESTABLISHED: Flag = Flag::switch("tcp-established", "allow open TCP connections");
const EXT_UNIX_SK: Flag = Flag::switch("ext-unix-sk", "allow unix sockets that lead outside");
const SHELL_JOB: Flag = Flag::switch("shell-job", "allow shell jobs");
const LAZY_PAGES: Flag = Flag::switch("lazy-pages", "restore memory on demand, through userfaultfd");
const FILE_LOCKS: Flag = Flag::switch("file-locks", "handle file locks");
const MANAGE_CGROUPS_MODE: Flag =
    Flag::text("manage-cgroups-mode", "what is done about cgroups: soft, full, strict or ignore");
const EMPTY_NS: Flag =
    Flag::text("empty-ns", "make this namespace but leave its contents (network)").repeatable();
const AUTO_DEDUP: Flag = Flag::switch("auto-dedup", "remove duplicate memory pages from the images");

const REGEX: Flag =
    Flag::switch("regex", "take the id as an expression, for every container whose id it matches").short('r');

const CREATE: &[Flag] =
    &[BUNDLE, CONFIG, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS];

const RUN: &[Flag] = &[
    BUNDLE,
    CONFIG,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    NO_PIVOT,
    NO_NEW_KEYRING,
    PRESERVE_FDS,
    DETACH,
    Flag::switch("keep", "do not delete the container when it ends"),
    NO_SUBREAPER,
];

const EXEC: &[Flag] = &[
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    DETACH,
    PRESERVE_FDS,
    Flag::text("cwd", "working directory inside"),
    Flag::text("env", "set an environment variable, NAME=VALUE").short('e').repeatable(),
    Flag::switch("tty", "give the process a terminal").short('t'),
    Flag::text("user", "user id, and group id after a colon").short('u'),
    Flag::number("additional-gids", "a further group id").short('g').repeatable(),
    Flag::path("process", "file with the process as config.json describes one").short('p'),
    Flag::path("seccomp", "file with a seccomp profile, instead of the container's"),
    Flag::text("process-label", "SELinux label of the process"),
    Flag::text("apparmor", "AppArmor profile of the process"),
    Flag::switch("no-new-privs", "never gain privileges through execve"),
    Flag::text("cap", "add a capability").short('c').repeatable(),
    Flag::text("cgroup", "run in an existing sub-cgroup, [controller[,controller]:]path").repeatable(),
    Flag::switch("ignore-paused", "allow a process to start in a paused container"),
];

const DEBUG: &[Flag] = &[
    Flag::path("image", "bundle whose root file system has the tools (default: this host's, read-only)"),
    Flag::switch("tty", "give the process a terminal (default: if the caller has one)").short('t'),
    Flag::text("env", "set an environment variable, NAME=VALUE").short('e').repeatable(),
    Flag::switch("confined", "keep the container's capabilities, seccomp filter, labels and user"),
    Flag::text("cap", "add a capability").short('c').repeatable(),
];

const UPDATE: &[Flag] = &[
    Flag::path("resources", "file with the resources to change, - for standard input; others are ignored")
        .short('r'),
    Flag::number("blkio-weight", "block I/O weight, 10 to 1000"),
    Flag::text("cpu-period", "CFS period in microseconds, 0 for the system's"),
    Flag::text("cpu-quota", "CPU time within a period, in microseconds"),
    Flag::text("cpu-burst", "CPU time that may be saved up, in microseconds"),
    Flag::text("cpu-share", "relative CPU weight"),
    Flag::text("cpu-rt-period", "realtime period in microseconds, 0 for the system's"),
    Flag::text("cpu-rt-runtime", "realtime CPU time within a period, in microseconds"),
    Flag::text("cpuset-cpus", "processors to use"),
    Flag::text("cpuset-mems", "memory nodes to use"),
    Flag::number("cpu-idle", "1 to run only when nothing else does"),
    Flag::text("memory", "memory limit in bytes, with suffix k, m or g; -1 for none"),
    Flag::text("memory-reservation", "memory soft limit in bytes"),
    Flag::text("memory-swap", "limit of memory and swap together, in bytes; -1 is none"),
    Flag::number("pids-limit", "largest number of processes"),
    Flag::text("device", "device rule to add: [allow|deny] PATH or TYPE MAJOR:MINOR, then letters of rwm")
        .repeatable(),
    Flag::text("l3-cache-schema", "Intel RDT L3 cache schema"),
    Flag::text("mem-bw-schema", "Intel RDT memory bandwidth schema"),
    Flag::text("kernel-memory", "without effect: the kernel has dropped it").hidden(),
    Flag::text("kernel-memory-tcp", "kernel memory of TCP buffers, in bytes, cgroup v1").hidden(),
];

const CHECKPOINT: &[Flag] = &[
    IMAGE_PATH,
    WORK_PATH,
    Flag::path("parent-path", "directory of an earlier pre-dump, relative to the image path"),
    Flag::switch("leave-running", "leave the container running"),
    TCP_ESTABLISHED,
    Flag::switch("tcp-skip-in-flight", "skip connections that are just being made"),
    Flag::switch("link-remap", "remap files that are open but have no name"),
    EXT_UNIX_SK,
    SHELL_JOB,
    LAZY_PAGES,
    Flag::number("status-fd", "descriptor that gets a NUL when the page server is ready").default("-1"),
    Flag::text("page-server", "ADDRESS:PORT of the page server"),
    FILE_LOCKS,
    Flag::switch("pre-dump", "dump memory only and leave the container running"),
    MANAGE_CGROUPS_MODE,
    EMPTY_NS,
    AUTO_DEDUP,
];

const RESTORE: &[Flag] = &[
    CONSOLE_SOCKET,
    IMAGE_PATH,
    WORK_PATH,
    TCP_ESTABLISHED,
    EXT_UNIX_SK,
    SHELL_JOB,
    FILE_LOCKS,
    MANAGE_CGROUPS_MODE,
    BUNDLE,
    DETACH,
    PID_FILE,
    NO_SUBREAPER,
    NO_PIVOT,
    EMPTY_NS,
    AUTO_DEDUP,
    LAZY_PAGES,
    Flag::text("lsm-profile", "security profile to restore with, TYPE:NAME"),
    Flag::text("lsm-mount-context", "security context of the mounts"),
];

const ID: &str = "<container-id>";

const fn on_container(name: &'static str, about: &'static str, flags: &'static [Flag]) -> Verb {
    Verb { name, aliases: &[], about, usage: ID, arity: Arity::ONE, stops_at_first_argument: false, flags }
}

const fn without_arguments(name: &'static str, about: &'static str, flags: &'static [Flag]) -> Verb {
    Verb { name, aliases: &[], about, usage: "", arity: Arity::NONE, stops_at_first_argument: false, flags }
}

/// All verbs, in the order of the help text.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "check",
        aliases: &[],
        about: "tell all that is wrong with a bundle on this host, without creating anything",
        usage: "[bundle]",
        arity: Arity::between(0, 1),
        stops_at_first_argument: false,
        flags: &[
            BUNDLE,
            Flag::switch("json", "print an array of findings"),
            Flag::switch("strict", "exit with 2 if something would only be lost in silence"),
        ],
    },
    on_container("checkpoint", "save a running container to disk", CHECKPOINT),
    on_container("create", "create a container from a bundle", CREATE),
    Verb {
        name: "debug",
        aliases: &[],
        about: "run a shell or a command in a container, with the tools of this host or of another bundle",
        usage: "<container-id> [--] [command] [arguments...]",
        arity: Arity::at_least(1),
        stops_at_first_argument: false,
        flags: DEBUG,
    },
    on_container(
        "delete",
        "remove a container and all that was made for it",
        &[Flag::switch("force", "kill the container first if it still runs").short('f'), REGEX],
    ),
    on_container(
        "events",
        "show resource usage and out-of-memory events of a container",
        &[
            Flag::duration("interval", "time between two samples").default("5s"),
            Flag::switch("stats", "show one sample and end"),
            Flag::switch("openmetrics", "show one sample as OpenMetrics text, for a scraper, and end"),
        ],
    ),
    Verb {
        name: "exec",
        aliases: &[],
        about: "run a further process in a container",
        usage: "<container-id> <command> [arguments...], or -p process.json <container-id>",
        arity: Arity::at_least(1),
        stops_at_first_argument: true,
        flags: EXEC,
    },
    without_arguments(
        "features",
        "show what this runtime supports",
        &[Flag::switch("facts", "show what plan knows of this host, for plan --facts on another")],
    ),
    on_container(
        "inspect",
        "show what can be seen of a container: why it waits, use and limits, mounts, capabilities",
        &[FORMAT],
    ),
    Verb {
        name: "kill",
        aliases: &[],
        about: "send a signal to a container's init process (default: SIGTERM)",
        usage: "<container-id> [signal]",
        arity: Arity::between(1, 2),
        stops_at_first_argument: true,
        flags: &[
            Flag::switch("all", "send it to all processes; a container that no longer runs is no error")
                .short('a'),
            REGEX,
        ],
    },
    without_arguments(
        "list",
        "list the containers under the root directory",
        &[FORMAT, Flag::switch("quiet", "show only ids").short('q')],
    ),
    Verb {
        name: "mounts",
        aliases: &[],
        about: "add mounts to a running container or remove them; the file lists them as config.json does",
        usage: "add|remove <container-id> <file>",
        arity: Arity::exactly(3),
        stops_at_first_argument: false,
        flags: &[],
    },
    on_container("pause", "freeze all processes of a container", &[]),
    Verb {
        name: "plan",
        aliases: &[],
        about: "show what create would do with a bundle, phase by phase, one line per operation",
        usage: "[bundle]",
        arity: Arity::between(0, 1),
        stops_at_first_argument: false,
        flags: &[
            BUNDLE,
            Flag::text("id", "the container's id (default: the name of the bundle's directory)"),
            Flag::switch("json", "print JSON, each operation with the pointer of its field"),
            Flag::path("diff", "show what is different in the plan of this other bundle"),
            Flag::path("facts", "plan for the host of this file, which `tare features --facts` wrote there"),
        ],
    },
    Verb {
        name: "ps",
        aliases: &[],
        about: "show the processes of a container",
        usage: "<container-id> [ps options]",
        arity: Arity::at_least(1),
        stops_at_first_argument: true,
        flags: &[FORMAT],
    },
    on_container("restore", "restore a container that was saved by checkpoint", RESTORE),
    on_container("resume", "resume the processes of a paused container", &[]),
    on_container("run", "create a container, start it and wait for it", RUN),
    Verb {
        name: "seccomp",
        aliases: &[],
        about: "tell which rule of a seccomp profile decides a system call, or record a profile",
        usage: "explain <profile|config.json|bundle> <system call> [arguments], or record --bundle <bundle> \
                [container-id] [-- run options], or record <container-id> -- <command> [arguments...]",
        arity: Arity::at_least(1),
        stops_at_first_argument: false,
        flags: &[
            Flag::path("bundle", "record: run this bundle's container").short('b'),
            Flag::path("output", "record: the file for the profile, - for standard output")
                .short('o')
                .default("seccomp.json"),
            Flag::text("arch", "architecture of the program that calls (default: this one)"),
            Flag::switch("json", "print JSON"),
        ],
    },
    without_arguments(
        "spec",
        "write a new config.json",
        &[
            BUNDLE,
            Flag::path("file", "the file to write (default: config.json of the bundle)").short('f'),
            Flag::switch("rootless", "for a container without root privileges"),
        ],
    ),
    on_container("start", "start the process of a created container", &[]),
    on_container("state", "show the state of a container", &[]),
    without_arguments(
        "top",
        "show what the containers use, again and again, until q is pressed; without a terminal once",
        &[
            Flag::duration("interval", "time between two samples").default("2s"),
            Flag::text("sort", "what is first: cpu, memory, pids, io or id").default("cpu"),
        ],
    ),
    on_container("update", "change the resource limits of a container", UPDATE),
    Verb {
        name: "help",
        aliases: &["h"],
        about: "show the list of commands, or the help of one",
        usage: "[command]",
        arity: Arity::between(0, 1),
        stops_at_first_argument: false,
        flags: &[],
    },
];

pub fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name || verb.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_flag_means_two_things_in_one_verb() {
        for (verb, flags) in VERBS.iter().map(|v| (v.name, v.flags)).chain([("", GLOBAL)]) {
            for (i, flag) in flags.iter().enumerate() {
                assert!(!["help", "h"].iter().any(|name| flag.is_named(name)), "{verb} takes --help away");
                for other in &flags[i + 1..] {
                    assert_ne!(flag.long, other.long, "{verb}");
                    assert!(flag.short.is_none() || flag.short != other.short, "{verb}: -{:?}", flag.short);
                }
            }
        }
    }

    #[test]
    fn verbs_are_in_the_order_of_the_alphabet_so_that_one_is_found_in_the_help() {
        let names: Vec<_> = VERBS.iter().map(|verb| verb.name).filter(|name| *name != "help").collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
