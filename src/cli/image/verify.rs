//! `tare-image verify SOURCE`.

use clap::{ArgMatches, Command};

use super::arguments;
use super::inspect::open_source;
use crate::cli::stdout;
use crate::error::printable::{counted, one_line};
use crate::error::{Kind, Result};
use crate::image::source;
use crate::image::store::verify::{Proof, verify_layers};
use crate::image::verify::verify;
use crate::{fail, log};

pub(super) fn command() -> Command {
    Command::new("verify")
        .about("Check every digest, size, document and layer of an image, and report all faults")
        .arg(arguments::source().required(false).required_unless_present("store"))
        .arg(arguments::store().conflicts_with("source").help("check the layers of this store instead"))
        .args(arguments::limits())
        .args(arguments::access())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    if matches.contains_id("store") {
        return verify_store(matches);
    }
    let (reference, source) = open_source(matches)?;
    let tops = source.manifests()?;
    let (mut good, mut bad) = (0, 0);
    for top in source::manifests_named(&tops, &reference)? {
        verify(source.as_ref(), top, &arguments::limits_of(matches), &mut |finding| {
            let what = finding.what.clone();
            match finding.fault() {
                None => {
                    good += 1;
                    let _ = stdout::write(&format!("{}: good\n", one_line(&what)));
                }
                Some(error) => {
                    bad += 1;
                    log::plain(format_args!("{error}"));
                }
            }
        });
    }
    match bad {
        0 => Ok(()),
        bad => Err(fail!(Kind::Spec, "{reference}: {} ({good} good)", counted(bad, "fault"))),
    }
}

/// Checks the layers of a store.
fn verify_store(matches: &ArgMatches) -> Result<()> {
    let (mut good, mut bad) = (0, 0);
    for store in arguments::existing_stores_of(matches)? {
        verify_layers(&store, &mut |name, proof| {
            let words = match proof {
                Ok(Proof::Whole) => "good",
                Ok(Proof::Unpacked) => "unpacked to a directory: no digest tells its files",
                Err(error) => {
                    bad += 1;
                    return log::plain(format_args!("layer {name}: {error}"));
                }
            };
            good += 1;
            let _ = stdout::write(&format!("layer {name}: {words}\n"));
        })?;
    }
    match bad {
        0 => Ok(()),
        bad => Err(fail!(Kind::Spec, "{} ({} without)", counted(bad, "fault"), counted(good, "layer"))),
    }
}
