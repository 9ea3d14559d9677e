//! Reads registries.conf (containers-registries.conf(5)): which registries are blocked, insecure, somewhere
//! else, or have mirrors.

use std::path::{Path, PathBuf};

use super::name::ImageName;
use serde::Deserialize;

use crate::error::{Context, Kind, Result};
use crate::image::filesystem::input_file::read_small_if_present;
use crate::image::limits::MAX_SETTINGS;
use crate::{fail, log};

/// A host and a repository there that an image can be pulled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) host: String,
    pub(crate) repository: String,
    pub(crate) insecure: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ConfFile {
    registry: Vec<Registry>,
    registries: Version1,
}

/// What a file of version 1 has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version1 {
    block: Hosts,
    insecure: Hosts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hosts {
    registries: Vec<String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

#[derive(Debug, Default)]
pub(super) struct RegistriesConf {
    registries: Vec<Registry>,
}

impl RegistriesConf {
    /// Reads the files that containers-registries.conf(5) names; none need exist.
    pub(crate) fn load() -> Result<Self> {
        let mut conf = Self::default();
        for path in conf_files()? {
            let Some(bytes) = read_small_if_present(&path, MAX_SETTINGS)? else { continue };
            let text = String::from_utf8(bytes).map_err(|_| fail!(Kind::Spec, "it is not UTF-8"));
            text.and_then(|text| conf.add_file(&text)).with_context(|| format!("{}", path.display()))?;
        }
        Ok(conf)
    }

    /// A later file's entry for a prefix replaces an earlier one's.
    fn add_file(&mut self, text: &str) -> Result<()> {
        let file: ConfFile = toml::from_str(text).map_err(|e| fail!(Kind::Spec, "{}", e.message()))?;
        let of_version_1 = file.registries.into_registries();
        for mut registry in file.registry.into_iter().chain(of_version_1) {
            registry.check()?;
            self.registries.retain(|known| known.prefix != registry.prefix);
            self.registries.push(registry);
        }
        Ok(())
    }

    /// The locations of an image in the order to try: mirrors first, the registry itself last.
    pub(super) fn locations(&self, name: &ImageName) -> Result<Vec<Location>> {
        let whole = format!("{}/{}", name.registry(), name.repository());
        // One that names a tag or a digest is for what it blocks alone.
        let with_tag = name.whole();
        let is_blocked = |one: &&Registry| one.blocked && matched_length(&one.prefix, &with_tag).is_some();
        let matching = self
            .registries
            .iter()
            .filter_map(|registry| matched_length(&registry.prefix, &whole).map(|length| (length, registry)));
        let found = matching.max_by_key(|&(length, _)| length);
        let particular = self.registries.iter().filter(|one| one.prefix.len() > whole.len()).find(is_blocked);
        if let Some(blocked) = found.map(|(_, one)| one).filter(|one| one.blocked).or(particular) {
            return Err(fail!(Kind::Denied, "registry {} is blocked in registries.conf", blocked.prefix));
        }
        let Some((length, registry)) = found else {
            return Ok(vec![parse_location(&whole, false)?]);
        };
        let rest = &whole[length..];
        let rewritten =
            |location: &str| if location.is_empty() { whole.clone() } else { format!("{location}{rest}") };
        let mirrors = registry.mirror.iter().filter(|mirror| is_asked_for(registry, mirror, name));
        let mut locations: Vec<Location> = mirrors
            .map(|mirror| parse_location(&rewritten(&mirror.location), mirror.insecure))
            .collect::<Result<_>>()?;
        locations.push(parse_location(&rewritten(&registry.location), registry.insecure)?);
        Ok(locations)
    }
}

impl Version1 {
    fn into_registries(self) -> impl Iterator<Item = Registry> {
        let of = |prefix, blocked| Registry { prefix, blocked, insecure: !blocked, ..Registry::default() };
        // The last of two entries for one registry counts.
        let insecure = self.insecure.registries.into_iter().map(move |prefix| of(prefix, false));
        insecure.chain(self.block.registries.into_iter().map(move |prefix| of(prefix, true)))
    }
}

impl Registry {
    /// Puts the entry's names into the one form that is compared, as other programs do.
    ///
    /// # Errors
    ///
    /// `Kind::Spec` for a name that no image has: what it blocks would not be blocked.
    fn check(&mut self) -> Result<()> {
        if self.prefix.is_empty() {
            self.prefix.clone_from(&self.location);
        }
        if self.prefix.is_empty() {
            return Err(fail!(Kind::Spec, "a registry has neither prefix nor location"));
        }
        let mirrors = self.mirror.iter_mut().map(|mirror| &mut mirror.location);
        for name in [&mut self.prefix, &mut self.location].into_iter().chain(mirrors) {
            name.truncate(name.trim_end_matches('/').len());
            if name.contains("://") || name.contains(char::is_whitespace) {
                return Err(fail!(Kind::Spec, "{name:?} is no HOST[:PORT][/PATH]"));
            }
        }
        let host = self.prefix.strip_prefix("*.").unwrap_or(&self.prefix);
        let is_wild = host.len() < self.prefix.len();
        match host.is_empty() || host.contains('*') || is_wild && host.contains(['/', ':', '@']) {
            true => Err(fail!(
                Kind::Spec,
                "the prefix {:?} is neither HOST[:PORT][/PATH] nor *.DOMAIN",
                self.prefix
            )),
            false => Ok(()),
        }
    }
}

/// Whether a mirror is used for names of this kind (by tag or by digest).
fn is_asked_for(registry: &Registry, mirror: &Mirror, name: &ImageName) -> bool {
    match (mirror.pull_from_mirror.as_str(), name.digest().is_some()) {
        ("digest-only", by_digest) => by_digest,
        ("tag-only", by_digest) => !by_digest,
        ("all", _) => true,
        (_, by_digest) => by_digest || !registry.mirror_by_digest_only,
    }
}

/// How much of `whole` the prefix covers. `*.example.com` covers each host below that domain. Names of hosts are the same
/// in any case.
fn matched_length(prefix: &str, whole: &str) -> Option<usize> {
    let (prefix, whole) = (&*with_small_host(prefix), &*with_small_host(whole));
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = whole.split('/').next()?;
        let bare = host.split(':').next()?;
        return bare.ends_with(domain).then_some(host.len());
    }
    let rest = whole.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
}

/// With the name of the host in small letters.
fn with_small_host(name: &str) -> String {
    let (host, path) = name.split_at(name.find('/').unwrap_or(name.len()));
    format!("{}{path}", host.to_ascii_lowercase())
}

fn parse_location(whole: &str, insecure: bool) -> Result<Location> {
    let (host, repository) = whole
        .split_once('/')
        .ok_or_else(|| fail!(Kind::Spec, "location {whole:?} in registries.conf names no repository"))?;
    Ok(Location { host: host.into(), repository: repository.into(), insecure })
}

/// The one file named by the environment, or the user's, or the system's, with the drop-in files.
///
/// # Errors
///
/// A file that cannot be looked at: it may block a registry.
fn conf_files() -> Result<Vec<PathBuf>> {
    if let Some(path) = std::env::var_os("CONTAINERS_REGISTRIES_CONF") {
        return Ok(vec![path.into()]);
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let user =
        std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or(home).map(|dir| dir.join("containers"));
    let system = PathBuf::from("/etc/containers");
    let mut all = Vec::new();
    for dir in user.iter().chain([&system]) {
        let path = dir.join("registries.conf");
        if unless_closed(path.try_exists(), &path, dir == &system)? == Some(true) {
            all.push(path);
            break;
        }
    }
    for dir in [Some(&system), user.as_ref()].into_iter().flatten() {
        let path = dir.join("registries.conf.d");
        let entries = std::fs::read_dir(&path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = unless_closed(entries, &path, dir == &system)?.unwrap_or_default();
        let mut drop_ins: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        drop_ins.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        drop_ins.sort();
        all.append(&mut drop_ins);
    }
    Ok(all)
}

/// Returns `None` if the file is missing. A user's directory that this process may not enter often belongs to
/// another user, whose HOME was kept: that is only a warning.
fn unless_closed<T>(found: std::io::Result<T>, path: &Path, is_system: bool) -> Result<Option<T>> {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(error) if error.kind() == PermissionDenied && !is_system => {
            log::warn(format_args!("{}: {error}: it does not count", path.display()));
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        location = "bad.example"
        blocked = true
        [[registry]]
        prefix = "docker.io"
        location = "mirror.internal/hub"
        [[registry.mirror]]
        location = "127.0.0.1:5000"
        insecure = true
        [[registry.mirror]]
        location = "digests:1/x"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library/own"
        location = "own:1/y"
        [[registry]]
        prefix = "*.wild.example"
        insecure = true
    "#;

    fn places(name: &str) -> Result<Vec<String>> {
        let mut conf = RegistriesConf::default();
        conf.add_file(CONF)?;
        let shown = |place: &Location| {
            format!("{}/{}{}", place.host, place.repository, if place.insecure { " insecure" } else { "" })
        };
        Ok(conf.locations(&name.parse().unwrap())?.iter().map(shown).collect())
    }

    #[test]
    fn a_name_leads_to_mirrors_and_then_to_its_location() {
        assert_eq!(places("quay.io/a/b").unwrap(), ["quay.io/a/b"]);
        assert_eq!(
            places("ubuntu").unwrap(),
            ["127.0.0.1:5000/library/ubuntu insecure", "mirror.internal/hub/library/ubuntu"]
        );
        assert_eq!(places("own").unwrap(), ["own:1/y"]);
        let digest = format!("a/b@sha256:{:064}", 1);
        assert_eq!(
            places(&digest).unwrap(),
            ["127.0.0.1:5000/a/b insecure", "digests:1/x/a/b", "mirror.internal/hub/a/b"]
        );
        assert_eq!(places("x.wild.example:5/a").unwrap(), ["x.wild.example:5/a insecure"]);
    }

    /// Whoever writes one of these means to block, and other programs do.
    #[test]
    fn a_registry_is_blocked_however_its_name_is_written() {
        let digest = format!("sha256:{:064}", 1);
        let is_blocked = |text: &str, name: &str| {
            let mut conf = RegistriesConf::default();
            conf.add_file(text).is_err() || conf.locations(&name.parse().unwrap()).is_err()
        };
        let block = |prefix: &str| format!("[[registry]]\nprefix = {prefix:?}\nblocked = true\n");
        let name = format!("bad.example:5/a/b:v1@{digest}");
        for prefix in [
            "bad.example:5/",
            "bad.example:5/a/",
            "BAD.Example:5",
            "http://bad.example:5",
            "*.example/a",
            "*",
            "*bad.example",
            "bad.example:5/a/b:v1",
            "bad.example:5/a/b",
            "*.Example",
        ] {
            assert!(is_blocked(&block(prefix), &name), "{prefix}");
        }
        assert!(is_blocked(&block(&format!("bad.example/a@{digest}")), &format!("bad.example/a@{digest}")));
        assert!(is_blocked("[registries.block]\nregistries = [\"bad.example:5\"]", &name));
        for prefix in ["bad.example:5/a/b:v2", "bad.example:5/a/b:v", "bad.example:5/A/b", "ad.example:5"] {
            assert!(!is_blocked(&block(prefix), &name), "{prefix}");
        }
        let mut conf = RegistriesConf::default();
        conf.add_file(
            "[registries.insecure]\nregistries = [\"r:5\"]\n[registries.search]\nregistries = [\"x\"]",
        )
        .unwrap();
        assert!(conf.locations(&"r:5/a".parse().unwrap()).unwrap()[0].insecure);
    }

    #[test]
    fn a_blocked_registry_is_refused() {
        assert!(places("bad.example/a/b").unwrap_err().to_string().contains("is blocked"));
        assert_eq!(places("bad.example.org/a/b").unwrap(), ["bad.example.org/a/b"]);
    }
}
