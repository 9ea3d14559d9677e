//! Prints the result of `seccomp explain`: the answer, then each rule that names the call, and whether it
//! decides.

use nix::errno::Errno;
use serde::Serialize;

use super::indented;
use crate::errno_words;
use crate::error::Result;
use crate::lifecycle::verbs::seccomp::Explained;
use crate::plan::seccomp::Decision;
use crate::plan::seccomp::action::Action;

#[derive(Serialize)]
struct Document<'a> {
    call: &'a Option<String>,
    number: Option<u32>,
    arch: &'static str,
    arguments: &'a [u64],
    /// One action if it is certain, several if unknown arguments decide, none if there is no such call.
    actions: Vec<String>,
    rules: Vec<Rule<'a>>,
}

#[derive(Serialize)]
struct Rule<'a> {
    pointer: &'a str,
    action: Option<String>,
    decides: bool,
    why: &'a str,
}

pub(crate) fn print(explained: &Explained<'_>, json: bool) -> Result<String> {
    match json {
        true => Ok(indented(&document(explained), "  ")? + "\n"),
        false => Ok(text(explained)),
    }
}

fn document<'a>(explained: &'a Explained<'a>) -> Document<'a> {
    let Explained { options, explanation, .. } = explained;
    let rule = |fate: &'a crate::plan::seccomp::Fate| Rule {
        pointer: pointer(explained, &fate.pointer),
        action: fate.action.map(|action| action.to_string()),
        decides: fate.decides,
        why: &fate.why,
    };
    Document {
        call: &explanation.call.name,
        number: explanation.call.number,
        arch: explanation.arch,
        arguments: &options.arguments,
        actions: actions(&explanation.decision).iter().map(ToString::to_string).collect(),
        rules: explanation.fates.iter().map(rule).collect(),
    }
}

fn actions(decision: &Decision) -> &[Action] {
    match decision {
        Decision::Action(action) => std::slice::from_ref(action),
        Decision::OneOf(actions) => actions,
        Decision::NoCall => &[],
    }
}

/// The pointer in the document that was given.
fn pointer<'a>(explained: &Explained<'_>, pointer: &'a str) -> &'a str {
    let within = pointer.strip_prefix("/linux/seccomp").filter(|_| explained.alone);
    within.map_or(pointer, |within| if within.is_empty() { "/" } else { within })
}

fn text(explained: &Explained<'_>) -> String {
    let explanation = &explained.explanation;
    let mut text = format!("{}: ", question(explained));
    text.push_str(&match &explanation.decision {
        Decision::Action(action) => format!("{action}: {}", meaning(*action)),
        Decision::OneOf(actions) => {
            let words: Vec<_> = actions.iter().map(ToString::to_string).collect();
            format!("{}: its arguments decide", words.join(" or "))
        }
        Decision::NoCall => String::from("no program can make this call"),
    });
    text.push('\n');
    for fate in &explanation.fates {
        let action = fate.action.map_or_else(String::new, |action| format!(" {action}"));
        text.push_str(&format!("  {}{action}: {}\n", pointer(explained, &fate.pointer), fate.why));
    }
    text
}

/// `clone(0x10000000, …) on SCMP_ARCH_X86_64, call 56`.
fn question(explained: &Explained<'_>) -> String {
    let call = &explained.explanation.call;
    let arguments: Vec<_> =
        explained.options.arguments.iter().map(|argument| format!("{argument:#x}")).collect();
    let mut text = call.name.clone().unwrap_or_else(|| String::from("an unknown system call"));
    if !arguments.is_empty() {
        text.push_str(&format!("({})", arguments.join(", ")));
    }
    text.push_str(&format!(" on {}", explained.explanation.arch));
    match (call.number, call.through) {
        (Some(number), Some(way)) => {
            text.push_str(&format!(", through call {number} with argument 0 {way:#x}"));
        }
        (Some(number), None) => text.push_str(&format!(", call {number}")),
        (None, _) => {}
    }
    text
}

fn meaning(action: Action) -> String {
    match action.to_string().split('(').next().unwrap_or_default() {
        "ALLOW" => String::from("the kernel executes the call"),
        "LOG" => String::from("the kernel logs the call and executes it"),
        "ERRNO" => match action.0 & 0xffff {
            0 => String::from("the call does nothing and succeeds"),
            number => {
                let errno = Errno::from_raw(number.cast_signed());
                format!("the call fails with {errno:?}, {}", errno_words::words(errno))
            }
        },
        "KILL_THREAD" => String::from("the thread ends with SIGSYS"),
        "KILL_PROCESS" => String::from("the process ends with SIGSYS"),
        "TRAP" => String::from("the process gets SIGSYS, which it may handle"),
        "TRACE" => String::from("a tracer decides; without one, the call fails with ENOSYS"),
        "NOTIFY" => String::from("the listener decides"),
        _ => String::from("unknown"),
    }
}
