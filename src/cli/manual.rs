//! The command lines as complete `clap::Command`s, from which man pages and completions are made
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

/// Returns the command line of containerd-shim-tare-v2, which containerd writes. It reads it by itself (`shim::command_line`).
pub fn shim() -> Command {
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
    };
    Command::new("containerd-shim-tare-v2")
        .about("Run the containers of containerd with tare")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args([
            value("namespace", "NAME", "the namespace of containerd that the container is in"),
            value("id", "ID", "the container"),
            value("address", "PATH", "containerd's own socket; it is part of the name of the shim's"),
            value("bundle", "DIR", "for `delete`: the container's bundle; without it, the directory ID beside the working directory"),
            value("publish-binary", "FILE", "containerd's program, whose command `publish` takes events where TTRPC_ADDRESS is not set"),
            value("socket", "PATH", "the shim's socket, which the process that serves has as its descriptor 3"),
            value("debug-socket", "PATH", "taken, and not used"),
            switch("debug", "taken, and passed on"),
            switch("info", "write what the runtime is and can do, as containerd 2 asks for it; standard input has its options"),
            switch("version", "write the version").short('v'),
            Arg::new("action").value_name("start|delete").help("what to do; without it, to serve"),
        ])
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
    fn the_command_lines_are_consistent() {
        super::tare().debug_assert();
        super::tare_image().debug_assert();
        super::shim().debug_assert();
    }

    #[test]
    fn the_shim_takes_every_option_of_its_page() {
        for option in super::shim().get_opts() {
            let name = option.get_id().as_str();
            let mut words = vec![format!("-{name}").into()];
            words.extend(option.get_action().takes_values().then(|| "x".into()));
            let line = crate::shim::command_line::parse(words).expect(name);
            assert_ne!(line, crate::shim::command_line::CommandLine::default(), "{name}");
        }
    }
}
