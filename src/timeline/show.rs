//! Shows a timeline as text, or as trace events, which Chrome, Perfetto and speedscope can open.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Mark, Process};

/// A mark, with the time at which its phase ends.
struct Span<'a> {
    mark: &'a Mark,
    end: u64,
}

/// Returns the spans of `marks`, which must be in the order of time. A phase lasts until the next one of its
/// process. The last phase of a cloned process, which then executes another program or waits, ends when any
/// process begins another phase.
fn spans(marks: &[Mark], end: u64) -> impl Iterator<Item = Span<'_>> {
    marks.iter().enumerate().map(move |(index, mark)| {
        let later = &marks[index + 1..];
        let own = later.iter().find(|other| other.process == mark.process);
        let next = own.or_else(|| later.first().filter(|_| mark.process != Process::Runtime));
        Span { mark, end: next.map_or(end, |next| next.time) }
    })
}

fn name(mark: &Mark) -> String {
    match mark.phase {
        super::Phase::Mount if mark.index as usize == super::NO_INDEX => String::from("mount NOTIFY_SOCKET"),
        super::Phase::Mount => format!("mount /mounts/{}", mark.index),
        other => other.words().to_owned(),
    }
}

/// Returns a line for each phase: process, begin and duration in microseconds, and name. `end` is the time at
/// which the command ended.
pub(crate) fn table(marks: &[Mark], end: u64) -> String {
    let first = marks.first().map_or(end, |mark| mark.time);
    let mut text = format!("{:10} {:>10} {:>10}  phase\n", "process", "begin us", "us");
    for Span { mark, end } in spans(marks, end) {
        let (begin, length) = ((mark.time - first) / 1000, (end - mark.time) / 1000);
        let _ = writeln!(text, "{:10} {begin:>10} {length:>10}  {}", mark.process.name(), name(mark));
    }
    text
}

/// Returns a line for each phase that has ended and is not among the first `already` of its process, in the
/// order of their ends; and how many of each process have lines now. Without `end`, a phase has ended if
/// another of its process has begun.
pub(super) fn ended(
    marks: &[Mark],
    already: [usize; Process::ALL.len()],
    end: Option<u64>,
) -> (Vec<String>, [usize; Process::ALL.len()]) {
    let mut counts = [0; Process::ALL.len()];
    let mut logged = already;
    let mut found = Vec::new();
    for (index, Span { mark, end: until }) in spans(marks, end.unwrap_or(0)).enumerate() {
        let process = mark.process as usize;
        counts[process] += 1;
        let has_next = marks[index + 1..].iter().any(|other| other.process == mark.process);
        if counts[process] > already[process] && (has_next || end.is_some()) {
            logged[process] = counts[process];
            let who = if mark.process == Process::Runtime { "" } else { mark.process.name() };
            let colon = if who.is_empty() { "" } else { ": " };
            let line = format!("{who}{colon}{}: {} us", name(mark), until.saturating_sub(mark.time) / 1000);
            found.push((until, line));
        }
    }
    found.sort_by_key(|(until, _)| *until);
    (found.into_iter().map(|(_, line)| line).collect(), logged)
}

/// Returns the timeline in the JSON object format of the Trace Event Format: a complete event (`ph` X) for
/// each phase, times in microseconds, and a thread for each process of the command.
pub(crate) fn trace_events(marks: &[Mark], end: u64) -> Value {
    let process = std::process::id();
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
    let thread_name = |one: &Process| json!({"ph": "M", "name": "thread_name", "pid": process, "tid": *one as u32, "args": {"name": one.name()}});
    let event = |Span { mark, end }: Span<'_>| {
        json!({
            "ph": "X", "name": name(mark), "cat": mark.process.name(), "pid": process, "tid": mark.process as u32,
            "ts": microseconds(mark.time), "dur": microseconds(end - mark.time),
        })
    };
    let events: Vec<Value> =
        Process::ALL.iter().map(thread_name).chain(spans(marks, end).map(event)).collect();
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

#[cfg(test)]
mod tests {
    use super::super::Phase;
    use super::*;

    fn mark(process: Process, phase: Phase, time: u64) -> Mark {
        Mark { process, phase, index: 0, time }
    }

    #[test]
    fn a_phase_lasts_until_the_next_one_of_its_process() {
        let marks = [
            mark(Process::Runtime, Phase::Clone, 1000),
            mark(Process::Init, Phase::EnterNamespaces, 2000),
            mark(Process::Runtime, Phase::ServeInit, 3000),
            mark(Process::Init, Phase::Execute, 5000),
            mark(Process::Runtime, Phase::WaitForProgram, 6000),
        ];
        let lengths: Vec<u64> = spans(&marks, 9000).map(|span| span.end - span.mark.time).collect();
        assert_eq!(lengths, [2000, 3000, 3000, 1000, 3000]);
        let (early, logged) = ended(&marks[..3], [0; 3], None);
        assert_eq!(early, ["clone the process: 2 us"]);
        let (late, _) = ended(&marks, logged, Some(9000));
        let expected = [
            "container: enter cgroup and namespaces: 3 us",
            "serve the process until it is ready: 3 us",
            "container: execute the program: 1 us",
            "the program runs: 3 us",
        ];
        assert_eq!(late, expected);
        let text = table(&marks, 9000);
        assert_eq!(text.lines().nth(1).unwrap(), "tare                0          2  clone the process");
    }
}
