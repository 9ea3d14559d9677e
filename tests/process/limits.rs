//! rlimits, as the kernel has them. Only lowering: raising needs a right that a host may lack.

use serde_json::json;

use crate::support::Bundle;

/// Type, its name in /proc/PID/limits, a soft and a hard limit below every default.
const ROWS: [(&str, &str, u64, u64); 14] = [
    ("RLIMIT_CPU", "Max cpu time", 100, 200),
    ("RLIMIT_FSIZE", "Max file size", 1_000_000, 2_000_000),
    ("RLIMIT_DATA", "Max data size", 100_000_000, 200_000_000),
    ("RLIMIT_STACK", "Max stack size", 1_000_000, 2_000_000),
    ("RLIMIT_CORE", "Max core file size", 0, 0),
    ("RLIMIT_RSS", "Max resident set", 100_000_000, 200_000_000),
    ("RLIMIT_NPROC", "Max processes", 100, 200),
    ("RLIMIT_NOFILE", "Max open files", 20, 30),
    ("RLIMIT_MEMLOCK", "Max locked memory", 1000, 2000),
    ("RLIMIT_AS", "Max address space", 100_000_000, 200_000_000),
    ("RLIMIT_LOCKS", "Max file locks", 10, 20),
    ("RLIMIT_SIGPENDING", "Max pending signals", 10, 20),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size", 1000, 2000),
    ("RLIMIT_RTTIME", "Max realtime timeout", 1000, 2000),
];

fn set(bundle: &mut Bundle, rows: &[(&str, &str, u64, u64)]) {
    let limits: serde_json::Value =
        rows.iter().map(|(kind, _, soft, hard)| json!({"type": kind, "soft": soft, "hard": hard})).collect();
    bundle.patch(|config| config["process"]["rlimits"] = limits);
}

/// Soft and hard limit of a name.
fn limit(table: &str, name: &str) -> (String, String) {
    let line =
        table.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {table}"));
    let mut words = line.split_whitespace();
    (words.next().unwrap().into(), words.next().unwrap().into())
}

#[test]
fn each_is_set() {
    let Some(mut bundle) = Bundle::new() else { return };
    set(&mut bundle, &ROWS);
    bundle.args(&["cat", "/proc/self/limits"]);
    let table = bundle.output();
    for (kind, name, soft, hard) in ROWS {
        assert_eq!(limit(&table, name), (soft.to_string(), hard.to_string()), "{kind}");
    }
    bundle.up();
    assert_eq!(bundle.exec(&["cat", "/proc/self/limits"]).ok().stdout, table);
}

#[test]
fn those_that_are_not_named_are_the_callers() {
    let Some(mut bundle) = Bundle::new() else { return };
    set(&mut bundle, &[]);
    bundle.args(&["cat", "/proc/self/limits"]);
    let script = "ulimit -n 77; ulimit -c 0; exec \"$@\"";
    let table = bundle.tare_by(script, &["run", &bundle.id]).ok().stdout;
    assert_eq!(limit(&table, "Max open files"), ("77".into(), "77".into()));
}

#[test]
fn very_low_ones_do_not_hinder_the_runtime_itself() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sh", "-c", "read line < /proc/self/limits; echo $line"]);
    let low: [(&str, &str, u64, u64); 3] =
        [("RLIMIT_FSIZE", "", 0, 0), ("RLIMIT_NPROC", "", 1, 1), ("RLIMIT_MEMLOCK", "", 0, 0)];
    set(&mut bundle, &low);
    // The output is a file: a pipe, since its size is limited too.
    let answer = bundle.tare_by("\"$@\" | cat", &["run", &bundle.id]).ok();
    assert_eq!(answer.stdout, "Limit Soft Limit Hard Limit Units\n");
    set(&mut bundle, &[("RLIMIT_NOFILE", "", 3, 3)]);
    bundle.args(&["echo", "no descriptor is needed"]);
    assert_eq!(bundle.output(), "no descriptor is needed\n");
}

#[test]
fn one_that_may_not_be_raised_is_told_by_its_place() {
    let Some(mut bundle) = Bundle::new() else { return };
    set(&mut bundle, &[ROWS[4], ("RLIMIT_NOFILE", "", 1 << 40, 1 << 40)]);
    let message = bundle.run().fails(1, "/process/rlimits/1").message();
    assert!(message.contains("RLIMIT_NOFILE"), "{message}");
    bundle.leaves_nothing();
}
