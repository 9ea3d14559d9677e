//! `--timings` and `--trace`: how long each phase of a command takes, in the runtime and in the container's process.

use std::time::Instant;

use serde_json::Value;

use crate::support::{Bundle, timeout};

/// The complete events of one process, as begin and duration in microseconds with their names.
fn phases(trace: &Value, process: &str) -> Vec<(f64, f64, String)> {
    let events = trace["traceEvents"].as_array().unwrap().iter();
    let own = events.filter(|event| event["ph"] == "X" && event["cat"] == process);
    own.map(|event| {
        let number = |name: &str| event[name].as_f64().unwrap();
        (number("ts"), number("dur"), event["name"].as_str().unwrap().to_owned())
    })
    .collect()
}

#[test]
fn a_trace_of_run_covers_its_time_in_both_processes() {
    let Some(mut bundle) = Bundle::new() else { return };
    // So long that the start and the end of the process itself, which no phase covers, are less than a tenth.
    bundle.args(&["/bin/sleep", &timeout(2).as_secs().to_string()]);
    let begun = Instant::now();
    bundle.tare(&["--trace", "trace.json", "run", &bundle.id]).ok();
    let wall = begun.elapsed().as_secs_f64() * 1e6;
    let trace: Value = serde_json::from_str(&bundle.read("trace.json")).unwrap();
    let runtime = phases(&trace, "tare");
    let covered: f64 = runtime.iter().map(|(_, duration, _)| duration).sum();
    assert!(covered > 0.9 * wall && covered <= wall, "{covered} of {wall}: {runtime:?}");
    // One after the other, without holes.
    for pair in runtime.windows(2) {
        assert!((pair[0].0 + pair[0].1 - pair[1].0).abs() < 1.0, "{pair:?}");
    }
    let container = phases(&trace, "container");
    let clone = runtime.iter().find(|(.., name)| name == "clone the process").unwrap().0;
    let program = runtime.iter().find(|(.., name)| name == "the program runs").unwrap().0;
    let (from, to) = (container.first().unwrap().0, container.last().unwrap());
    assert!(from >= clone && to.0 + to.1 <= program + 1.0, "by one clock: {clone} {container:?} {program}");
    let names: Vec<&str> = container.iter().map(|(.., name)| name.as_str()).collect();
    for name in ["mount /mounts/0", "change the root", "execute the program"] {
        assert!(names.contains(&name), "no {name}: {names:?}");
    }
}

#[test]
fn timings_are_lines_on_standard_error() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/true"]);
    let quiet = bundle.tare(&["create", &bundle.id]).ok();
    assert_eq!(quiet.stderr, "");
    let answer = bundle.tare(&["--timings", "delete", "--force", &bundle.id]).ok();
    let phases: Vec<&str> = answer.stderr.lines().filter_map(|line| line.split("  ").last()).collect();
    assert!(phases.contains(&"end the processes") && phases.contains(&"remove the cgroup"), "{phases:?}");
    bundle.tare(&["--trace", "/nosuch/file", "list"]).fails(1, "write the trace to /nosuch/file");
}

#[test]
fn the_debug_log_says_what_was_done_and_how_long_it_took() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "0.3"]);
    let answer = bundle.tare(&["--debug", "run", &bundle.id]).ok();
    let lines: Vec<&str> = answer.stderr.lines().collect();
    let place = |text: &str| {
        let found = lines.iter().position(|line| line.contains(&format!("level=debug msg=\"{text}: ")));
        found.unwrap_or_else(|| panic!("no {text}: {lines:?}"))
    };
    let microseconds = |text: &str| -> u64 {
        let (_, rest) = lines[place(text)].split_once(&format!("{text}: ")).unwrap();
        rest.strip_suffix(" us\"").unwrap().parse().unwrap()
    };
    // In the order of their ends, in each process, and each once. The new one may be on its way before the old one notices.
    let ours = [
        "make the plan",
        "clone the process",
        "serve the process until it is ready",
        "the program runs",
        "remove the record",
    ];
    assert!(ours.map(place).is_sorted(), "{lines:?}");
    let both =
        ["make the plan", "container: mount /mounts/0", "container: change the root", "the program runs"];
    assert!(both.map(place).is_sorted(), "{lines:?}");
    assert!((250_000..3_000_000).contains(&microseconds("the program runs")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("clone the process: ")).count(), 1);
    // While it goes on, and not only at the end.
    assert!(place("clone the process") < lines.iter().position(|line| line.contains("is ready")).unwrap());
    // A failure too; and nothing without it.
    let failed = bundle.tare(&["--debug", "delete", "nobody"]);
    assert!(failed.stderr.contains("msg=\"begin: "), "{failed:?}");
    assert_eq!(bundle.tare(&["run", &bundle.id]).ok().stderr, "");
}

#[test]
fn a_failure_is_in_the_trace_too() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/nosuch"]);
    let answer = bundle.tare(&["--trace", "trace.json", "run", &bundle.id]);
    assert_ne!(answer.code, 0);
    let trace: Value = serde_json::from_str(&bundle.read("trace.json")).unwrap();
    assert!(phases(&trace, "container").iter().any(|(.., name)| name == "confine the process"), "{trace}");
}
