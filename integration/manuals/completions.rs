//! The completions of shells, by clap_complete, each where its shell looks for it below share/.

use std::fs;
use std::io::Result;
use std::path::Path;

use clap::builder::ValueHint;
use clap::{Arg, Command};
use clap_complete::{Shell, generate};

/// Writes bash/NAME, zsh/_NAME and fish/NAME.fish.
pub(crate) fn write(program: &Command, directory: &Path) -> Result<()> {
    let name = program.get_name();
    let files = [
        (Shell::Bash, format!("bash/{name}")),
        (Shell::Zsh, format!("zsh/_{name}")),
        (Shell::Fish, format!("fish/{name}.fish")),
    ];
    for (shell, file) in files {
        let mut script = Vec::new();
        generate(shell, &mut with_arguments(program), name, &mut script);
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        fs::write(path, script)?;
    }
    Ok(())
}

/// tare's table says how many arguments a verb takes and not which; shells complete files for them.
fn with_arguments(program: &Command) -> Command {
    let takes_arguments = |command: &Command| {
        let verb = tare::cli::command_table::find(command.get_name());
        program.get_name() == "tare" && verb.is_some_and(|verb| verb.arity.max != Some(0))
    };
    let arguments = || Arg::new("arguments").num_args(0..).value_hint(ValueHint::AnyPath);
    program.clone().mut_subcommands(|command| match takes_arguments(&command) {
        true => command.arg(arguments()),
        false => command,
    })
}
