//! `tare-image prune`.

use clap::{ArgMatches, Command};

use super::arguments::{self, flag};
use crate::cli::stdout;
use crate::error::{Result, printable::one_line};
use crate::image::store::prune;

pub(super) fn command() -> Command {
    Command::new("prune")
        .about("Remove from the store the layers that no bundle and no pulled image uses")
        .arg(flag("all", "also forget pulled images, so that only the layers of bundles stay"))
        .arg(flag("dry-run", "list these layers and remove nothing"))
        .arg(arguments::store())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let Some(store) = arguments::named_store_of(matches)? else { return Ok(()) };
    let pruned = prune(&store, matches.get_flag("all"), matches.get_flag("dry-run"))?;
    stdout::write(&pruned.iter().map(|layer| format!("{}\n", one_line(layer))).collect::<String>())
}
