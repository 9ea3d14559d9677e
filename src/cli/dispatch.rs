//! From a command to its verb, and from what the verb returns to standard output and an exit code.

use super::command::{Command, Format};
use super::{help, out, print};
use crate::error::Result;
use crate::lifecycle::options::{Events, Globals};
use crate::lifecycle::{
    checkpoint, create, delete, events, exec, features, kill, list, mounts, pause, plan, ps, restore, resume,
    run, spec, start, state, update,
};

/// Does it; the exit code of a command that did not fail.
pub fn dispatch(globals: &Globals, command: &Command) -> Result<i32> {
    match command {
        Command::Checkpoint(options) => done(checkpoint::checkpoint(globals, options)),
        Command::Create(options) => done(create::create(globals, options)),
        Command::Delete(options) => done(delete::delete(globals, options)),
        Command::Events(options) => done(watched(globals, options)),
        Command::Exec(options) => exec::exec(globals, options),
        Command::Features => say(print::features::json(&features::features())),
        Command::Help(None) => say(Ok(help::program())),
        Command::Help(Some(verb)) => say(Ok(help::verb(verb))),
        Command::Kill(options) => done(kill::kill(globals, options)),
        Command::List { format, quiet } => say(listing(globals, *format, *quiet)),
        Command::Mounts(options) => done(mounts::mounts(globals, options)),
        Command::Pause(id) => done(pause::pause(globals, id)),
        Command::Plan(bundle) => say(plan::plan(bundle, globals).map(|plan| plan.to_string())),
        Command::Ps { id, format, arguments } => say(processes(globals, id, *format, arguments)),
        Command::Restore(options) => restore::restore(globals, options),
        Command::Resume(id) => done(resume::resume(globals, id)),
        Command::Run(options) => run::run(globals, options),
        Command::Spec(options) => done(spec::spec(options)),
        Command::Start(id) => done(start::start(globals, id)),
        Command::State(id) => say(state::state(globals, id).and_then(|state| print::state::json(&state))),
        Command::Update(options) => done(update::update(globals, options)),
        Command::Version => say(Ok(help::version())),
    }
}

fn done(result: Result<()>) -> Result<i32> {
    result.map(|()| 0)
}

fn say(text: Result<String>) -> Result<i32> {
    text.and_then(|text| out::write(&text)).map(|()| 0)
}

fn watched(globals: &Globals, options: &Events) -> Result<()> {
    events::events(globals, options, &mut |event| match event {
        events::Event::Sample(sample) if options.openmetrics => {
            out::write(&print::openmetrics::text(&options.id, sample))
        }
        event => out::write(&print::events::json(&options.id, event)?),
    })
}

fn listing(globals: &Globals, format: Format, quiet: bool) -> Result<String> {
    let listed = list::list(globals)?;
    if quiet {
        return Ok(print::list::ids(&listed));
    }
    // Without the file, owners are numbers.
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match format {
        Format::Table => Ok(print::list::table(&listed, &passwd)),
        Format::Json => print::list::json(listed, &passwd),
    }
}

fn processes(globals: &Globals, id: &str, format: Format, arguments: &[String]) -> Result<String> {
    let pids = ps::ps(globals, id)?;
    match format {
        Format::Table => print::ps::table(&pids, arguments),
        Format::Json => print::ps::json(&pids),
    }
}
