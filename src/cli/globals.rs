//! The global flags, resolved with the environment: the place of the state root, and the destination of the
//! log.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command::GlobalFlags;
use crate::error::{Context, Kind, Result};
use crate::host::user_namespace::in_user_namespace;
use crate::lifecycle::options::Globals;
use crate::log::{Destination, Level};
use crate::timeline::{self, Phase};
use crate::{fail, log};

const DEFAULT_ROOT: &str = "/run/tare";

/// The parts of the environment that decide about the state root.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub xdg_runtime_dir: Option<PathBuf>,
    pub user: Option<String>,
    pub euid: u32,
    /// Whether our user namespace is not the host's.
    pub in_userns: bool,
}

impl Environment {
    pub(super) fn read() -> Result<Self> {
        let xdg_runtime_dir =
            std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let user = std::env::var("USER").ok();
        let euid = nix::unistd::geteuid().as_raw();
        // The map is read only if it matters: root with an XDG directory is rare.
        let in_userns = xdg_runtime_dir.is_some() && euid == 0 && in_user_namespace()?;
        Ok(Self { xdg_runtime_dir, user, euid, in_userns })
    }

    /// Returns the user's runtime directory, which contains the containers of every user but the host's root.
    fn user_directory(&self) -> Option<&Path> {
        let root_by_name = self.user.as_deref() == Some("root");
        let rootless = self.euid != 0 || (self.in_userns && !root_by_name);
        self.xdg_runtime_dir.as_deref().filter(|_| rootless)
    }
}

pub(super) fn resolve(flags: &GlobalFlags, environment: &Environment) -> Result<Globals> {
    let (root, root_in_xdg) = match (&flags.root, environment.user_directory()) {
        (Some(root), _) => (absolute(root)?, false),
        (None, Some(dir)) => (absolute(&dir.join("tare"))?, true),
        (None, None) => (PathBuf::from(DEFAULT_ROOT), false),
    };
    Ok(Globals {
        root,
        root_explicit: flags.root.is_some(),
        root_in_xdg,
        cgroup_manager: flags.cgroup_manager,
        rootless: flags.rootless,
    })
}

/// Makes a path absolute, without `.` or `..`; it need not exist. `/` is refused: its directories would count
/// as containers.
fn absolute(root: &Path) -> Result<PathBuf> {
    let joined = std::path::absolute(root).with_context(|| format!("root {}", root.display()))?;
    let mut clean = PathBuf::new();
    for component in joined.components() {
        match component {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    match clean.parent() {
        Some(_) => Ok(clean),
        None => Err(fail!(Kind::Usage, "invalid root {}: it cannot be /", root.display())),
    }
}

/// Starts the log according to the flags.
pub(super) fn start_log(flags: &GlobalFlags) -> Result<()> {
    let format = match flags.log_format.as_deref() {
        None | Some("text") => log::Format::Text,
        Some("json") => log::Format::Json,
        Some(other) => {
            let error = fail!(Kind::Usage, "invalid log-format: {other}");
            return Err(error.with_hint("the formats of the log are text and json"));
        }
    };
    let level = flags.log_level.filter(|_| !flags.debug).or_else(|| flags.debug.then_some(Level::Debug));
    log::init(flags.log.as_deref().map(destination).transpose()?, format, level)
}

/// Starts to record phases where a flag asks for them, or the log tells of them.
pub(super) fn start_timeline(flags: &GlobalFlags) -> Result<()> {
    if !flags.timings && flags.trace.is_none() && !log::enabled(Level::Debug) {
        return Ok(());
    }
    timeline::switch_on()?;
    timeline::begin(Phase::Begin);
    Ok(())
}

/// Reads crun's notation: a word before a colon is the kind of destination; without one it is a file.
fn destination(typed: &Path) -> Result<Destination> {
    let bytes = typed.as_os_str().as_bytes();
    let named = |name: &[u8]| match std::str::from_utf8(name) {
        Ok("") => Ok(String::from("tare")),
        Ok(name) if !name.contains(['\n', '\0']) => Ok(name.to_owned()),
        _ => Err(fail!(Kind::Usage, "invalid log {}: not a name", typed.display())),
    };
    Ok(
        match (bytes.strip_prefix(b"file:"), bytes.strip_prefix(b"journald:"), bytes.strip_prefix(b"syslog:"))
        {
            (Some(path), _, _) => Destination::File(PathBuf::from(OsStr::from_bytes(path))),
            (_, Some(name), _) => Destination::Journal(named(name)?),
            (_, _, Some(name)) => Destination::Syslog(named(name)?),
            _ => Destination::File(typed.to_owned()),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(explicit: Option<&str>, environment: &Environment) -> Result<(String, bool)> {
        let flags = GlobalFlags { root: explicit.map(PathBuf::from), ..GlobalFlags::default() };
        let globals = resolve(&flags, environment)?;
        assert_eq!(globals.root_explicit, explicit.is_some());
        Ok((globals.root.display().to_string(), globals.root_in_xdg))
    }

    #[test]
    fn the_default_root_moves_under_xdg_for_everybody_but_the_hosts_root() {
        let cases = [
            (None, None, 0, false, "/run/tare"),
            (None, None, 1000, false, "/run/tare"),
            (Some("/run/user/1000"), None, 1000, false, "/run/user/1000/tare"),
            (Some("/run/user/1000"), Some("root"), 1000, false, "/run/user/1000/tare"),
            (Some("/run/user/0"), Some("root"), 0, false, "/run/tare"),
            (Some("/run/user/0"), None, 0, false, "/run/tare"),
            (Some("/run/user/0"), Some("me"), 0, true, "/run/user/0/tare"),
            (Some("/run/user/0"), None, 0, true, "/run/user/0/tare"),
            (Some("/run/user/0"), Some("root"), 0, true, "/run/tare"),
        ];
        for (xdg, user, euid, in_userns, expected) in cases {
            let environment = Environment {
                xdg_runtime_dir: xdg.map(PathBuf::from),
                user: user.map(String::from),
                euid,
                in_userns,
            };
            let (found, in_xdg) = root(None, &environment).unwrap();
            assert_eq!(found, expected, "{environment:?}");
            assert_eq!(in_xdg, expected != "/run/tare");
        }
    }

    #[test]
    fn an_explicit_root_is_made_absolute_and_clean() {
        let environment = Environment::default();
        assert_eq!(root(Some("/a/./b/../c/"), &environment).unwrap().0, "/a/c");
        assert!(root(Some("r"), &environment).unwrap().0.starts_with('/'));
    }

    #[test]
    fn the_roots_root_is_refused() {
        for typed in ["/", "//", "/a/..", "/../.."] {
            let error = root(Some(typed), &Environment::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(typed), "{error}");
        }
    }
}
