//! Reads the user's credentials from the files that `docker login`, `podman login` and `tare-image login`
//! write (containers-auth.json(5)), and from the credential helpers that these files name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::access::{Access, Credentials};
use super::credential_helper::Helper;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::document::manifest::parse_json_of_go;
use crate::image::filesystem::input_file::read_small_if_present;
use crate::image::limits::MAX_SETTINGS;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AuthFile {
    auths: HashMap<String, AuthEntry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// Finds the credentials for a repository: those given on the command line, else those in the first file that
/// has some.
pub(super) fn find_credentials(host: &str, repository: &str, access: &Access) -> Result<Option<Credentials>> {
    if access.credentials.is_some() {
        return Ok(access.credentials.clone());
    }
    let host = canonical_host(host);
    for path in auth_files(access.auth_file.as_deref(), &|name| std::env::var_os(name).map(PathBuf::from)) {
        let Some(file) = read_auth_file(&path)? else { continue };
        if let Some(found) = find_in_file(&file, host, repository, access.timeout)
            .with_context(|| format!("credentials in {}", path.display()))?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The name of a registry in files of credentials.
pub(super) fn canonical_host(host: &str) -> &str {
    if host == "registry-1.docker.io" { "docker.io" } else { host }
}

/// Where credentials may be, in the order they count.
pub(super) fn auth_files(
    given: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<PathBuf>,
) -> Vec<PathBuf> {
    if let Some(path) = given.map(Path::to_owned).or_else(|| environment("REGISTRY_AUTH_FILE")) {
        return vec![path];
    }
    let home = environment("HOME");
    let runtime = environment("XDG_RUNTIME_DIR")
        .unwrap_or_else(|| format!("/run/containers/{}", nix::unistd::geteuid()).into());
    let runtime = if runtime.starts_with("/run/containers") {
        runtime.join("auth.json")
    } else {
        runtime.join("containers/auth.json")
    };
    let config = environment("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    let docker = environment("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let mut files = vec![runtime];
    files.extend(config.map(|dir| dir.join("containers/auth.json")));
    files.extend(docker.map(|dir| dir.join("config.json")));
    files
}

fn read_auth_file(path: &Path) -> Result<Option<AuthFile>> {
    let reading = || format!("read credentials in {}", path.display());
    let bytes = read_small_if_present(path, MAX_SETTINGS).with_context(reading)?;
    bytes.map(|bytes| parse_secret(&bytes)).transpose().with_context(reading)
}

/// Parses a document that holds secrets. The parser's words for a value of the wrong type quote it.
pub(crate) fn parse_secret<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let is_json: std::result::Result<serde::de::IgnoredAny, _> = serde_json::from_slice(bytes);
    is_json.map_err(|e| fail!(Kind::Spec, "{e}"))?;
    parse_json_of_go(bytes).map_err(|_| {
        fail!(Kind::Spec, "a member is missing or there twice, or has a value of the wrong type")
    })
}

fn find_in_file(
    file: &AuthFile,
    host: &str,
    repository: &str,
    deadline: Duration,
) -> Result<Option<Credentials>> {
    for key in lookup_keys(host, repository) {
        if let Some(name) = named(file.cred_helpers.get(&key)) {
            return from_helper(&Helper { name, deadline }, &key);
        }
        for entry in entries_for(file, &key) {
            if let Some(found) = parse_entry(entry)? {
                return Ok(Some(found));
            }
        }
    }
    named(file.creds_store.as_ref()).map_or(Ok(None), |name| from_helper(&Helper { name, deadline }, host))
}

/// The entries for `key` in the order they count: that of this very name, those of its URLs in TLS, all others.
fn entries_for<'a>(file: &'a AuthFile, key: &str) -> Vec<&'a AuthEntry> {
    let mut found: Vec<_> = file.auths.iter().filter(|(name, _)| normalized_key(name) == key).collect();
    found.sort_by_key(|(name, _)| (name.as_str() != key, !name.starts_with("https://"), name.as_str()));
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// Returns the name of a helper. An empty name means that there is none, as for Docker.
fn named(helper: Option<&String>) -> Option<&str> {
    helper.map(String::as_str).filter(|name| !name.is_empty())
}

/// Lists the keys, the most specific first: `host/a/b`, `host/a`, `host`.
fn lookup_keys(host: &str, repository: &str) -> Vec<String> {
    let whole = format!("{host}/{repository}");
    let mut keys = Vec::new();
    let mut rest = whole.as_str();
    loop {
        keys.push(rest.to_owned());
        match rest.rfind('/') {
            Some(slash) => rest = &rest[..slash],
            None => return keys,
        }
    }
}

/// Docker writes keys as URLs of version 1: `https://index.docker.io/v1/` is docker.io.
fn normalized_key(name: &str) -> String {
    let bare = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://"));
    let Some(bare) = bare else { return name.to_owned() };
    let host = bare.split('/').next().unwrap_or(bare);
    if host == "index.docker.io" { "docker.io".into() } else { host.into() }
}

fn parse_entry(auth: &AuthEntry) -> Result<Option<Credentials>> {
    if let Some(token) = auth.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Credentials::Token(token.clone())));
    }
    if let (Some(user), Some(password)) = (&auth.username, &auth.password) {
        return Ok(Some(Credentials::Password { user: user.clone(), password: password.clone() }));
    }
    let Some(text) = auth.auth.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| fail!(Kind::Spec, "an entry is not base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| fail!(Kind::Spec, "an entry is not UTF-8"))?;
    // Docker pads with NUL.
    Credentials::parse(text.trim_end_matches('\0'))
        .map(Some)
        .ok_or_else(|| fail!(Kind::Spec, "an entry has no password"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Returns the name under which Docker keeps the credentials of a registry. Docker Hub has an old name, from
/// before there were other registries.
pub(super) fn server_url(host: &str) -> &str {
    if host == "docker.io" { "https://index.docker.io/v1/" } else { host }
}

/// Asks a helper for a registry's credentials; if it has none, that is no error.
fn from_helper(helper: &Helper<'_>, host: &str) -> Result<Option<Credentials>> {
    let mut text = helper.get(server_url(host))?;
    if text.is_none() && server_url(host) != host {
        // Podman keeps credentials under this name.
        text = helper.get(host)?;
    }
    let Some(text) = text else { return Ok(None) };
    let answer: HelperAnswer =
        parse_secret(&text).with_context(|| format!("answer of docker-credential-{}", helper.name))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Token(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}

/// The name of the helper that keeps new credentials for a host, if the file names one.
pub(super) fn helper_for(path: &Path, host: &str) -> Result<Option<String>> {
    let file = read_auth_file(path)?.unwrap_or_default();
    let found = named(file.cred_helpers.get(host)).or_else(|| named(file.creds_store.as_ref()));
    Ok(found.map(str::to_owned))
}

/// What a file has for a registry, or a part of one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The names of its entries.
    pub(super) names: Vec<String>,
    /// Whether one has credentials: Docker leaves empty ones where a helper has them.
    pub(super) has_secret: bool,
    /// The helper that may have some.
    pub(super) helper: Option<String>,
    /// The names of entries for parts of it.
    pub(super) below: Vec<String>,
}

/// Looks for what the file has for `key`: `HOST[:PORT]`, or `HOST[:PORT]/PATH`. None without such a file.
pub(super) fn kept_in(path: &Path, key: &str) -> Result<Option<Kept>> {
    Ok(read_auth_file(path)?.map(|file| kept(&file, key)))
}

pub(crate) fn kept(file: &AuthFile, key: &str) -> Kept {
    let is_secret = |auth: &AuthEntry| {
        [&auth.auth, &auth.password, &auth.identitytoken].into_iter().flatten().any(|text| !text.is_empty())
    };
    let own = || file.auths.iter().filter(|(name, _)| normalized_key(name) == key);
    let of_host = file.creds_store.as_ref().filter(|_| !key.contains('/'));
    let helpers = file.cred_helpers.iter().find(|(name, _)| normalized_key(name) == key);
    let is_below = |name: &&String| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
    let mut below: Vec<String> = file.auths.keys().filter(is_below).cloned().collect();
    below.sort();
    Kept {
        names: own().map(|(name, _)| name.clone()).collect(),
        has_secret: own().any(|(_, auth)| is_secret(auth)),
        helper: named(helpers.map(|(_, helper)| helper)).or_else(|| named(of_host)).map(str::to_owned),
        below,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, host: &str, repository: &str) -> Option<Credentials> {
        find_in_file(&serde_json::from_str(json).unwrap(), host, repository, Duration::ZERO).unwrap()
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn the_most_particular_entry_counts() {
        // u1:p1 … u4:p4
        let file = r#"{"auths":{"r:5000":{"auth":"dTE6cDE="},"r:5000/a":{"auth":"dTI6cDI="},
            "https://index.docker.io/v1/":{"auth":"dTM6cDM="},"tok":{"identitytoken":"T"},"empty":{}}}"#;
        assert_eq!(found(file, "r:5000", "b/c"), password("u1", "p1"));
        assert_eq!(found(file, "r:5000", "a/c"), password("u2", "p2"));
        assert_eq!(found(file, "docker.io", "library/x"), password("u3", "p3"));
        assert_eq!(found(file, "tok", "x"), Some(Credentials::Token("T".into())));
        assert_eq!(found(file, "empty", "x"), None);
        assert_eq!(found(file, "other", "x"), None);
    }

    /// A registry may be in a file under several names, and which one counts was left to chance.
    #[test]
    fn of_several_entries_the_one_of_the_very_name_counts() {
        let entry = |user: &str| format!(r#"{{"auth":"{}"}}"#, BASE64_STANDARD.encode(format!("{user}:p")));
        let urls = format!(
            r#""http://r/v1/":{},"https://r/v2/":{},"https://r/v1/":{}"#,
            entry("plain"),
            entry("v2"),
            entry("v1")
        );
        for _ in 0..20 {
            let file = format!(r#"{{"auths":{{{urls},"r":{}}}}}"#, entry("own"));
            assert_eq!(found(&file, "r", "x"), password("own", "p"));
            let file = format!(r#"{{"auths":{{{urls},"r":{{}}}}}}"#);
            assert_eq!(found(&file, "r", "x"), password("v1", "p"));
        }
    }

    #[test]
    fn what_a_file_has_for_a_registry_is_found_under_all_its_names() {
        let file = r#"{"auths":{"r:5000":{"auth":"x"},"r:5000/a":{"auth":"x"},"https://r:5000/v2/":{},
            "https://index.docker.io/v1/":{"auth":"x"},"r:50001":{"auth":"x"},"empty":{}},
            "credHelpers":{"r:5000":"h","empty":""},"credsStore":"s"}"#;
        let kept = |key| {
            let mut kept = kept(&serde_json::from_str(file).unwrap(), key);
            kept.names.sort();
            kept
        };
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let of_host = kept("r:5000");
        assert_eq!(of_host.names, texts(&["https://r:5000/v2/", "r:5000"]));
        assert_eq!((of_host.helper.as_deref(), of_host.has_secret), (Some("h"), true));
        assert_eq!(of_host.below, texts(&["r:5000/a"]));
        let of_part = kept("r:5000/a");
        assert_eq!((of_part.names, of_part.helper), (texts(&["r:5000/a"]), None));
        assert_eq!(kept("docker.io").names, texts(&["https://index.docker.io/v1/"]));
        let empty = kept("empty");
        assert_eq!((empty.has_secret, empty.helper.as_deref()), (false, Some("s")));
    }

    #[test]
    fn files_are_looked_for_where_docker_and_podman_keep_them() {
        let known = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/5")];
        let environment =
            |name: &str| known.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
        let expected =
            ["/run/user/5/containers/auth.json", "/h/.config/containers/auth.json", "/h/.docker/config.json"];
        assert_eq!(auth_files(None, &environment), expected.map(PathBuf::from));
        assert_eq!(auth_files(Some(Path::new("/x")), &environment), [PathBuf::from("/x")]);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Credentials::Token("secret".into())), "Credentials");
    }
}
