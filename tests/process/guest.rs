//! A process that `exec` adds is confined as the container's own.

use serde_json::json;

use crate::support::Bundle;

/// Lines of /proc/self/status that say what a process may do.
const LINES: [&str; 14] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigBlk",
    "SigIgn",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Cpus_allowed_list",
];

fn chosen(status: &str) -> Vec<&str> {
    let wanted = |line: &&str| LINES.iter().any(|name| line.starts_with(&format!("{name}:")));
    status.lines().filter(wanted).collect()
}

fn is_like_the_first(mut bundle: Bundle) {
    let show = [
        "sh",
        "-c",
        "cat /proc/self/status; cat /proc/self/limits; cat /proc/self/oom_score_adj /proc/self/cgroup",
    ];
    bundle.args(&show);
    let first = bundle.output();
    bundle.up();
    let added = bundle.exec(&show).ok().stdout;
    assert_eq!(chosen(&added), chosen(&first));
    let rest = |text: &str| text.split_once("Limit ").map(|(_, rest)| rest.to_owned());
    assert_eq!(rest(&added), rest(&first));
    assert_eq!(chosen(&first).len(), LINES.len());
}

#[test]
fn with_the_default_configuration() {
    let Some(bundle) = Bundle::new() else { return };
    is_like_the_first(bundle);
}

#[test]
fn as_a_user_with_limits_and_a_filter() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [3], "umask": 0o77});
        config["process"]["oomScoreAdj"] = json!(100);
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]);
        let names = json!(["CAP_KILL", "CAP_NET_RAW"]);
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            config["process"]["capabilities"][set] = names.clone();
        }
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
    });
    is_like_the_first(bundle);
}

#[test]
fn in_a_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace().namespace("cgroup", None);
    is_like_the_first(bundle);
}

#[test]
fn cannot_be_traced_before_it_is_confined() {
    // CVE-2016-9962: while it joins, a process of the container that may trace must find nothing of the host in it.
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
        }
    });
    let hunt = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; \
        for fd in $p/fd/*; do readlink $fd; done; readlink $p/cwd $p/root; done; done 2>/dev/null >> /tmp/found";
    bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    bundle.script(hunt);
    bundle.create().ok();
    bundle.start().ok();
    for _ in 0..60 {
        // What our caller leaves open must not be there either.
        bundle.tare_by("exec 9</etc/debian_version; exec \"$@\"", &["exec", &bundle.id, "true"]).ok();
    }
    let found = bundle.exec(&["sh", "-c", "sort -u /tmp/found"]).ok().stdout;
    let harmless = |line: &&str| {
        // Its own /etc/passwd is read for HOME.
        let of_the_container =
            ["/", "/dev/null", "/tmp/found", "/etc/passwd"].contains(line) || line.starts_with("/proc/");
        of_the_container || ["pipe:", "socket:", "anon_inode:"].iter().any(|kind| line.starts_with(kind))
    };
    // Standard streams are given to the process on purpose.
    let streams = |line: &&str| line.contains("(deleted)");
    let foreign: Vec<&str> = found.lines().filter(|line| !harmless(line) && !streams(line)).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}
