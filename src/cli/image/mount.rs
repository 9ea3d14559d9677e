//! `tare-image mount BUNDLE [COMMAND…]` and `tare-image umount BUNDLE`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command as Process;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::arguments;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::bundle::{self, Bundle};
use crate::image::userns::namespace::{Privilege, STAGE_VARIABLE};

pub(super) fn command() -> Command {
    Command::new("mount")
        .about("Mount an overlay bundle again, for example after a reboot")
        .arg(arguments::bundle())
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString))
                .help("run this command in the mount namespace of the bundle; the mount of an unprivileged user is visible nowhere else"),
        )
}

/// Mounts the bundle and runs COMMAND, if there is one. Returns the exit code: that of COMMAND, or 128 plus
/// the number of the signal that ended it, as shells do.
pub(super) fn run(matches: &ArgMatches) -> Result<i32> {
    let path = arguments::path(matches, "bundle").unwrap_or_default();
    let mut words = matches.get_many::<OsString>("command").into_iter().flatten();
    let command = words.next();
    if command.is_none() && matches!(Privilege::detect(), Privilege::OwnNamespace(_)) {
        let error =
            fail!(Kind::Usage, "the mount of an unprivileged user lasts only as long as a command runs");
        return Err(error.with_hint(format!("say which: tare-image mount {} COMMAND", path.display())));
    }
    bundle::mount(&Bundle::open_to_change(&path)?)?;
    let Some(program) = command else { return Ok(0) };
    let status = Process::new(program).args(words).env_remove(STAGE_VARIABLE).status();
    let status = status.with_context(|| format!("run {}", program.display()))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

pub(super) fn umount_command() -> Command {
    Command::new("umount").about("Unmount an overlay bundle; its changes stay").arg(arguments::bundle())
}

pub(super) fn run_umount(matches: &ArgMatches) -> Result<()> {
    bundle::umount(&Bundle::open_to_change(&arguments::path(matches, "bundle").unwrap_or_default())?)
}
