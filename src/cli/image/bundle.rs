//! `tare-image mount|umount|remove BUNDLE` and `tare-image prune`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command as Process;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::arguments::{self, flag};
use crate::cli::stdout;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::bundle;
use crate::image::namespace::{MARK, Place};
use crate::image::store::prune;

pub fn mount_command() -> Command {
    Command::new("mount")
        .about("Mount an overlay bundle again, after a reboot say")
        .arg(arguments::bundle())
        .arg(
        Arg::new("command")
            .value_name("COMMAND")
            .num_args(1..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true)
            .value_parser(value_parser!(OsString))
            .help(
                "run this where the bundle is mounted; a user without privileges sees the mount nowhere else",
            ),
    )
}

pub fn mount(matches: &ArgMatches) -> Result<i32> {
    let path = arguments::path(matches, "bundle").unwrap_or_default();
    let mut words = matches.get_many::<OsString>("command").into_iter().flatten();
    let command = words.next();
    if command.is_none() && matches!(Place::find(), Place::Own(_)) {
        let error =
            fail!(Kind::Usage, "a mount of a user without privileges goes with the command it is for");
        return Err(error.with_hint(format!("say which: tare-image mount {} COMMAND", path.display())));
    }
    bundle::mount(&path)?;
    let Some(program) = command else { return Ok(0) };
    let status = Process::new(program).args(words).env_remove(MARK).status();
    let status = status.with_context(|| format!("run {}", program.display()))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

pub fn umount_command() -> Command {
    Command::new("umount").about("Unmount an overlay bundle; its changes stay").arg(arguments::bundle())
}

pub fn umount(matches: &ArgMatches) -> Result<()> {
    bundle::umount(&arguments::path(matches, "bundle").unwrap_or_default())
}

pub fn remove_command() -> Command {
    Command::new("remove").about("Unmount and remove a bundle").arg(arguments::bundle())
}

pub fn remove(matches: &ArgMatches) -> Result<()> {
    bundle::remove(&arguments::path(matches, "bundle").unwrap_or_default())
}

pub fn prune_command() -> Command {
    Command::new("prune")
        .about("Remove from the store the layers that no bundle and no pulled image uses")
        .arg(flag("all", "pulled images too, as far as no bundle uses their layers"))
        .arg(flag("dry-run", "tell them only"))
        .arg(arguments::store())
}

pub fn run_prune(matches: &ArgMatches) -> Result<()> {
    let pruned = prune(&arguments::store_of(matches)?, matches.get_flag("all"), matches.get_flag("dry-run"))?;
    stdout::write(&pruned.layers.iter().map(|layer| format!("{layer}\n")).collect::<String>())
}
