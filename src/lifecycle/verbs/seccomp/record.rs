//! `seccomp record`: runs a container, or a command in one that runs, and writes the smallest profile under
//! which it would have run as it did.
//!
//! The command is `run` or `exec` of this program, as a child that does everything as usual. Its filter
//! reports every call (SCMP_ACT_NOTIFY) to us, and we let each go on: nothing is decided, so that programs
//! can change the arguments meanwhile does not matter here. Processes that `exec` adds have the same filter, and
//! report to us too.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;
use nix::sys::signal::Signal;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Map, Value};

use super::recorder::{PrivateDir, Recorder};
use crate::bundle::{CONFIG, read_config};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result};
use crate::lifecycle::options::{Globals, Record};
use crate::lifecycle::{load, new_file};
use crate::plan::seccomp::record as profiles;
use crate::spec::{self, CheckedSpec};
use crate::sys::seccomp::supported_flags;
use crate::sys::signal::{self, Signals, keep_exit_statuses};
use crate::{fail, log};

/// How long a container may take to end after it was asked to, before it is killed.
const TIME_TO_END: Duration = Duration::from_secs(10);

/// What the verb has done.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// The exit status of the container's process.
    pub status: i32,
    /// The profile, if it goes to standard output.
    pub text: Option<String>,
}

/// Runs the command and records it.
///
/// # Errors
/// A bundle that `run` would refuse, a container that does not run, a file that cannot be written. What the
/// command itself says comes from itself, and its exit status is ours.
pub(crate) fn record(globals: &Globals, options: &Record) -> Result<Recorded> {
    let subject = Subject::load(globals, options)?;
    let mut output = Output::create(&options.output)?;
    let private = PrivateDir::new()?;
    let socket = private.0.join("listener");
    let mut warnings = Vec::new();
    let reporting =
        profiles::reporting(subject.own_profile(), socket.clone(), supported_flags(), &mut warnings);
    warnings.iter().for_each(|warning| log::warn(format_args!("{warning}")));
    let words = subject.words(options, &reporting, &private)?;
    let mut recorder = Recorder::listen(&socket, subject.has_container_hooks())?;
    keep_exit_statuses().context("reset the action of SIGCHLD")?;
    let signals = Signals::divert().context("divert signals")?;
    let child = Command::new("/proc/self/exe").args(&options.globals).args(words).spawn();
    let child = child.context("start the command that is recorded")?;
    let profile = |recorder: &Recorder| {
        profiles::recorded(subject.own_profile(), &recorder.calls, recorder.no_new_privileges)
    };
    let mut recording = Recording { child, status: None, signals, asked_at: None, was_killed: false };
    while !recording.is_over(&recorder) {
        if recording.poll_once(&mut recorder)? && recorder.has_begun {
            // Now: whoever ends us in this way may not wait until the container has ended.
            output.write(&profile(&recorder))?;
        }
    }
    let status = recording.status.unwrap_or(128 + libc::SIGKILL);
    if !recorder.has_begun || recorder.calls.is_empty() {
        return Ok(Recorded { status, text: None });
    }
    let text = output.finish(&profile(&recorder))?;
    Ok(Recorded { status, text })
}

/// What is recorded.
struct Subject {
    spec: CheckedSpec,
    bytes: Vec<u8>,
    id: ContainerId,
    /// The bundle of a new container.
    bundle: Option<PathBuf>,
}

impl Subject {
    fn load(globals: &Globals, options: &Record) -> Result<Self> {
        let Some(bundle) = &options.bundle else { return Self::running(globals, options) };
        let bundle = load::canonical(bundle)?;
        let (spec, bytes) = read_config(&bundle)?;
        let own_name = || ContainerId::from_lossy(&bundle.file_name().unwrap_or_default().to_string_lossy());
        let id = options.id.clone().unwrap_or_else(own_name);
        if let Some(word) =
            options.before_id.iter().find(|word| is_flag(word, "config") || is_flag(word, "f"))
        {
            return Err(fail!(Kind::Usage, "seccomp record has its own configuration for run: {word}"));
        }
        Ok(Self { spec, bytes, id, bundle: Some(bundle) })
    }

    /// A process that `exec` adds.
    fn running(globals: &Globals, options: &Record) -> Result<Self> {
        let id = options.id.clone().ok_or_else(|| fail!(Kind::Usage, "seccomp record needs a container"))?;
        let container = load::container(globals, &id)?;
        if options.before_id.is_empty() && options.after_id.is_empty() {
            let bundle = container.record.bundle.display();
            return Err(fail!(
                Kind::Usage,
                "cannot record what runs in container {id} already: the kernel lets a process load a seccomp \
                 filter only for itself and what it starts"
            )
            .with_hint(format!(
                "`tare seccomp record {id} -- COMMAND` records one more command in it; \
                 `tare seccomp record -b {bundle} NEW-ID` records a new container from its start"
            )));
        }
        if let Some(word) = options.before_id.iter().find(|word| is_flag(word, "seccomp")) {
            return Err(fail!(Kind::Usage, "seccomp record has its own profile for exec: {word}"));
        }
        let bytes = container.entry.config()?;
        Ok(Self { spec: spec::parse(&bytes)?, bytes, id, bundle: None })
    }

    fn own_profile(&self) -> Option<&LinuxSeccomp> {
        self.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref())
    }

    fn has_container_hooks(&self) -> bool {
        let hooks = self.spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref());
        hooks.is_some_and(|hooks| !hooks.is_empty())
    }

    /// The words of the command, whose filter is `reporting`.
    fn words(
        &self,
        options: &Record,
        reporting: &LinuxSeccomp,
        private: &PrivateDir,
    ) -> Result<Vec<OsString>> {
        let (file, document) = match &self.bundle {
            Some(_) => (private.0.join(CONFIG), with_profile(&self.bytes, reporting)?),
            None => (private.0.join("profile.json"), json_of(reporting)?),
        };
        fs::write(&file, document.to_string()).with_context(|| format!("write {}", file.display()))?;
        let given = match &self.bundle {
            Some(bundle) => ["run", "--bundle"]
                .map(OsString::from)
                .into_iter()
                .chain([bundle.into()])
                .chain(["--config".into(), file.into()])
                .collect(),
            None => vec!["exec".into(), "--seccomp".into(), file.into()],
        };
        let words = given.into_iter().chain(options.before_id.iter().map(OsString::from));
        let words = words.chain([OsString::from(self.id.to_string())]);
        Ok(words.chain(options.after_id.iter().map(OsString::from)).collect())
    }
}

/// Whether a word is this flag of Go's grammar, with its value or without.
fn is_flag(word: &str, name: &str) -> bool {
    let bare = word.trim_start_matches('-');
    bare.len() < word.len() && bare.split('=').next() == Some(name)
}

/// Returns the configuration with this profile and no other, in whatever spelling.
fn with_profile(config: &[u8], profile: &LinuxSeccomp) -> Result<Value> {
    let broken = |error: serde_json::Error| Error::new(Kind::Spec, error.to_string());
    let mut document: Map<String, Value> = serde_json::from_slice(config).map_err(broken)?;
    let linux = document.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("linux"));
    let profile = json_of(profile)?;
    match linux {
        Some((_, Value::Object(linux))) => {
            linux.retain(|name, _| !name.eq_ignore_ascii_case("seccomp"));
            linux.insert(String::from("seccomp"), profile);
        }
        _ => {
            document.insert(String::from("linux"), serde_json::json!({ "seccomp": profile }));
        }
    }
    Ok(document.into())
}

fn json_of(profile: &LinuxSeccomp) -> Result<Value> {
    serde_json::to_value(profile).map_err(|error| Error::new(Kind::Spec, error.to_string()))
}

/// The command that is recorded, and what has been asked of it.
struct Recording {
    child: Child,
    status: Option<i32>,
    signals: Signals,
    /// When somebody first asked us to end.
    asked_at: Option<Instant>,
    was_killed: bool,
}

impl Recording {
    /// Whether nothing can be recorded any more.
    fn is_over(&self, recorder: &Recorder) -> bool {
        let is_late = |at: Instant| at.elapsed() > TIME_TO_END + Duration::from_secs(5);
        self.status.is_some() && recorder.is_idle() || self.asked_at.is_some_and(is_late)
    }

    /// Waits for calls and signals. Returns whether somebody asks us to end.
    fn poll_once(&mut self, recorder: &mut Recorder) -> Result<bool> {
        let timeout = match self.asked_at {
            Some(_) => PollTimeout::from(200_u8),
            None => PollTimeout::NONE,
        };
        let mut is_asked = false;
        if recorder.poll_once(self.signals.as_fd(), timeout)? {
            while let Some((signal, by_kernel)) = self.signals.read_with_origin().context("read signals")? {
                is_asked |= self.handle(signal, by_kernel, recorder);
            }
        }
        if self.asked_at.is_some_and(|at| at.elapsed() > TIME_TO_END) && !self.was_killed {
            self.was_killed = true;
            recorder.signal(libc::SIGKILL);
        }
        Ok(is_asked)
    }

    /// Passes a signal on. What a terminal sends, the command has got too.
    fn handle(&mut self, signal: i32, by_kernel: bool, recorder: &Recorder) -> bool {
        if signal == libc::SIGCHLD {
            let ended = signal::wait(self.child.id().cast_signed(), false);
            self.status = self.status.or_else(|| ended.ok().flatten().map(|(_, status)| status));
            return false;
        }
        let asks_to_end = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM].contains(&signal);
        if asks_to_end && self.asked_at.replace(self.asked_at.unwrap_or_else(Instant::now)).is_some() {
            recorder.signal(libc::SIGKILL);
        } else if !by_kernel {
            self.forward(signal, recorder);
        }
        asks_to_end
    }

    fn forward(&self, signal: i32, recorder: &Recorder) {
        match (self.status, Signal::try_from(signal)) {
            // Not reaped yet, so the number is still its own.
            (None, Ok(signal)) => {
                let _ =
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), signal);
            }
            _ => recorder.signal(signal),
        }
    }
}

/// The file for the profile. It is written beside its place and then moved there: nobody sees half of it, and
/// what was there stays if nothing is recorded.
struct Output {
    /// `None` for standard output.
    file: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// Makes the file before anything runs: a recording that cannot be kept is not begun.
    fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { file: None });
        }
        let doing = || format!("write the profile {}", path.display());
        match new_file::check(path) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Err(Error::new(Kind::Usage, error.to_string()).context(doing()));
            }
            other => other.with_context(doing)?,
        }
        let name = path.file_name().unwrap_or_default();
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(OsStr::new(&format!(".{}", std::process::id())));
        let beside = path.with_file_name(beside);
        create_new(&beside).with_context(doing)?;
        Ok(Self { file: Some((path.to_owned(), beside)) })
    }

    fn write(&mut self, profile: &LinuxSeccomp) -> Result<()> {
        let Some((path, beside)) = &self.file else { return Ok(()) };
        let doing = || format!("write the profile {}", path.display());
        new_file::replace(path, beside, text(profile)?.as_bytes()).with_context(doing)
    }

    /// Returns the text if it goes to standard output.
    fn finish(mut self, profile: &LinuxSeccomp) -> Result<Option<String>> {
        match &self.file {
            None => text(profile).map(Some),
            Some(_) => self.write(profile).map(|()| None),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((_, beside)) = &self.file {
            let _ = fs::remove_file(beside);
        }
    }
}

fn create_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn text(profile: &LinuxSeccomp) -> Result<String> {
    let text = serde_json::to_string_pretty(profile);
    text.map(|text| text + "\n").map_err(|error| Error::new(Kind::State, error.to_string()))
}
