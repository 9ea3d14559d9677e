//! Help texts and the version, made from the command table.

use clap::Command;

use super::command_table::{GLOBAL, VERBS};
use super::flag::{Flag, Verb};
use super::flag_values::argument;
use crate::lifecycle::verbs::features::COMMIT;
use crate::spec;

pub(super) const ABOUT: &str = "Open Container Initiative runtime";

const PROGRAM: &str = "\
NAME:
   {name} - {about}

USAGE:
   {usage}

VERSION:
   {version}

COMMANDS:
{subcommands}

GLOBAL OPTIONS:
{options}
";

const VERB: &str = "\
NAME:
   {name} - {about}

USAGE:
   {usage}
";

/// Returns the help of the program.
pub(super) fn program() -> String {
    let verbs = VERBS.iter().map(|verb| Command::new(verb.name).about(verb.about));
    command(String::from("tare"), GLOBAL)
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .override_usage("tare [global options] command [command options] [arguments...]")
        .subcommands(verbs)
        .disable_help_subcommand(true)
        .help_template(PROGRAM)
        .render_help()
        .to_string()
}

/// Returns the help of one verb.
pub(super) fn verb(verb: &Verb) -> String {
    let options = if verb.flags.iter().any(|flag| !flag.hidden) { " [command options]" } else { "" };
    let template = match options {
        "" => VERB.to_owned(),
        _ => format!("{VERB}\nOPTIONS:\n{{options}}\n"),
    };
    command(format!("tare {}", verb.name), verb.flags)
        .about(verb.about)
        .override_usage(format!("tare {}{options} {}", verb.name, verb.usage).trim_end().to_owned())
        .help_template(template)
        .render_help()
        .to_string()
}

fn command(name: String, flags: &'static [Flag]) -> Command {
    let help =
        clap::Arg::new("help").long("help").short('h').help("show help").action(clap::ArgAction::SetTrue);
    Command::new("tare")
        .display_name(name)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(flags.iter().map(argument))
        .arg(help)
}

/// Returns the text of `--version`. dockerd looks for a line with `version` and one that begins with
/// `commit:`.
pub(super) fn version() -> String {
    let commit = COMMIT.map(|commit| format!("commit: {commit}\n")).unwrap_or_default();
    format!("tare version {}\n{commit}spec: {}\n", env!("CARGO_PKG_VERSION"), spec::VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_help_text_begins_with_the_name() {
        assert!(program().starts_with("NAME:\n   tare - Open Container Initiative runtime\n"));
        for verb in VERBS {
            let help = super::verb(verb);
            assert!(help.starts_with(&format!("NAME:\n   tare {} - ", verb.name)), "{help}");
        }
    }

    #[test]
    fn every_flag_that_is_not_hidden_is_in_the_help_of_its_verb() {
        for verb in VERBS {
            let help = super::verb(verb);
            for flag in verb.flags {
                assert_eq!(
                    help.contains(&format!("--{}", flag.long)),
                    !flag.hidden,
                    "{} in:\n{help}",
                    flag.long
                );
            }
        }
    }

    #[test]
    fn every_verb_is_in_the_help_of_the_program() {
        let help = program();
        for verb in VERBS {
            assert!(help.contains(verb.about), "{}", verb.name);
        }
    }
}
