//! The unit's name and place, from `linux.cgroupsPath` as `slice:prefix:name`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::plan::pointer::CGROUPS_PATH;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fail;

/// A transient unit. It is part of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `docker-ID.scope`
    pub name: String,
    pub slice: String,
    /// Whether the user's own manager makes it, and not the system's.
    pub user: bool,
}

impl Unit {
    /// Reads `slice:prefix:name`. Without a path it is `runc-ID.scope` in the manager's usual slice, as with
    /// runc.
    pub fn from_path(cgroups_path: Option<&Path>, id: &ContainerId, user: bool) -> Result<Self> {
        let text = cgroups_path.map(|path| path.to_string_lossy()).unwrap_or_default();
        let default = format!(":runc:{id}");
        let text = if text.is_empty() { &default } else { &*text };
        let wrong = || -> Error {
            fail!(
                Kind::Spec,
                "{CGROUPS_PATH}: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
                 got {text:?} instead"
            )
        };
        let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let slice = match (slice, user) {
            ("", false) => "system.slice",
            ("", true) => "user.slice",
            (slice, _) => slice,
        };
        let name = match name.ends_with(".slice") {
            true => name.to_owned(),
            false => format!("{prefix}-{name}.scope"),
        };
        if !is_unit_name(&name) {
            return Err(fail!(Kind::Spec, "{CGROUPS_PATH}: {name:?} is no name for a systemd unit"));
        }
        expand_slice(slice)?;
        Ok(Self { name, slice: slice.to_owned(), user })
    }

    /// Whether the unit is a slice. A slice starts no processes, and its name says where systemd puts it.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// Returns where systemd puts the unit below its own root.
    pub fn path(&self) -> Result<PathBuf> {
        if self.is_slice() {
            expand_slice(&self.name)
        } else {
            Ok(expand_slice(&self.slice)?.join(&self.name))
        }
    }
}

/// Whether systemd accepts a unit name (unit_name_is_valid).
fn is_unit_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte);
    name.len() < 256 && !name.starts_with('.') && name.bytes().all(allowed)
}

/// Returns the path of a slice: `a-b.slice` is `a.slice/a-b.slice`; `-.slice` is the root.
pub(crate) fn expand_slice(slice: &str) -> Result<PathBuf> {
    let wrong = || fail!(Kind::Spec, "{CGROUPS_PATH}: invalid slice name: {slice}");
    let stem = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if stem == "-" {
        return Ok(PathBuf::new());
    }
    if !is_unit_name(slice) || stem.split('-').any(str::is_empty) {
        return Err(wrong());
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    Ok(ends.map(|end| format!("{}.slice", &stem[..end])).collect())
}

/// Returns the root of a user's manager, as far as the path of the user's process shows it; systemd itself
/// reports it later.
pub(crate) fn user_root(own_path: &Path) -> PathBuf {
    let parts: Vec<_> = own_path.iter().filter_map(|part| part.to_str()).collect();
    if let Some(at) = parts.iter().position(|part| part.starts_with("user@") && part.ends_with(".service")) {
        return parts[1..=at].iter().collect();
    }
    let user = parts.iter().find_map(|part| part.strip_prefix("user-")?.strip_suffix(".slice"));
    user.map(|uid| format!("user.slice/user-{uid}.slice/user@{uid}.service").into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str, user: bool) -> Result<String> {
        let id = ContainerId::parse("id").unwrap();
        let unit = Unit::from_path(Some(Path::new(text)), &id, user)?;
        Ok(unit.path()?.display().to_string())
    }

    #[test]
    fn the_three_parts_become_a_place() {
        for (text, user, want) in [
            ("system.slice:docker:abc", false, "system.slice/docker-abc.scope"),
            ("a-b-c.slice:p:n", false, "a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
            (":p:n", false, "system.slice/p-n.scope"),
            (":p:n", true, "user.slice/p-n.scope"),
            ("-.slice:p:n", false, "p-n.scope"),
            ("", false, "system.slice/runc-id.scope"),
            ("x.slice::n", false, "x.slice/-n.scope"),
            ("x.slice:p:a-b.slice", false, "a.slice/a-b.slice"),
        ] {
            assert_eq!(path(text, user).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused_by_their_field() {
        for text in ["a", "a:b", "a:b:c:d", "/a/b"] {
            let error = path(text, false).unwrap_err().to_string();
            let want = "/linux/cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\"";
            assert!(error.starts_with(want), "{error}");
        }
        for text in ["a:b:c", "a/b.slice:b:c", "-a.slice:b:c", "a-.slice:b:c", "a--b.slice:b:c", ".slice:b:c"]
        {
            let error = path(text, false).unwrap_err().to_string();
            assert!(error.starts_with("/linux/cgroupsPath: invalid slice name: "), "{error}");
        }
        for text in ["a.slice:b:../../c", "a.slice:b:c d", "a.slice:b:c\0", "a.slice:..:/"] {
            assert!(
                path(text, false).unwrap_err().to_string().contains("is no name for a systemd unit"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_users_manager_is_found_from_a_process_of_the_user() {
        for (own, want) in [
            ("/user.slice/user-7.slice/session-1.scope", "user.slice/user-7.slice/user@7.service"),
            (
                "/user.slice/user-7.slice/user@7.service/app.slice/x.scope",
                "user.slice/user-7.slice/user@7.service",
            ),
            ("/", ""),
        ] {
            assert_eq!(user_root(Path::new(own)), Path::new(want));
        }
    }
}
