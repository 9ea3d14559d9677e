//! `tare-image remove BUNDLE`.

use clap::{ArgMatches, Command};

use super::arguments;
use crate::error::Result;
use crate::image::bundle::{self, Bundle};

pub(super) fn command() -> Command {
    Command::new("remove").about("Unmount and remove a bundle").arg(arguments::bundle())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    bundle::remove(&Bundle::open_to_change(&arguments::path(matches, "bundle").unwrap_or_default())?)
}
