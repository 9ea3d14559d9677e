//! Calls the verb of a command, and turns its result into standard output and an exit code.

use std::path::Path;
use std::time::SystemTime;

use super::command::{Command, Format};
use super::{help, print, stdout};
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::lifecycle::options::{Events, Globals, Plan, Record};
use crate::lifecycle::verbs::{
    check, checkpoint, create, debug, delete, events, exec, features, inspect, kill, list, mounts, pause,
    plan, ps, restore, resume, run, seccomp, spec, start, state, update,
};

/// Runs the command and returns its exit code.
pub(super) fn dispatch(globals: &Globals, command: &Command) -> Result<i32> {
    match command {
        Command::Check { bundle, json, strict } => out_of_line(|| checked(bundle, globals, *json, *strict)),
        Command::Checkpoint(id, options) => {
            exit_zero(out_of_line(|| checkpoint::checkpoint(globals, id, options)))
        }
        Command::Create(id, options) => exit_zero(out_of_line(|| create::create(globals, id, options))),
        Command::Debug(id, options) => out_of_line(|| debug::debug(globals, id, options)),
        Command::Delete(targets, options) => {
            exit_zero(out_of_line(|| delete::delete(globals, targets, options)))
        }
        Command::Events(id, options) => exit_zero(out_of_line(|| watched(globals, id, options))),
        Command::Exec(id, options) => out_of_line(|| exec::exec(globals, id, options)),
        Command::Features { facts } => print_text(out_of_line(|| feature_document(globals, *facts))),
        Command::Help(None) => print_text(Ok(help::program())),
        Command::Help(Some(verb)) => print_text(Ok(help::verb(verb))),
        Command::Inspect { id, format } => print_text(out_of_line(|| inspected(globals, id, *format))),
        Command::Kill(targets, options) => exit_zero(out_of_line(|| kill::kill(globals, targets, options))),
        Command::List { format, quiet } => print_text(out_of_line(|| listing(globals, *format, *quiet))),
        Command::Mounts(id, options) => exit_zero(out_of_line(|| mounts::mounts(globals, id, options))),
        Command::Pause(id) => exit_zero(out_of_line(|| pause::pause(globals, id))),
        Command::Plan { options, json, other } => {
            print_text(out_of_line(|| planned(globals, options, *json, other.as_deref())))
        }
        Command::Ps { id, format, arguments } => {
            print_text(out_of_line(|| processes(globals, id, *format, arguments)))
        }
        Command::Restore(id, options) => out_of_line(|| restore::restore(globals, id, options)),
        Command::Resume(id) => exit_zero(out_of_line(|| resume::resume(globals, id))),
        Command::Run(id, options) => out_of_line(|| run::run(globals, id, options)),
        Command::SeccompExplain { options, json } => print_text(out_of_line(|| {
            seccomp::explain(options).and_then(|why| print::seccomp::print(&why, *json))
        })),
        Command::SeccompRecord(options) => out_of_line(|| recorded(globals, options)),
        Command::Spec(options) => exit_zero(out_of_line(|| spec::spec(options))),
        Command::Start(id) => exit_zero(out_of_line(|| start::start(globals, id))),
        Command::State(id) => print_text(out_of_line(|| state_document(globals, id))),
        Command::Top(options) => out_of_line(|| super::top::top(globals, options)),
        Command::Update(id, options) => exit_zero(out_of_line(|| update::update(globals, id, options))),
        Command::Version => print_text(Ok(help::version())),
    }
}

/// Not inlined: otherwise dispatch is one function of 60 KiB with four pages of stack, and each verb uses
/// only a part.
#[inline(never)]
fn out_of_line<T>(verb: impl FnOnce() -> T) -> T {
    verb()
}

fn exit_zero(result: Result<()>) -> Result<i32> {
    result.map(|()| 0)
}

fn print_text(text: Result<String>) -> Result<i32> {
    text.and_then(|text| stdout::write(&text)).map(|()| 0)
}

fn checked(bundle: &Path, globals: &Globals, json: bool, strict: bool) -> Result<i32> {
    let report = check::check(bundle, globals)?;
    let text = match json {
        true => print::check::json(&report)?,
        false if stdout::is_terminal() => print::check::pictures(&report),
        false => print::check::lines(&report),
    };
    stdout::write(&text)?;
    Ok(match (report.has(check::Severity::Fault), report.has(check::Severity::Loss)) {
        (true, _) => 1,
        (false, true) if strict => 2,
        _ => 0,
    })
}

fn recorded(globals: &Globals, options: &Record) -> Result<i32> {
    let recorded = seccomp::record::record(globals, options)?;
    recorded.text.map_or(Ok(()), |text| stdout::write(&text)).map(|()| recorded.status)
}

fn watched(globals: &Globals, id: &ContainerId, options: &Events) -> Result<()> {
    events::events(globals, id, options, &mut |event| match event {
        events::Event::Sample(sample) if options.openmetrics => {
            stdout::write(&print::openmetrics::text(id, sample))
        }
        event => stdout::write(&print::events::json(id, event)?),
    })
}

fn inspected(globals: &Globals, id: &ContainerId, format: Format) -> Result<String> {
    let seen = inspect::inspect(globals, id)?;
    match format {
        Format::Table => Ok(print::inspect::text(&seen)),
        Format::Json => print::inspect::json(&seen),
    }
}

fn listing(globals: &Globals, format: Format, quiet: bool) -> Result<String> {
    let listed = list::list(globals)?;
    if quiet {
        return Ok(print::list::ids(&listed));
    }
    // If the file is missing, owners are shown as numbers.
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match format {
        Format::Table => Ok(match stdout::columns() {
            Some(columns) => print::list::fitted(&listed, &passwd, columns, SystemTime::now()),
            None => print::list::table(&listed, &passwd),
        }),
        Format::Json => print::list::json(listed, &passwd),
    }
}

fn feature_document(globals: &Globals, facts: bool) -> Result<String> {
    match facts {
        true => print::features::json(&features::host_facts(globals)?),
        false => print::features::json(&features::features()),
    }
}

fn planned(globals: &Globals, options: &Plan, json: bool, other: Option<&Path>) -> Result<String> {
    let first = plan::plan(options, globals)?;
    let second = other.map(|other| plan::plan_like(other, &first, options, globals)).transpose()?;
    match (second, json) {
        (None, false) => Ok(first.to_string()),
        (None, true) => print::plan::json(&first),
        (Some(second), false) => Ok(print::plan::difference(&first, &second)),
        (Some(second), true) => print::plan::difference_json(&first, &second),
    }
}

/// On a terminal, the prompt begins on a line of its own; elsewhere the document ends as runc's does.
fn state_document(globals: &Globals, id: &ContainerId) -> Result<String> {
    let text = print::state::json(&state::state(globals, id)?)?;
    Ok(if stdout::is_terminal() { text + "\n" } else { text })
}

fn processes(globals: &Globals, id: &ContainerId, format: Format, arguments: &[String]) -> Result<String> {
    let pids = ps::ps(globals, id)?;
    match format {
        Format::Table => print::ps::table(&pids, arguments),
        Format::Json => print::ps::json(&pids),
    }
}
