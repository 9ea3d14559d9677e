//! Both command lines as complete `clap::Command`s, from which man pages and completions are made
//! (integration/manuals). The programs do not call this: they build only the current verb.

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command};

use super::command_table::{GLOBAL, VERBS};
use super::flag::{Flag, ValueType, Verb};
use super::flag_values::argument;
use super::{help, image};

/// Returns the command line of tare: its global flags, and a subcommand for each verb.
pub fn tare() -> Command {
    Command::new("tare")
        .about(help::ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(arguments(GLOBAL))
        .subcommands(VERBS.iter().map(verb))
}

/// Returns the command line of tare-image.
pub fn tare_image() -> Command {
    image::command()
}

fn verb(verb: &Verb) -> Command {
    Command::new(verb.name)
        .about(verb.about)
        .visible_aliases(verb.aliases.iter().copied())
        .disable_help_flag(true)
        .args(arguments(verb.flags))
}

fn arguments(flags: &'static [Flag]) -> impl Iterator<Item = Arg> {
    let help = Arg::new("help").long("help").short('h').help("show help").action(ArgAction::SetTrue);
    flags.iter().map(with_hint).chain([help])
}

/// Returns the argument with a hint that tells a shell how to complete its value.
fn with_hint(flag: &'static Flag) -> Arg {
    let names_a_directory = ["root", "bundle", "image-path", "work-path", "parent-path"].contains(&flag.long);
    let hint = match flag.takes {
        ValueType::Path if names_a_directory => ValueHint::DirPath,
        ValueType::Path => ValueHint::AnyPath,
        _ => ValueHint::Unknown,
    };
    argument(flag).value_hint(hint)
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_command_lines_are_consistent() {
        super::tare().debug_assert();
        super::tare_image().debug_assert();
    }
}
