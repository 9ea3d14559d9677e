//! Runs a container from an image, without a daemon: the image if it is not here, a bundle with a directory
//! for changes, a network, and the process, by the runtime `tare`.
//!
//! The process that runs the container owns it: it holds a lock on the container's directory in the store
//! (`record`), waits, and cleans up. If it is killed, the next command finds the directory unlocked and does
//! the same (`finish`).

pub(crate) mod background;
mod config;
pub(crate) mod environment;
mod files;
pub(crate) mod finish;
pub(crate) mod listing;
pub(crate) mod log_file;
pub(crate) mod log_reader;
pub(crate) mod network;
mod options;
pub(crate) mod record;
pub(crate) mod resources;
pub(crate) mod runtime;
mod supervise;
pub(crate) mod volumes;

use std::process::Stdio;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_child_subreaper;
use serde_json::Value;

use crate::error::{Context, Kind, Result};
use crate::image::bundle::{self, Bundle, UnpackOptions};
use crate::image::document::manifest::{self, Image};
use crate::image::parallel::both;
use crate::image::source::ImageSource;
use crate::image::store::Store;
use crate::sys::signal::{Signals, keep_exit_statuses};
use crate::{fail, log};

use network::ports::{self, Reserved};
use network::random;
use network::user_mode::{self, UserNetwork};
use network::{Attachment, Network};
pub(crate) use options::RunOptions;
use record::{Owned, Record, now};

/// The image that a container is made of.
pub(crate) struct From<'a> {
    pub(crate) source: &'a dyn ImageSource,
    pub(crate) image: &'a Image,
    /// The reference that it was found by.
    pub(crate) reference: &'a str,
    /// How it becomes a bundle.
    pub(crate) unpack: UnpackOptions,
}

/// Runs a container, and returns its exit code. Calls `tell` when one in the background has begun.
pub(crate) fn run(
    store: &Store,
    from: From<'_>,
    options: &RunOptions,
    tell: &dyn Fn() -> Result<()>,
) -> Result<i32> {
    keep_exit_statuses().context("reset the action of SIGCHLD")?;
    set_child_subreaper(true).context("become child subreaper")?;
    // From here on no signal ends this process halfway.
    let mut signals = Signals::divert().context("divert signals")?;
    // Held until the end.
    let (attachment, _reserved) = prepare_network(options)?;
    let owned = Owned::create(store, &options.id)?;
    let mut record = None;
    let ended = run_owned(&owned, from, options, attachment, &mut record, &mut signals, tell);
    match (ended, &mut record) {
        (Ok(End::Exit(code)), Some(record)) => finish::finish(&owned, record, Some(code)).map(|()| code),
        (ended, record) => {
            let discarded = finish::discard(&owned, record.as_ref());
            discarded.unwrap_or_else(|error| log::warn(format_args!("{error}")));
            ended.map(|end| match end {
                End::Exit(code) | End::Refused(code) => code,
            })
        }
    }
}

/// How a container has ended.
enum End {
    /// With this exit code.
    Exit(i32),
    /// It has not begun; the exit code says why.
    Refused(i32),
}

/// Makes the container, starts it and waits for its end. `record` is its record as soon as there is one.
fn run_owned(
    owned: &Owned,
    from: From<'_>,
    options: &RunOptions,
    attachment: Option<Attachment>,
    record: &mut Option<Record>,
    signals: &mut Signals,
    tell: &dyn Fn() -> Result<()>,
) -> Result<End> {
    let record = record.insert(new_record(from.reference, options, attachment));
    if record.attachment.is_some() {
        // Before anything is made outside of the directory.
        owned.write(record)?;
    }
    // The plugins take longer than the bundle, and neither needs the other.
    let (connected, unpacked) =
        both(|| connect(owned, record).context("connect the container"), move || unpack(owned, &from));
    unpacked?;
    connected?;
    let mut config = read_config(owned)?;
    record.command = command_of(&config);
    owned.write(record)?;
    let addresses = record.attachment.as_ref().map(Attachment::addresses).unwrap_or_default();
    // It ends when this function does, and the container has ended.
    let carrier = connect_user(owned, options).context("connect the container")?;
    let has_namespace = record.attachment.is_some() || carrier.is_some();
    let namespace = has_namespace.then(|| owned.namespace());
    files::write(&owned.dir, &options.network, &config::hostname(options), &addresses)?;
    config::apply(options, &owned.path_of(""), namespace.as_deref(), &mut config);
    write_config(owned, &config)?;
    match (options.detach, options.tty) {
        (true, _) => run_in_background(owned, record, options, signals, tell),
        (false, true) => run_at_terminal(owned, record, signals),
        (false, false) => run_in_foreground(owned, record, options, signals),
    }
}

/// Makes the bundle, in a thread of its own: only that one has no umask then, and what is started meanwhile has the
/// caller's.
fn unpack(owned: &Owned, from: &From<'_>) -> Result<()> {
    unshare(CloneFlags::CLONE_FS).context("have a umask apart")?;
    bundle::unpack(from.source, from.reference, from.image, &owned.bundle(), &from.unpack)?;
    match from.unpack.overrides.rootless {
        // A user's mount lasts as long as this process, so `unpack` leaves it to those who need it.
        Some(_) => bundle::mount(&Bundle::open_to_change(&owned.bundle())?),
        None => Ok(()),
    }
}

/// Starts the program that carries a user's network.
fn connect_user(owned: &Owned, options: &RunOptions) -> Result<Option<UserNetwork>> {
    let Network::User(program) = options.network else { return Ok(None) };
    // Free ports are chosen, and taken ones told, before the program takes them.
    let mut ports = options.ports.clone();
    drop(ports::reserve(&mut ports)?);
    user_mode::connect(program, &owned.dir, &owned.namespace(), &ports).map(Some)
}

/// Has the plugins connect the container, and keeps what each has done before the next one begins.
fn connect(owned: &Owned, record: &mut Record) -> Result<()> {
    let Some(attachment) = &record.attachment else { return Ok(()) };
    for number in 0..attachment.begin(&owned.dir)? {
        if let Some(attachment) = &mut record.attachment {
            attachment.add(number, &owned.dir, &owned.namespace())?;
        }
        owned.write(record)?;
    }
    Ok(())
}

/// Finds what `--network` names, and reserves the ports, as long as the second value lives.
fn prepare_network(options: &RunOptions) -> Result<(Option<Attachment>, Reserved)> {
    match &options.network {
        Network::Plugins(name) => {
            // Containers of other stores may have the same name.
            let container = format!("{}-{:08x}", options.id, random::number());
            let (attachment, reserved) = Attachment::prepare(name, container, &options.ports)?;
            Ok((Some(attachment), reserved))
        }
        _ => Ok((None, Reserved::default())),
    }
}

/// The words of the command that a container runs.
fn command_of(config: &Value) -> Vec<String> {
    let words = config["process"]["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

fn new_record(reference: &str, options: &RunOptions, attachment: Option<Attachment>) -> Record {
    Record {
        id: options.id.clone(),
        image: reference.into(),
        // Until the bundle is made.
        command: Vec::new(),
        created: now(),
        runtime: options.runtime.clone(),
        remove: options.remove,
        detached: options.detach,
        attachment,
        exit: None,
    }
}

const CONFIG: &str = "config.json";

fn read_config(owned: &Owned) -> Result<Value> {
    let dir = owned.dir.below("bundle")?;
    let text = dir.read_small(CONFIG, 64 << 20)?.unwrap_or_default();
    manifest::parse_json(&text).with_context(|| dir.path_of(CONFIG).display().to_string())
}

fn write_config(owned: &Owned, config: &Value) -> Result<()> {
    let text = serde_json::to_vec(config).map_err(|e| fail!(Kind::Spec, "{CONFIG}: {e}"))?;
    owned.dir.below("bundle")?.replace(CONFIG, &text, 0o644)
}

/// Runs the container with the standard streams of this process. What the runtime refuses it says itself.
fn run_in_foreground(
    owned: &Owned,
    record: &Record,
    options: &RunOptions,
    signals: &mut Signals,
) -> Result<End> {
    let stdin = if options.interactive { Stdio::inherit() } else { Stdio::null() };
    let command = record.runtime.run_command(&owned.target());
    match record.runtime.start(&owned.target(), command, [stdin, Stdio::inherit(), Stdio::inherit()])? {
        Ok(process) => {
            let code = supervise::wait(&process, signals, None, false)?;
            tell_of_memory(owned, record, code);
            Ok(End::Exit(code))
        }
        Err(refusal) => Ok(End::Refused(refusal.code)),
    }
}

/// Says whether what SIGKILL has ended lacked memory. At a terminal the runtime says it.
fn tell_of_memory(owned: &Owned, record: &Record, code: i32) {
    if code != 128 + libc::SIGKILL {
        return;
    }
    if let Some(reason) = record.runtime.out_of_memory(&owned.target()) {
        log::plain(format_args!("tare-image: exit status {code} is SIGKILL: {reason}"));
    }
}

/// Runs the container at the terminal of this process, which the runtime serves.
fn run_at_terminal(owned: &Owned, record: &Record, signals: &mut Signals) -> Result<End> {
    let mut command = record.runtime.run_command(&owned.target());
    command.arg("--").arg(&owned.name);
    let code = supervise::run_with_terminal(&mut command, signals)?;
    let refusal = if code == 0 { None } else { runtime::said(&owned.target()) };
    Ok(refusal.map_or(End::Exit(code), |said| End::Refused(runtime::exit_code(&said))))
}

fn run_in_background(
    owned: &Owned,
    record: &Record,
    options: &RunOptions,
    signals: &mut Signals,
    tell: &dyn Fn() -> Result<()>,
) -> Result<End> {
    match background::start(owned, record, options.interactive, options.tty)? {
        Ok(started) => {
            tell()?;
            background::leave_caller()?;
            supervise::wait(&started.process, signals, Some(started.output), false).map(End::Exit)
        }
        Err(refusal) => {
            log::plain(format_args!("tare-image: {}", refusal.message));
            Ok(End::Refused(refusal.code))
        }
    }
}
