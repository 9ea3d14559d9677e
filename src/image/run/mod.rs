//! Runs a container from an image, without a daemon: the image if it is not here, a bundle with a directory
//! for changes, a network, and the process, by the runtime `tare`.
//!
//! The process that runs the container owns it: it holds a lock on the container's directory in the store
//! (`record`), waits, and cleans up. If it is killed, the next command finds the directory unlocked and does
//! the same (`finish`).

mod config;
pub(crate) mod finish;
pub(crate) mod network;
mod options;
pub(crate) mod record;
pub(crate) mod runtime;
mod supervise;

use std::process::Stdio;

use nix::sys::prctl::set_child_subreaper;
use serde_json::Value;

use crate::error::{Context, Kind, Result};
use crate::image::bundle::{self, UnpackOptions};
use crate::image::document::manifest::{self, Image};
use crate::image::source::ImageSource;
use crate::image::store::Store;
use crate::sys::signal::{Signals, keep_exit_statuses};
use crate::{fail, log};

pub(crate) use options::RunOptions;
use record::{Owned, Record, now};

/// Runs a container of `image` in the foreground, and returns its exit code.
pub(crate) fn run(
    store: &Store,
    source: &dyn ImageSource,
    origin: &str,
    image: &Image,
    options: &RunOptions,
    unpack: &UnpackOptions,
) -> Result<i32> {
    keep_exit_statuses().context("reset the action of SIGCHLD")?;
    // From here on no signal ends this process halfway.
    let mut signals = Signals::divert().context("divert signals")?;
    let owned = Owned::create(store, &options.id)?;
    let code = prepare(&owned, source, origin, image, options, unpack)
        .and_then(|record| start(&owned, &record, options, &mut signals).map(|code| (record, code)));
    match code {
        Ok((mut record, code)) => finish::finish(owned, &mut record, Some(code)).map(|()| code),
        Err(error) => {
            finish::discard(owned).unwrap_or_else(|error| log::warn(format_args!("{error}")));
            Err(error)
        }
    }
}

/// Makes the bundle and the record.
fn prepare(
    owned: &Owned,
    source: &dyn ImageSource,
    origin: &str,
    image: &Image,
    options: &RunOptions,
    unpack: &UnpackOptions,
) -> Result<Record> {
    bundle::unpack(source, origin, image, &owned.bundle(), unpack)?;
    let config = configure(owned, options)?;
    let words = config["process"]["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let record = Record {
        id: options.id.clone(),
        image: origin.into(),
        command: words.map(str::to_owned).collect(),
        created: now(),
        runtime: options.runtime.clone(),
        remove: options.remove,
        detached: false,
        network: options.network.clone(),
        exit: None,
    };
    owned.write(&record).map(|()| record)
}

/// Changes the bundle's config.json by what was asked for, and returns it.
fn configure(owned: &Owned, options: &RunOptions) -> Result<Value> {
    const CONFIG: &str = "config.json";
    let dir = owned.dir.below("bundle")?;
    let text = dir.read_small(CONFIG, 16 << 20)?.unwrap_or_default();
    let mut config: Value =
        manifest::parse_json(&text).with_context(|| dir.path_of(CONFIG).display().to_string())?;
    config::apply(options, options.id.as_str(), &mut config);
    let text = serde_json::to_vec(&config).map_err(|e| fail!(Kind::Spec, "{CONFIG}: {e}"))?;
    dir.replace(CONFIG, &text, 0o644)?;
    Ok(config)
}

/// Starts the container, waits for its end, and returns its exit code. What the runtime refuses it has said
/// on standard error.
fn start(owned: &Owned, record: &Record, options: &RunOptions, signals: &mut Signals) -> Result<i32> {
    let mut command = record.runtime.run_command(&owned.target());
    if options.tty {
        command.arg("--").arg(&owned.name);
        let code = supervise::run_with_terminal(&mut command, signals)?;
        return Ok(if code == 0 {
            0
        } else {
            runtime::said(&owned.target()).map_or(code, |said| runtime::exit_code(&said))
        });
    }
    set_child_subreaper(true).context("become child subreaper")?;
    let stdin = if options.interactive { Stdio::inherit() } else { Stdio::null() };
    match record.runtime.start(&owned.target(), command, [stdin, Stdio::inherit(), Stdio::inherit()])? {
        Ok(process) => supervise::wait(&process, signals, false),
        Err(refusal) => Ok(refusal.code),
    }
}
