//! Every field of config.json, wrong: the table of what is said about it, and where. A row sets one member of a
//! configuration that has all of them, and is right.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use tare::testing::error::Kind;
use tare::testing::spec;

const FULL: &str = include_str!("fixtures/spec/full.json");

/// What to set, to what (as JSON; empty takes it away), where the fault is told, and words of its message.
type Row = (&'static str, &'static str, &'static str, &'static str);

fn full() -> Value {
    serde_json::from_str(FULL).unwrap()
}

/// Sets, appends (`-`) or takes away the member at `pointer`.
fn set(document: &mut Value, pointer: &str, json: &str) {
    let (holder, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let holder = document.pointer_mut(holder).unwrap_or_else(|| panic!("{pointer}: nothing holds it"));
    let value = || serde_json::from_str(json).unwrap_or_else(|e| panic!("{pointer}: {json}: {e}"));
    match holder {
        Value::Object(members) if json.is_empty() => drop(members.remove(&name).unwrap()),
        Value::Object(members) => drop(members.insert(name, value())),
        Value::Array(items) if name == "-" => items.push(value()),
        Value::Array(items) if json.is_empty() => drop(items.remove(name.parse().unwrap())),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value(),
        _ => panic!("{pointer}: not in an object or array"),
    }
}

fn refusal(document: &Value) -> Option<String> {
    let error = spec::parse(serde_json::to_string_pretty(document).unwrap().as_bytes()).err()?;
    assert_eq!(error.kind(), Kind::Spec);
    Some(error.to_string())
}

fn judge(rows: &[Row]) {
    let mut wrong = Vec::new();
    for (set_pointer, json, pointer, words) in rows {
        let mut document = full();
        set(&mut document, set_pointer, json);
        let text = refusal(&document).unwrap_or_else(|| "it was accepted".to_owned());
        // The place, then the sentence; other faults may stand around it.
        let told = text.split("; ").any(|fault| {
            fault.split_once(" (line ").is_some_and(|(place, rest)| place == *pointer && rest.contains(words))
        });
        if !told || text.contains('\n') || text.chars().any(char::is_control) {
            wrong.push(format!("{set_pointer} = {json}\n   want {pointer}: {words}\n   have {text}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_configuration_that_the_rows_change_is_right() {
    let checked = spec::parse(FULL.as_bytes()).unwrap();
    assert_eq!(checked.warnings, Vec::<String>::new());
}

#[test]
#[rustfmt::skip]
fn top_level() {
    judge(&[
        ("/root", "", "/root", "root must be specified"),
        ("/root", "null", "/root", "root must be specified"),
        ("/root", "[]", "/root", "invalid type: sequence, expected struct Root"),
        ("/root", "\"rootfs\"", "/root", "invalid type: string"),
        ("/root/path", "", "/root/path", "must not be empty"),
        ("/root/path", "null", "/root/path", "must not be empty"),
        ("/root/path", "\"\"", "/root/path", "must not be empty"),
        ("/root/path", "1", "/root/path", "invalid type: integer `1`"),
        ("/root/path", "\"a\\u0000b\"", "/root/path", "contains a NUL character"),
        ("/root/readonly", "\"yes\"", "/root/readonly", "expected a boolean"),
        ("/root/readonly", "1", "/root/readonly", "expected a boolean"),
        ("/ociVersion", "1.3", "/ociVersion", "expected a string"),
        ("/ociVersion", "[]", "/ociVersion", "expected a string"),
        ("/hostname", "7", "/hostname", "expected a string"),
        ("/hostname", "\"a\\u0000b\"", "/hostname", "contains a NUL character"),
        ("/hostname", "\"0123456789012345678901234567890123456789012345678901234567890123x\"", "/hostname", "longer than 64 bytes"),
        ("/domainname", "{}", "/domainname", "expected a string"),
        ("/domainname", "\"0123456789012345678901234567890123456789012345678901234567890123x\"", "/domainname", "longer than 64 bytes"),
        ("/domainname", "\"\\u0000\"", "/domainname", "contains a NUL character"),
        ("/annotations", "[]", "/annotations", "expected a map"),
        ("/annotations", "{\"\": \"x\"}", "/annotations", "a key must not be empty"),
        ("/annotations/org.example.key", "1", "/annotations/org.example.key", "expected a string"),
        ("/annotations/org.example.key", "[\"a\"]", "/annotations/org.example.key", "expected a string"),
        ("/linux", "\"linux\"", "/linux", "expected struct Linux"),
        ("/linux", "1", "/linux", "expected struct Linux"),
        ("/mounts", "{}", "/mounts", "expected a sequence"),
        ("/mounts", "\"all\"", "/mounts", "expected a sequence"),
        ("/hooks", "true", "/hooks", "expected struct Hooks"),
        ("/process", "\"sh\"", "/process", "expected struct Process"),
    ]);
}

#[test]
#[rustfmt::skip]
fn process() {
    judge(&[
        ("/process", "", "/process", "process property must not be empty"),
        ("/process", "null", "/process", "process property must not be empty"),
        ("/process/cwd", "", "/process/cwd", "Cwd property must not be empty"),
        ("/process/cwd", "null", "/process/cwd", "Cwd property must not be empty"),
        ("/process/cwd", "\"\"", "/process/cwd", "Cwd property must not be empty"),
        ("/process/cwd", "\"home\"", "/process/cwd", "Cwd must be an absolute path"),
        ("/process/cwd", "\"./\"", "/process/cwd", "Cwd must be an absolute path"),
        ("/process/cwd", "5", "/process/cwd", "invalid type: integer `5`"),
        ("/process/cwd", "\"/\\u0000\"", "/process/cwd", "contains a NUL character"),
        ("/process/args", "", "/process/args", "args must not be empty"),
        ("/process/args", "null", "/process/args", "args must not be empty"),
        ("/process/args", "[]", "/process/args", "args must not be empty"),
        ("/process/args", "\"sh\"", "/process/args", "expected a sequence"),
        ("/process/args/1", "2", "/process/args/1", "expected a string"),
        ("/process/args/0", "null", "/process/args/0", "expected a string"),
        ("/process/args/2", "\"a\\u0000\"", "/process/args/2", "contains a NUL character"),
        ("/process/env", "{\"A\": \"b\"}", "/process/env", "expected a sequence"),
        ("/process/env", "\"A=b\"", "/process/env", "expected a sequence"),
        ("/process/env/0", "\"PATH\"", "/process/env/0", "missing '='"),
        ("/process/env/0", "\"\"", "/process/env/0", "missing '='"),
        ("/process/env/1", "\"=x\"", "/process/env/1", "name cannot be empty"),
        ("/process/env/1", "\"=\"", "/process/env/1", "name cannot be empty"),
        ("/process/env/1", "\"A=\\u0000\"", "/process/env/1", "contains a NUL character"),
        ("/process/env/-", "false", "/process/env/2", "expected a string"),
        ("/process/terminal", "\"true\"", "/process/terminal", "expected a boolean"),
        ("/process/terminal", "0", "/process/terminal", "expected a boolean"),
        ("/process/consoleSize", "80", "/process/consoleSize", "expected struct Box"),
        ("/process/consoleSize/height", "-1", "/process/consoleSize/height", "invalid value: integer `-1`"),
        ("/process/consoleSize/height", "65536", "/process/consoleSize/height", "more than a terminal can have"),
        ("/process/consoleSize/width", "70000", "/process/consoleSize/width", "more than a terminal can have"),
        ("/process/consoleSize/width", "\"80\"", "/process/consoleSize/width", "expected u64"),
        ("/process/user", "\"root\"", "/process/user", "expected struct User"),
        ("/process/user", "0", "/process/user", "expected struct User"),
        ("/process/user/uid", "-1", "/process/user/uid", "invalid value: integer `-1`, expected u32"),
        ("/process/user/uid", "4294967296", "/process/user/uid", "invalid value: integer `4294967296`"),
        ("/process/user/uid", "4294967295", "/process/user/uid", "4294967295 is no id"),
        ("/process/user/uid", "\"root\"", "/process/user/uid", "expected u32"),
        ("/process/user/uid", "1.5", "/process/user/uid", "invalid type: floating point `1.5`"),
        ("/process/user/gid", "4294967295", "/process/user/gid", "4294967295 is no id"),
        ("/process/user/gid", "1e3", "/process/user/gid", "invalid type: floating point"),
        ("/process/user/gid", "true", "/process/user/gid", "expected u32"),
        ("/process/user/umask", "-1", "/process/user/umask", "expected u32"),
        ("/process/user/umask", "\"022\"", "/process/user/umask", "expected u32"),
        ("/process/user/additionalGids", "5", "/process/user/additionalGids", "expected a sequence"),
        ("/process/user/additionalGids/1", "-1", "/process/user/additionalGids/1", "expected u32"),
        ("/process/user/additionalGids/1", "\"wheel\"", "/process/user/additionalGids/1", "expected u32"),
        ("/process/user/additionalGids/0", "4294967295", "/process/user/additionalGids/0", "is no id"),
        ("/process/user/username", "1", "/process/user/username", "expected a string"),
        ("/process/noNewPrivileges", "\"no\"", "/process/noNewPrivileges", "expected a boolean"),
        ("/process/apparmorProfile", "1", "/process/apparmorProfile", "expected a string"),
        ("/process/apparmorProfile", "\"\\u0000\"", "/process/apparmorProfile", "contains a NUL character"),
        ("/process/selinuxLabel", "[]", "/process/selinuxLabel", "expected a string"),
        ("/process/oomScoreAdj", "1001", "/process/oomScoreAdj", "must lie between -1000 and 1000"),
        ("/process/oomScoreAdj", "-1001", "/process/oomScoreAdj", "must lie between -1000 and 1000"),
        ("/process/oomScoreAdj", "4294967296", "/process/oomScoreAdj", "expected i32"),
        ("/process/oomScoreAdj", "\"low\"", "/process/oomScoreAdj", "expected i32"),
        ("/process/capabilities", "[\"CAP_KILL\"]", "/process/capabilities", "invalid type: sequence"),
        ("/process/capabilities", "\"all\"", "/process/capabilities", "expected struct Capabilities"),
        ("/process/capabilities/bounding", "\"CAP_KILL\"", "/process/capabilities/bounding", "expected a sequence"),
        ("/process/capabilities/effective/0", "5", "/process/capabilities/effective/0", "expected a string"),
        ("/process/capabilities/ambient", "{}", "/process/capabilities/ambient", "expected a sequence"),
        ("/process/rlimits", "{}", "/process/rlimits", "expected a sequence"),
        ("/process/rlimits/0", "\"RLIMIT_NOFILE\"", "/process/rlimits/0", "expected struct PosixRlimit"),
        ("/process/rlimits/0/type", "\"RLIMIT_FOO\"", "/process/rlimits/0/type", "wrong rlimit value: RLIMIT_FOO"),
        ("/process/rlimits/0/type", "\"NOFILE\"", "/process/rlimits/0/type", "wrong rlimit value: NOFILE"),
        ("/process/rlimits/0/type", "\"\"", "/process/rlimits/0/type", "wrong rlimit value: "),
        ("/process/rlimits/0/type", "", "/process/rlimits/0/type", "wrong rlimit value: \"\""),
        ("/process/rlimits/0/type", "7", "/process/rlimits/0/type", "invalid type: integer `7`, expected a string"),
        ("/process/rlimits/1/type", "\"RLIMIT_NOFILE\"", "/process/rlimits/1/type", "RLIMIT_NOFILE is given twice"),
        ("/process/rlimits/0/soft", "1025", "/process/rlimits/0/soft", "the soft limit 1025 is above the hard limit 1024"),
        ("/process/rlimits/0/soft", "-1", "/process/rlimits/0/soft", "expected u64"),
        ("/process/rlimits/0/hard", "18446744073709551616", "/process/rlimits/0/hard", "invalid type: floating point"),
        ("/process/rlimits/0/hard", "\"unlimited\"", "/process/rlimits/0/hard", "expected u64"),
    ]);
}

#[test]
#[rustfmt::skip]
fn scheduling() {
    const SCHEDULER: &str = "/process/scheduler";
    judge(&[
        (SCHEDULER, "\"SCHED_FIFO\"", SCHEDULER, "expected struct Scheduler"),
        (SCHEDULER, "{}", "/process/scheduler/policy", "invalid scheduler policy: \"\""),
        ("/process/scheduler/policy", "\"SCHED_FOO\"", "/process/scheduler/policy", "invalid scheduler policy: SCHED_FOO"),
        ("/process/scheduler/policy", "\"\"", "/process/scheduler/policy", "invalid scheduler policy: "),
        ("/process/scheduler/policy", "\"SCHED_ISO\"", "/process/scheduler/policy", "no kernel has it"),
        ("/process/scheduler/policy", "1", "/process/scheduler/policy", "expected a string"),
        ("/process/scheduler/policy", "\"SCHED_FIFO\"", "/process/scheduler/priority", "must lie between 1 and 99, not 0"),
        ("/process/scheduler/policy", "\"SCHED_RR\"", "/process/scheduler/priority", "must lie between 1 and 99, not 0"),
        ("/process/scheduler/nice", "20", "/process/scheduler/nice", "invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER"),
        ("/process/scheduler/nice", "-21", "/process/scheduler/nice", "invalid scheduler.nice: -21"),
        ("/process/scheduler/nice", "\"high\"", "/process/scheduler/nice", "expected i32"),
        (SCHEDULER, r#"{"policy": "SCHED_BATCH", "nice": 21}"#, "/process/scheduler/nice", "SCHED_BATCH"),
        ("/process/scheduler/priority", "1", "/process/scheduler/priority", "can only be specified for SchedFIFO"),
        ("/process/scheduler/priority", "-1", "/process/scheduler/priority", "can only be specified for SchedFIFO"),
        (SCHEDULER, r#"{"policy": "SCHED_RR", "priority": 100}"#, "/process/scheduler/priority", "between 1 and 99"),
        (SCHEDULER, r#"{"policy": "SCHED_FIFO", "priority": -5}"#, "/process/scheduler/priority", "between 1 and 99"),
        ("/process/scheduler/runtime", "1", SCHEDULER, "can only be specified for SchedDeadline policy"),
        ("/process/scheduler/deadline", "1", SCHEDULER, "can only be specified for SchedDeadline policy"),
        ("/process/scheduler/period", "1", SCHEDULER, "can only be specified for SchedDeadline policy"),
        ("/process/scheduler/period", "-1", "/process/scheduler/period", "expected u64"),
        (SCHEDULER, r#"{"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 8}"#, SCHEDULER, "runtime <= deadline"),
        (SCHEDULER, r#"{"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 8, "period": 4}"#, SCHEDULER, "runtime <= deadline <= period"),
        ("/process/scheduler/flags", "\"x\"", "/process/scheduler/flags", "expected a sequence"),
        ("/process/scheduler/flags/0", "\"SCHED_FLAG_X\"", "/process/scheduler/flags/0", "invalid scheduler flag: SCHED_FLAG_X"),
        ("/process/scheduler/flags/0", "{\"SCHED_FLAG_RECLAIM\": null}", "/process/scheduler/flags/0", "invalid type: map, expected a string"),
        ("/process/ioPriority", "4", "/process/ioPriority", "expected struct LinuxIOPriority"),
        ("/process/ioPriority/class", "\"IOPRIO_CLASS_X\"", "/process/ioPriority/class", "invalid ioPriority.Class: \"IOPRIO_CLASS_X\""),
        ("/process/ioPriority/class", "\"\"", "/process/ioPriority/class", "invalid ioPriority.Class: \"\""),
        ("/process/ioPriority/priority", "8", "/process/ioPriority/priority", "invalid ioPriority.Priority: 8"),
        ("/process/ioPriority/priority", "-1", "/process/ioPriority/priority", "invalid ioPriority.Priority: -1"),
        ("/process/ioPriority/priority", "\"4\"", "/process/ioPriority/priority", "expected i64"),
        ("/process/execCPUAffinity", "\"0\"", "/process/execCPUAffinity", "expected struct ExecCPUAffinity"),
        ("/process/execCPUAffinity/initial", "\"a\"", "/process/execCPUAffinity/initial", "bad CPUAffinity.Initial: \"a\" is not a number"),
        ("/process/execCPUAffinity/initial", "\"3-1\"", "/process/execCPUAffinity/initial", "bad CPUAffinity.Initial: invalid range: 3-1"),
        ("/process/execCPUAffinity/initial", "\"-1\"", "/process/execCPUAffinity/initial", "bad CPUAffinity.Initial: half a range: \"-1\""),
        ("/process/execCPUAffinity/final", "\"65537\"", "/process/execCPUAffinity/final", "bad CPUAffinity.Final: values larger than 65536 are not supported"),
        ("/process/execCPUAffinity/final", "\"0-1-2\"", "/process/execCPUAffinity/final", "bad CPUAffinity.Final: \"1-2\""),
        ("/process/execCPUAffinity/final", "0", "/process/execCPUAffinity/final", "expected a string"),
    ]);
}

#[test]
#[rustfmt::skip]
fn mounts() {
    const IDMAP: &str = "id-mapped mounts must have both uid and gid mappings specified";
    judge(&[
        ("/mounts/0", "\"/proc\"", "/mounts/0", "expected struct Mount"),
        ("/mounts/0/destination", "", "/mounts/0/destination", "must not be empty"),
        ("/mounts/0/destination", "null", "/mounts/0/destination", "must not be empty"),
        ("/mounts/0/destination", "\"\"", "/mounts/0/destination", "must not be empty"),
        ("/mounts/0/destination", "\"/\"", "/mounts/0/destination", "is the root itself"),
        ("/mounts/0/destination", "\"//./\"", "/mounts/0/destination", "is the root itself"),
        ("/mounts/0/destination", "\"/..\"", "/mounts/0/destination", "is the root itself"),
        ("/mounts/0/destination", "\".\"", "/mounts/0/destination", "is the root itself"),
        ("/mounts/0/destination", "1", "/mounts/0/destination", "expected path string"),
        ("/mounts/0/destination", "\"/a\\u0000\"", "/mounts/0/destination", "contains a NUL character"),
        ("/mounts/0/type", "", "/mounts/0", "neither a filesystem type nor the option \"bind\""),
        ("/mounts/0/type", "\"\"", "/mounts/0", "neither a filesystem type nor the option \"bind\""),
        ("/mounts/0/type", "3", "/mounts/0/type", "expected a string"),
        ("/mounts/0/type", "\"pro\\u0000c\"", "/mounts/0/type", "contains a NUL character"),
        ("/mounts/0/source", "{}", "/mounts/0/source", "expected path string"),
        ("/mounts/0/source", "\"\\u0000\"", "/mounts/0/source", "contains a NUL character"),
        ("/mounts/2/source", "", "/mounts/2/source", "a bind mount must have a source"),
        ("/mounts/3/source", "\"\"", "/mounts/3/source", "a bind mount must have a source"),
        ("/mounts/1/options", "\"ro\"", "/mounts/1/options", "expected a sequence"),
        ("/mounts/1/options/1", "755", "/mounts/1/options/1", "expected a string"),
        ("/mounts/1/options/0", "\"a\\u0000\"", "/mounts/1/options/0", "contains a NUL character"),
        ("/mounts/2/options/0", "\"rbnd\"", "/mounts/2/options/0", "bind mounts cannot have any filesystem-specific options"),
        ("/mounts/3/options/-", "\"z\"", "/mounts/3/options/2", "bind mounts cannot have any filesystem-specific options applied: \"z\""),
        ("/mounts/3/options/-", "\"RO\"", "/mounts/3/options/2", "applied: \"RO\""),
        ("/mounts/3/options/-", "\"con\\ntext\"", "/mounts/3/options/2", "applied: \"con\\ntext\""),
        ("/mounts/3/options", "[\"ridmap\"]", "/mounts/3", "neither a filesystem type nor"),
        ("/mounts/3/uidMappings", "", "/mounts/3", IDMAP),
        ("/mounts/3/gidMappings", "", "/mounts/3", IDMAP),
        ("/mounts/3/gidMappings", "[]", "/mounts/3", IDMAP),
        ("/mounts/3/uidMappings", "{}", "/mounts/3/uidMappings", "expected a sequence"),
        ("/mounts/3/uidMappings/0/size", "0", "/mounts/3/uidMappings/0", "size must not be 0"),
        ("/mounts/3/uidMappings/0/size", "", "/mounts/3/uidMappings/0", "size must not be 0"),
        ("/mounts/3/uidMappings/0/hostID", "-1", "/mounts/3/uidMappings/0/hostID", "expected u32"),
        ("/mounts/3/gidMappings/0/hostID", "4294967290", "/mounts/3/gidMappings/0", "go beyond the last id"),
        ("/mounts/3/gidMappings/0/containerID", "\"0\"", "/mounts/3/gidMappings/0/containerID", "expected u32"),
        ("/mounts/1/options/-", "\"idmap\"", "/mounts/1", "id-mapped mounts are only supported for bind-mounts"),
        ("/mounts/0/uidMappings", r#"[{"containerID": 0, "hostID": 0, "size": 1}]"#, "/mounts/0", "id-mapped mounts are only supported for bind-mounts"),
        ("/mounts/0/gidMappings", r#"[{"containerID": 0, "hostID": 0, "size": 1}]"#, "/mounts/0", IDMAP),
    ]);
}

#[test]
#[rustfmt::skip]
fn namespaces_and_what_needs_them() {
    judge(&[
        ("/linux/namespaces", "{}", "/linux/namespaces", "expected a sequence"),
        ("/linux/namespaces/0", "\"pid\"", "/linux/namespaces/0", "expected struct LinuxNamespace"),
        ("/linux/namespaces/0/type", "\"foo\"", "/linux/namespaces/0/type", "namespace \"foo\" does not exist"),
        ("/linux/namespaces/0/type", "\"\"", "/linux/namespaces/0/type", "namespace \"\" does not exist"),
        ("/linux/namespaces/0/type", "\"PID\"", "/linux/namespaces/0/type", "namespace \"PID\" does not exist"),
        ("/linux/namespaces/0/type", "\"net\"", "/linux/namespaces/0/type", "namespace \"net\" does not exist"),
        ("/linux/namespaces/0/type", "\"mnt\"", "/linux/namespaces/0/type", "namespace \"mnt\" does not exist"),
        ("/linux/namespaces/0/type", "1", "/linux/namespaces/0/type", "invalid type: integer `1`, expected a string"),
        ("/linux/namespaces/0/type", "", "/linux/namespaces/0/type", "namespace \"\" does not exist"),
        ("/linux/namespaces/0/type", "\"network\"", "/linux/namespaces/1/type", "malformed spec file: duplicated ns \"network\""),
        ("/linux/namespaces/-", "{\"type\": \"time\"}", "/linux/namespaces/8/type", "duplicated ns \"time\""),
        ("/linux/namespaces/-", "{\"type\": \"mount\", \"path\": \"/x\"}", "/linux/namespaces/8/type", "duplicated ns \"mount\""),
        ("/linux/namespaces/0/path", "\"proc/1/ns/pid\"", "/linux/namespaces/0/path", "must be an absolute path"),
        ("/linux/namespaces/0/path", "\"/a\\u0000\"", "/linux/namespaces/0/path", "contains a NUL character"),
        ("/linux/namespaces/0/path", "1", "/linux/namespaces/0/path", "expected path string"),
        ("/linux/namespaces/3", "", "/hostname", "unable to set hostname without a private UTS namespace"),
        ("/linux/namespaces/3", "", "/domainname", "unable to set domainname without a private UTS namespace"),
        ("/linux", "", "/hostname", "unable to set hostname without a private UTS namespace"),
        ("/linux/namespaces", "", "/linux/maskedPaths", "unable to restrict sys entries without a private MNT namespace"),
        ("/linux/namespaces/4", "", "/linux/maskedPaths", "unable to restrict sys entries without a private MNT namespace"),
        ("/linux/namespaces/4", "", "/linux/readonlyPaths", "unable to restrict sys entries without a private MNT namespace"),
        ("/linux/namespaces/1", "", "/linux/netDevices", "unable to move network devices without a NET namespace"),
        ("/linux/namespaces/7", "", "/linux/timeOffsets", "time namespace offsets specified, but time namespace isn't enabled in the config"),
        ("/linux/namespaces/7/path", "\"/proc/1/ns/time\"", "/linux/timeOffsets", "time namespace enabled, but both namespace path and time offsets specified"),
        ("/linux/uidMappings", "", "/linux/uidMappings", "user namespaces enabled, but no user mappings found"),
        ("/linux/uidMappings", "[]", "/linux/uidMappings", "user namespaces enabled, but no user mappings found"),
        ("/linux/gidMappings", "", "/linux/gidMappings", "user namespaces enabled, but no group mappings found"),
        ("/linux/uidMappings/0/containerID", "1", "/linux/uidMappings", "no user mapping found for id 0 of the container"),
        ("/linux/gidMappings/0/containerID", "5", "/linux/gidMappings", "no group mapping found for id 0 of the container"),
        ("/linux/uidMappings", "1", "/linux/uidMappings", "expected a sequence"),
        ("/linux/uidMappings/0/size", "0", "/linux/uidMappings/0", "size must not be 0"),
        ("/linux/uidMappings/0/size", "-1", "/linux/uidMappings/0/size", "expected u32"),
        ("/linux/uidMappings/0/size", "4294967296", "/linux/uidMappings/0/size", "expected u32"),
        ("/linux/uidMappings/0/size", "4294967295", "/linux/uidMappings/0", "hostID 100000 and size 4294967295 go beyond the last id"),
        ("/linux/uidMappings/0/containerID", "4294967295", "/linux/uidMappings/0", "containerID 4294967295 and size 65536 go beyond"),
        ("/linux/uidMappings/-", r#"{"containerID": 65535, "hostID": 0, "size": 1}"#, "/linux/uidMappings/1", "overlaps with mapping 0"),
        ("/linux/gidMappings/-", r#"{"containerID": 70000, "hostID": 165535, "size": 1}"#, "/linux/gidMappings/1", "overlaps with mapping 0"),
        ("/linux/gidMappings/0/hostID", "1.5", "/linux/gidMappings/0/hostID", "expected u32"),
        ("/linux/timeOffsets", "[]", "/linux/timeOffsets", "expected a map"),
        ("/linux/timeOffsets/realtime", "{\"secs\": 1}", "/linux/timeOffsets/realtime", "\"realtime\" is no clock with an offset"),
        ("/linux/timeOffsets/boottime", "5", "/linux/timeOffsets/boottime", "expected struct LinuxTimeOffset"),
        ("/linux/timeOffsets/boottime/secs", "\"1\"", "/linux/timeOffsets/boottime/secs", "expected i64"),
        ("/linux/timeOffsets/monotonic/nanosecs", "1000000000", "/linux/timeOffsets/monotonic/nanosecs", "less than a second"),
        ("/linux/timeOffsets/monotonic/nanosecs", "-1", "/linux/timeOffsets/monotonic/nanosecs", "expected u32"),
    ]);
}

#[test]
#[rustfmt::skip]
fn sysctls() {
    judge(&[
        ("/linux/sysctl", "[]", "/linux/sysctl", "expected a map"),
        ("/linux/sysctl/net.ipv4.ip_forward", "1", "/linux/sysctl/net.ipv4.ip_forward", "expected a string"),
        ("/linux/sysctl/kernel.panic", "\"1\"", "/linux/sysctl/kernel.panic", "sysctl \"kernel.panic\" is not in a separate kernel namespace"),
        ("/linux/sysctl/vm.swappiness", "\"1\"", "/linux/sysctl/vm.swappiness", "not in a separate kernel namespace"),
        ("/linux/sysctl/fs.file-max", "\"1\"", "/linux/sysctl/fs.file-max", "not in a separate kernel namespace"),
        ("/linux/sysctl/kernel.msgmax2", "\"1\"", "/linux/sysctl/kernel.msgmax2", "not in a separate kernel namespace"),
        ("/linux/sysctl/kernel.hostname", "\"x\"", "/linux/sysctl/kernel.hostname", "conflicts with the OCI \"hostname\" field"),
        ("/linux/sysctl/kernel.domainname", "\"x\"", "/linux/sysctl/kernel.domainname", "conflicts with the OCI \"domainname\" field"),
        ("/linux/sysctl/kernel~1hostname", "\"x\"", "/linux/sysctl/kernel~1hostname", "conflicts with the OCI \"hostname\" field"),
        ("/linux/sysctl/netfoo", "\"x\"", "/linux/sysctl/netfoo", "not in a separate kernel namespace"),
        ("/linux/sysctl/net", "\"x\"", "/linux/sysctl/net", "not in a separate kernel namespace"),
        ("/linux/sysctl/", "\"x\"", "/linux/sysctl/", "is no name"),
        ("/linux/sysctl/net.", "\"x\"", "/linux/sysctl/net.", "is no name"),
        ("/linux/sysctl/net..ipv4", "\"x\"", "/linux/sysctl/net..ipv4", "is no name"),
        ("/linux/sysctl/net~1..~1kernel~1panic", "\"1\"", "/linux/sysctl/net~1..~1kernel~1panic", "is no name"),
        ("/linux/sysctl/net.~1~1.kernel.panic", "\"1\"", "/linux/sysctl/net.~1~1.kernel.panic", "is no name"),
        ("/linux/sysctl/~1proc~1sys~1net", "\"1\"", "/linux/sysctl/~1proc~1sys~1net", "is no name"),
        ("/linux/sysctl/net.ipv4.x", "\"1\\u0000\"", "/linux/sysctl/net.ipv4.x", "contains a NUL character"),
        ("/linux/namespaces/2", "", "/linux/sysctl/kernel.msgmax", "sysctl \"kernel.msgmax\" is not allowed in the hosts ipc namespace"),
        ("/linux/namespaces/2", "", "/linux/sysctl/fs.mqueue.msg_max", "is not allowed in the hosts ipc namespace"),
        ("/linux/namespaces/1", "", "/linux/sysctl/net.ipv4.ip_forward", "not allowed in host network namespace"),
        ("/linux/namespaces/3", "", "/linux/sysctl/kernel.domainname", "not in a separate kernel namespace"),
        ("/linux/namespaces/5", "", "/linux/sysctl/user.max_user_namespaces", "setting ucounts without a user namespace not allowed"),
    ]);
}

#[test]
#[rustfmt::skip]
fn linux() {
    judge(&[
        ("/linux/rootfsPropagation", "\"foo\"", "/linux/rootfsPropagation", "rootfsPropagation=foo is not supported"),
        ("/linux/rootfsPropagation", "\"SHARED\"", "/linux/rootfsPropagation", "rootfsPropagation=SHARED is not supported"),
        ("/linux/rootfsPropagation", "1", "/linux/rootfsPropagation", "expected a string"),
        ("/linux/cgroupsPath", "1", "/linux/cgroupsPath", "expected path string"),
        ("/linux/cgroupsPath", "\"/a\\u0000\"", "/linux/cgroupsPath", "contains a NUL character"),
        ("/linux/maskedPaths", "\"/proc/kcore\"", "/linux/maskedPaths", "expected a sequence"),
        ("/linux/maskedPaths/0", "\"proc/kcore\"", "/linux/maskedPaths/0", "\"proc/kcore\" is not an absolute path"),
        ("/linux/maskedPaths/0", "\"\"", "/linux/maskedPaths/0", "\"\" is not an absolute path"),
        ("/linux/maskedPaths/0", "null", "/linux/maskedPaths/0", "expected a string"),
        ("/linux/maskedPaths/0", "\"/proc/\\u0000\"", "/linux/maskedPaths/0", "contains a NUL character"),
        ("/linux/readonlyPaths", "{}", "/linux/readonlyPaths", "expected a sequence"),
        ("/linux/readonlyPaths/-", "\"sys\"", "/linux/readonlyPaths/1", "\"sys\" is not an absolute path"),
        ("/linux/readonlyPaths/-", "3", "/linux/readonlyPaths/1", "expected a string"),
        ("/linux/mountLabel", "false", "/linux/mountLabel", "expected a string"),
        ("/linux/devices", "{}", "/linux/devices", "expected a sequence"),
        ("/linux/devices/0/path", "\"dev/fuse\"", "/linux/devices/0/path", "must be an absolute path"),
        ("/linux/devices/0/path", "", "/linux/devices/0/path", "must be an absolute path"),
        ("/linux/devices/0/path", "\"/dev/\\u0000\"", "/linux/devices/0/path", "contains a NUL character"),
        ("/linux/devices/0/type", "", "/linux/devices/0/type", "invalid device type \"\""),
        ("/linux/devices/0/type", "\"x\"", "/linux/devices/0/type", "invalid device type \"x\""),
        ("/linux/devices/0/type", "\"\"", "/linux/devices/0/type", "invalid device type \"\""),
        ("/linux/devices/0/type", "\"a\"", "/linux/devices/0/type", "invalid device type \"a\""),
        ("/linux/devices/0/major", "-1", "/linux/devices/0/major", "-1 is not between 0 and 4095"),
        ("/linux/devices/0/major", "4096", "/linux/devices/0/major", "4096 is not between 0 and 4095"),
        ("/linux/devices/0/minor", "1048576", "/linux/devices/0/minor", "1048576 is not between 0 and 1048575"),
        ("/linux/devices/0/minor", "\"3\"", "/linux/devices/0/minor", "expected i64"),
        ("/linux/devices/0/fileMode", "-1", "/linux/devices/0/fileMode", "expected u32"),
        ("/linux/devices/0/fileMode", "65536", "/linux/devices/0/fileMode", "has bits that no file mode has"),
        ("/linux/devices/0/uid", "-1", "/linux/devices/0/uid", "expected u32"),
        ("/linux/devices/0/gid", "\"disk\"", "/linux/devices/0/gid", "expected u32"),
        ("/linux/netDevices", "[]", "/linux/netDevices", "expected a map"),
        ("/linux/netDevices/eth0", "\"eth1\"", "/linux/netDevices/eth0", "expected struct LinuxNetDevice"),
        ("/linux/netDevices/eth0/name", "23", "/linux/netDevices/eth0/name", "expected a string"),
        ("/linux/netDevices/eth0/name", "\"a/b\"", "/linux/netDevices/eth0/name", "invalid network device name \"a/b\""),
        ("/linux/netDevices/eth0/name", "\"..\"", "/linux/netDevices/eth0/name", "invalid network device name \"..\""),
        ("/linux/netDevices/eth0/name", "\"a b\"", "/linux/netDevices/eth0/name", "invalid network device name \"a b\""),
        ("/linux/netDevices/eth0/name", "\"eth0:1\"", "/linux/netDevices/eth0/name", "invalid network device name \"eth0:1\""),
        ("/linux/netDevices/eth0/name", "\"sixteen_letters_\"", "/linux/netDevices/eth0/name", "invalid network device name"),
        ("/linux/netDevices/eth0/name", "\"veth0\"", "/linux/netDevices/veth0", "would be named \"veth0\" inside, too"),
        ("/linux/netDevices/", "{}", "/linux/netDevices/", "invalid network device name \"\""),
        ("/linux/netDevices/.", "{}", "/linux/netDevices/.", "invalid network device name \".\""),
        ("/linux/netDevices/a~1b", "{}", "/linux/netDevices/a~1b", "invalid network device name \"a/b\""),
        ("/linux/intelRdt", "\"x\"", "/linux/intelRdt", "expected struct LinuxIntelRdt"),
        ("/linux/intelRdt/closID", "\".\"", "/linux/intelRdt/closID", "invalid intelRdt.ClosID \".\""),
        ("/linux/intelRdt/closID", "\"..\"", "/linux/intelRdt/closID", "invalid intelRdt.ClosID \"..\""),
        ("/linux/intelRdt/closID", "\"a/b\"", "/linux/intelRdt/closID", "invalid intelRdt.ClosID \"a/b\""),
        ("/linux/intelRdt/closID", "\"../x\"", "/linux/intelRdt/closID", "invalid intelRdt.ClosID \"../x\""),
        ("/linux/intelRdt/memBwSchema", "\"L3:0=f\"", "/linux/intelRdt/memBwSchema", "is no line that starts with \"MB:\""),
        ("/linux/intelRdt/memBwSchema", "\"MB:0=5\\nL3:0=1\"", "/linux/intelRdt/memBwSchema", "is no line that starts"),
        ("/linux/intelRdt/l3CacheSchema", "1", "/linux/intelRdt/l3CacheSchema", "expected a string"),
        ("/linux/intelRdt/schemata", "\"L3\"", "/linux/intelRdt/schemata", "expected a sequence"),
        ("/linux/intelRdt/schemata/0", "\"L3:0=f\\n\"", "/linux/intelRdt/schemata/0", "must be one line"),
        ("/linux/intelRdt/enableMonitoring", "\"yes\"", "/linux/intelRdt/enableMonitoring", "expected a boolean"),
        ("/linux/memoryPolicy", "\"x\"", "/linux/memoryPolicy", "expected struct LinuxMemoryPolicy"),
        ("/linux/memoryPolicy", "{}", "/linux/memoryPolicy/mode", "invalid memory policy mode \"\""),
        ("/linux/memoryPolicy/mode", "\"MPOL_X\"", "/linux/memoryPolicy/mode", "invalid memory policy mode \"MPOL_X\""),
        ("/linux/memoryPolicy/mode", "\"MPOL_DEFAULT\"", "/linux/memoryPolicy/nodes", "memory policy mode requires 0 nodes but got 1"),
        ("/linux/memoryPolicy/mode", "\"MPOL_LOCAL\"", "/linux/memoryPolicy/nodes", "memory policy mode requires 0 nodes but got 1"),
        ("/linux/memoryPolicy/nodes", "", "/linux/memoryPolicy/nodes", "memory policy mode requires at least one node but got 0"),
        ("/linux/memoryPolicy/nodes", "\"\"", "/linux/memoryPolicy/nodes", "requires at least one node but got 0"),
        ("/linux/memoryPolicy/nodes", "\"a\"", "/linux/memoryPolicy/nodes", "invalid memory policy nodes \"a\": \"a\" is not a number"),
        ("/linux/memoryPolicy/nodes", "\"4-1\"", "/linux/memoryPolicy/nodes", "invalid memory policy nodes \"4-1\": invalid range: 4-1"),
        ("/linux/memoryPolicy/nodes", "\"70000\"", "/linux/memoryPolicy/nodes", "values larger than 65536 are not supported"),
        ("/linux/memoryPolicy/flags/0", "\"MPOL_F_X\"", "/linux/memoryPolicy/flags/0", "invalid memory policy flag \"MPOL_F_X\""),
        ("/linux/memoryPolicy/flags/-", "\"MPOL_F_RELATIVE_NODES\"", "/linux/memoryPolicy/flags", "exclude each other"),
        ("/linux/personality", "{}", "/linux/personality/domain", "invalid personality domain \"\""),
        ("/linux/personality/domain", "\"BSD\"", "/linux/personality/domain", "invalid personality domain BSD"),
        ("/linux/personality/domain", "\"\"", "/linux/personality/domain", "invalid personality domain "),
        ("/linux/personality/flags", "\"x\"", "/linux/personality/flags", "expected a sequence"),
    ]);
}

#[test]
#[rustfmt::skip]
fn seccomp_words() {
    judge(&[
        ("/linux/seccomp", "\"unconfined\"", "/linux/seccomp", "expected struct LinuxSeccomp"),
        ("/linux/seccomp/defaultAction", "", "/linux/seccomp/defaultAction", "string \"\" is not a valid action for seccomp"),
        ("/linux/seccomp/defaultAction", "\"SCMP_ACT_X\"", "/linux/seccomp/defaultAction", "string SCMP_ACT_X is not a valid action for seccomp"),
        ("/linux/seccomp/defaultErrnoRet", "-1", "/linux/seccomp/defaultErrnoRet", "expected u32"),
        ("/linux/seccomp/architectures/0", "\"SCMP_ARCH_X\"", "/linux/seccomp/architectures/0", "string SCMP_ARCH_X is not a valid arch for seccomp"),
        ("/linux/seccomp/flags/0", "\"SECCOMP_FILTER_FLAG_X\"", "/linux/seccomp/flags/0", "seccomp flag \"SECCOMP_FILTER_FLAG_X\" is not known"),
        ("/linux/seccomp/listenerPath", "1", "/linux/seccomp/listenerPath", "expected path string"),
        ("/linux/seccomp/syscalls", "{}", "/linux/seccomp/syscalls", "expected a sequence"),
        ("/linux/seccomp/syscalls/0/action", "\"ALLOW\"", "/linux/seccomp/syscalls/0/action", "string ALLOW is not a valid action for seccomp"),
        ("/linux/seccomp/syscalls/0/action", "", "/linux/seccomp/syscalls/0/action", "string \"\" is not a valid action for seccomp"),
        ("/linux/seccomp/syscalls/0/names", "\"read\"", "/linux/seccomp/syscalls/0/names", "expected a sequence"),
        ("/linux/seccomp/syscalls/0/errnoRet", "\"EPERM\"", "/linux/seccomp/syscalls/0/errnoRet", "expected u32"),
        ("/linux/seccomp/syscalls/0/args/0/op", "\"EQ\"", "/linux/seccomp/syscalls/0/args/0/op", "string EQ is not a valid operator for seccomp"),
        ("/linux/seccomp/syscalls/0/args/0/op", "", "/linux/seccomp/syscalls/0/args/0/op", "string \"\" is not a valid operator for seccomp"),
        ("/linux/seccomp/syscalls/0/args/0/value", "-1", "/linux/seccomp/syscalls/0/args/0/value", "expected u64"),
        ("/linux/seccomp/syscalls/0/args/0/index", "-1", "/linux/seccomp/syscalls/0/args/0/index", "expected usize"),
    ]);
}

#[test]
#[rustfmt::skip]
fn resources() {
    const DEVICES: &str = "/linux/resources/devices";
    judge(&[
        ("/linux/resources", "[]", "/linux/resources", "invalid type: sequence, expected struct LinuxResources"),
        (DEVICES, "{}", DEVICES, "expected a sequence"),
        ("/linux/resources/devices/0/access", "", "/linux/resources/devices/0/access", "device access at 0 field cannot be empty"),
        ("/linux/resources/devices/1/access", "\"\"", "/linux/resources/devices/1/access", "device access at 1 field cannot be empty"),
        ("/linux/resources/devices/1/access", "\"xyz\"", "/linux/resources/devices/1/access", "\"xyz\" has none of the letters r, w and m"),
        ("/linux/resources/devices/1/type", "\"x\"", "/linux/resources/devices/1/type", "invalid cgroup device type \"x\""),
        ("/linux/resources/devices/1/type", "\"p\"", "/linux/resources/devices/1/type", "invalid cgroup device type \"p\""),
        ("/linux/resources/devices/1/type", "\"u\"", "/linux/resources/devices/1/type", "invalid cgroup device type \"u\""),
        ("/linux/resources/devices/1/major", "-2", "/linux/resources/devices/1/major", "is no device number"),
        ("/linux/resources/devices/1/minor", "4294967296", "/linux/resources/devices/1/minor", "is no device number"),
        ("/linux/resources/devices/1/minor", "\"*\"", "/linux/resources/devices/1/minor", "expected i64"),
        ("/linux/resources/devices/1/allow", "\"true\"", "/linux/resources/devices/1/allow", "expected a boolean"),
        ("/linux/resources/memory", "1", "/linux/resources/memory", "expected struct LinuxMemory"),
        ("/linux/resources/memory/limit", "\"64m\"", "/linux/resources/memory/limit", "expected i64"),
        ("/linux/resources/memory/limit", "9223372036854775808", "/linux/resources/memory/limit", "expected i64"),
        ("/linux/resources/memory/limit", "1.5", "/linux/resources/memory/limit", "expected i64"),
        ("/linux/resources/memory/limit", "-2", "/linux/resources/memory/limit", "or -1 for no limit"),
        ("/linux/resources/memory/reservation", "-5", "/linux/resources/memory/reservation", "or -1 for no limit"),
        ("/linux/resources/memory/swap", "-7", "/linux/resources/memory/swap", "or -1 for no limit"),
        ("/linux/resources/memory/swap", "67108863", "/linux/resources/memory/swap", "memory+swap limit should be >= memory limit"),
        ("/linux/resources/memory/swappiness", "101", "/linux/resources/memory/swappiness", "invalid memory swappiness value: 101 (valid range is 0-100)"),
        ("/linux/resources/memory/swappiness", "-1", "/linux/resources/memory/swappiness", "expected u64"),
        ("/linux/resources/memory/disableOOMKiller", "0", "/linux/resources/memory/disableOOMKiller", "expected a boolean"),
        ("/linux/resources/memory/useHierarchy", "\"\"", "/linux/resources/memory/useHierarchy", "expected a boolean"),
        ("/linux/resources/memory/checkBeforeUpdate", "1", "/linux/resources/memory/checkBeforeUpdate", "expected a boolean"),
        ("/linux/resources/cpu", "2", "/linux/resources/cpu", "expected struct LinuxCpu"),
        ("/linux/resources/cpu/shares", "-1", "/linux/resources/cpu/shares", "expected u64"),
        ("/linux/resources/cpu/quota", "\"half\"", "/linux/resources/cpu/quota", "expected i64"),
        ("/linux/resources/cpu/period", "999", "/linux/resources/cpu/period", "must lie between 1000 and 1000000 microseconds"),
        ("/linux/resources/cpu/period", "1000001", "/linux/resources/cpu/period", "must lie between 1000 and 1000000"),
        ("/linux/resources/cpu/burst", "-1", "/linux/resources/cpu/burst", "expected u64"),
        ("/linux/resources/cpu/realtimeRuntime", "\"x\"", "/linux/resources/cpu/realtimeRuntime", "expected i64"),
        ("/linux/resources/cpu/realtimePeriod", "-1", "/linux/resources/cpu/realtimePeriod", "expected u64"),
        ("/linux/resources/cpu/cpus", "0", "/linux/resources/cpu/cpus", "expected a string"),
        ("/linux/resources/cpu/cpus", "\"two\"", "/linux/resources/cpu/cpus", "\"two\" is not a number"),
        ("/linux/resources/cpu/cpus", "\"5-2\"", "/linux/resources/cpu/cpus", "invalid range: 5-2"),
        ("/linux/resources/cpu/mems", "\"0,x\"", "/linux/resources/cpu/mems", "\"x\" is not a number"),
        ("/linux/resources/cpu/idle", "2", "/linux/resources/cpu/idle", "must be 0 or 1"),
        ("/linux/resources/cpu/idle", "-1", "/linux/resources/cpu/idle", "must be 0 or 1"),
        ("/linux/resources/pids", "100", "/linux/resources/pids", "expected struct LinuxPids"),
        ("/linux/resources/pids/limit", "\"max\"", "/linux/resources/pids/limit", "expected i64"),
        ("/linux/resources/pids/limit", "1.0", "/linux/resources/pids/limit", "expected i64"),
        ("/linux/resources/blockIO", "1", "/linux/resources/blockIO", "expected struct LinuxBlockIo"),
        ("/linux/resources/blockIO/weight", "1001", "/linux/resources/blockIO/weight", "must not be greater than 1000"),
        ("/linux/resources/blockIO/weight", "65536", "/linux/resources/blockIO/weight", "expected u16"),
        ("/linux/resources/blockIO/leafWeight", "2000", "/linux/resources/blockIO/leafWeight", "must not be greater than 1000"),
        ("/linux/resources/blockIO/weightDevice/0/weight", "1001", "/linux/resources/blockIO/weightDevice/0/weight", "not be greater than 1000"),
        ("/linux/resources/blockIO/weightDevice/0/major", "-1", "/linux/resources/blockIO/weightDevice/0/major", "-1 is no device number"),
        ("/linux/resources/blockIO/weightDevice/0/minor", "4294967296", "/linux/resources/blockIO/weightDevice/0/minor", "is no device number"),
        ("/linux/resources/blockIO/throttleReadBpsDevice", "{}", "/linux/resources/blockIO/throttleReadBpsDevice", "expected a sequence"),
        ("/linux/resources/blockIO/throttleReadBpsDevice/0/rate", "-1", "/linux/resources/blockIO/throttleReadBpsDevice/0/rate", "expected u64"),
        ("/linux/resources/blockIO/throttleWriteBpsDevice/0/major", "-8", "/linux/resources/blockIO/throttleWriteBpsDevice/0/major", "is no device number"),
        ("/linux/resources/blockIO/throttleReadIOPSDevice/0/minor", "-8", "/linux/resources/blockIO/throttleReadIOPSDevice/0/minor", "is no device number"),
        ("/linux/resources/blockIO/throttleWriteIOPSDevice/0/rate", "\"1\"", "/linux/resources/blockIO/throttleWriteIOPSDevice/0/rate", "expected u64"),
        ("/linux/resources/hugepageLimits", "{}", "/linux/resources/hugepageLimits", "expected a sequence"),
        ("/linux/resources/hugepageLimits/0/pageSize", "\"64kB\"", "/linux/resources/hugepageLimits/0/pageSize", "\"64kB\" is no page size"),
        ("/linux/resources/hugepageLimits/0/pageSize", "\"02MB\"", "/linux/resources/hugepageLimits/0/pageSize", "is no page size"),
        ("/linux/resources/hugepageLimits/0/pageSize", "\"MB\"", "/linux/resources/hugepageLimits/0/pageSize", "is no page size"),
        ("/linux/resources/hugepageLimits/0/pageSize", "\"../2MB\"", "/linux/resources/hugepageLimits/0/pageSize", "is no page size"),
        ("/linux/resources/hugepageLimits/0/pageSize", "", "/linux/resources/hugepageLimits/0/pageSize", "\"\" is no page size"),
        ("/linux/resources/hugepageLimits/0/limit", "-1", "/linux/resources/hugepageLimits/0/limit", "must not be negative"),
        ("/linux/resources/hugepageLimits/0/limit", "\"1\"", "/linux/resources/hugepageLimits/0/limit", "expected i64"),
        ("/linux/resources/network", "\"x\"", "/linux/resources/network", "expected struct LinuxNetwork"),
        ("/linux/resources/network/classID", "-1", "/linux/resources/network/classID", "expected u32"),
        ("/linux/resources/network/classID", "\"0x100001\"", "/linux/resources/network/classID", "expected u32"),
        ("/linux/resources/network/priorities/0/name", "\"a b\"", "/linux/resources/network/priorities/0/name", "invalid network device name \"a b\""),
        ("/linux/resources/network/priorities/0/name", "", "/linux/resources/network/priorities/0/name", "invalid network device name \"\""),
        ("/linux/resources/network/priorities/0/priority", "-1", "/linux/resources/network/priorities/0/priority", "expected u32"),
        ("/linux/resources/rdma", "[]", "/linux/resources/rdma", "expected a map"),
        ("/linux/resources/rdma/mlx5_1/hcaHandles", "\"not a uint32\"", "/linux/resources/rdma/mlx5_1/hcaHandles", "expected u32"),
        ("/linux/resources/rdma/mlx5_1/hcaObjects", "4294967296", "/linux/resources/rdma/mlx5_1/hcaObjects", "expected u32"),
        ("/linux/resources/rdma/", "{}", "/linux/resources/rdma/", "\"\" is no device name"),
        ("/linux/resources/rdma/a b", "{}", "/linux/resources/rdma/a b", "\"a b\" is no device name"),
        ("/linux/resources/unified", "[]", "/linux/resources/unified", "expected a map"),
        ("/linux/resources/unified/memory.high", "1000", "/linux/resources/unified/memory.high", "expected a string"),
        ("/linux/resources/unified/memory", "\"1\"", "/linux/resources/unified/memory", "unified resource \"memory\" must be in the form CONTROLLER.PARAMETER"),
        ("/linux/resources/unified/..", "\"1\"", "/linux/resources/unified/..", "must be in the form CONTROLLER.PARAMETER"),
        ("/linux/resources/unified/", "\"1\"", "/linux/resources/unified/", "must be in the form CONTROLLER.PARAMETER"),
        ("/linux/resources/unified/..~1cgroup.kill", "\"1\"", "/linux/resources/unified/..~1cgroup.kill", "must be a file name (no slashes)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn hooks() {
    judge(&[
        ("/hooks/prestart", "{}", "/hooks/prestart", "expected a sequence"),
        ("/hooks/prestart/0/path", "", "/hooks/prestart/0/path", "must be an absolute path"),
        ("/hooks/prestart/0/path", "\"\"", "/hooks/prestart/0/path", "must be an absolute path"),
        ("/hooks/prestart/0/path", "\"bin/hook\"", "/hooks/prestart/0/path", "must be an absolute path"),
        ("/hooks/prestart/0/path", "\"/\\u0000\"", "/hooks/prestart/0/path", "contains a NUL character"),
        ("/hooks/prestart/0/timeout", "0", "/hooks/prestart/0/timeout", "must be greater than 0"),
        ("/hooks/prestart/0/timeout", "-1", "/hooks/prestart/0/timeout", "must be greater than 0"),
        ("/hooks/prestart/0/timeout", "\"1s\"", "/hooks/prestart/0/timeout", "expected i64"),
        ("/hooks/prestart/0/args", "\"-x\"", "/hooks/prestart/0/args", "expected a sequence"),
        ("/hooks/prestart/0/args/0", "1", "/hooks/prestart/0/args/0", "expected a string"),
        ("/hooks/prestart/0/env", "{}", "/hooks/prestart/0/env", "expected a sequence"),
        ("/hooks/prestart/0/env/0", "\"A=\\u0000\"", "/hooks/prestart/0/env/0", "contains a NUL character"),
        ("/hooks/createRuntime/0", "\"/bin/hook\"", "/hooks/createRuntime/0", "expected struct Hook"),
        ("/hooks/createRuntime/0/path", "\"hook\"", "/hooks/createRuntime/0/path", "must be an absolute path"),
        ("/hooks/createContainer/0/path", "\"hook\"", "/hooks/createContainer/0/path", "must be an absolute path"),
        ("/hooks/startContainer/0/path", "\"hook\"", "/hooks/startContainer/0/path", "must be an absolute path"),
        ("/hooks/poststart/0/path", "\"hook\"", "/hooks/poststart/0/path", "must be an absolute path"),
        ("/hooks/poststop/0/path", "\"hook\"", "/hooks/poststop/0/path", "must be an absolute path"),
        ("/hooks/poststop/0/timeout", "0", "/hooks/poststop/0/timeout", "must be greater than 0"),
    ]);
}

/// Names that differ from the specification's in case, prefix or spaces are no names: where one is taken for another, a
/// configuration says something else than what its reader sees.
#[test]
fn words_are_exact() {
    let words = [
        ("/process/rlimits/0/type", "RLIMIT_NOFILE"),
        ("/process/scheduler/policy", "SCHED_FIFO"),
        ("/process/scheduler/flags/0", "SCHED_RESET_ON_FORK"),
        ("/process/ioPriority/class", "IOPRIO_CLASS_BE"),
        ("/linux/namespaces/0/type", "network"),
        ("/linux/devices/0/type", "c"),
        ("/linux/resources/devices/0/type", "c"),
        ("/linux/rootfsPropagation", "private"),
        ("/linux/personality/domain", "LINUX"),
        ("/linux/memoryPolicy/mode", "MPOL_BIND"),
        ("/linux/memoryPolicy/flags/0", "MPOL_F_STATIC_NODES"),
        ("/linux/seccomp/defaultAction", "SCMP_ACT_ALLOW"),
        ("/linux/seccomp/architectures/0", "SCMP_ARCH_X86_64"),
        ("/linux/seccomp/flags/0", "SECCOMP_FILTER_FLAG_LOG"),
        ("/linux/seccomp/syscalls/0/action", "SCMP_ACT_ALLOW"),
        ("/linux/seccomp/syscalls/0/args/0/op", "SCMP_CMP_EQ"),
    ];
    for (pointer, word) in words {
        let short = word.rsplit('_').next().unwrap();
        let others = [
            word.to_uppercase(),
            word.to_lowercase(),
            format!(" {word}"),
            format!("{word} "),
            short.to_owned(),
        ];
        for other in others.iter().filter(|other| *other != word) {
            let mut document = full();
            set(&mut document, pointer, &Value::from(other.as_str()).to_string());
            let text = refusal(&document).unwrap_or_else(|| "it was accepted".to_owned());
            assert!(text.contains(&format!("{pointer} (line ")), "{pointer} = {other:?}: {text}");
        }
    }
}
