//! `tare-image mount|umount|remove BUNDLE` and `tare-image prune`.

use clap::{ArgMatches, Command};

use super::arguments::{self, flag};
use crate::cli::out;
use crate::error::Result;
use crate::image::bundle;
use crate::image::store::prune;

pub fn mount_command() -> Command {
    Command::new("mount").about("Mount an overlay bundle again, after a reboot say").arg(arguments::bundle())
}

pub fn mount(matches: &ArgMatches) -> Result<()> {
    bundle::mount(&arguments::path(matches, "bundle").unwrap_or_default())
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
    out::write(&pruned.layers.iter().map(|layer| format!("{layer}\n")).collect::<String>())
}
