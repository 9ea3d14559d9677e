//! `tare-image convert`.

use clap::{ArgMatches, Command};

use super::{arguments, progress};
use crate::cli::stdout;
use crate::error::{Context, Result, printable::one_line};
use crate::image::convert::index_store;
use crate::image::store::convert::{Converted, unpack_layers};
use crate::log;

pub(super) fn command() -> Command {
    Command::new("convert")
        .about("Give the layers of a store the other form: with an index that the kernel mounts, or unpacked to directories")
        .arg(arguments::layer_form().help(
            "erofs reads the layers again from where their images came; files unpacks those that have an index [default: erofs]",
        ))
        .arg(arguments::store())
        .args(arguments::limits())
        .args(arguments::access())
        .args(progress::arguments())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let mut report = |name: &str, converted: Converted| match converted {
        Converted::Done => drop(stdout::write(&format!("{}\n", one_line(name)))),
        Converted::Kept(reason) => log::warn(format_args!("layer {name} stays as it is: {reason}")),
    };
    let limits = arguments::limits_of(matches);
    for store in arguments::existing_stores_of(matches)? {
        let converting = || format!("convert {}", store.path().display());
        match arguments::text(matches, "overlay") {
            Some("files") => unpack_layers(&store, &limits, &mut report).with_context(converting)?,
            _ => {
                let access = arguments::access_of(matches)?;
                index_store(&store, &access, &limits, &progress::progress_of(matches), &mut report)
                    .with_context(converting)?;
            }
        }
    }
    Ok(())
}
