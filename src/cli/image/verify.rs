//! `tare-image verify SOURCE`.

use clap::{ArgMatches, Command};

use super::arguments;
use super::inspect::open_source;
use crate::cli::stdout;
use crate::error::{Kind, Result, printable::one_line};
use crate::image::source;
use crate::image::verify::verify;
use crate::{fail, log};

pub(super) fn command() -> Command {
    Command::new("verify")
        .about("Check every digest, size, document and layer of an image, and report all faults")
        .arg(arguments::source())
        .args(arguments::limits())
        .args(arguments::access())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
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
        bad => Err(fail!(Kind::Spec, "{reference}: {bad} faults ({good} good)")),
    }
}
