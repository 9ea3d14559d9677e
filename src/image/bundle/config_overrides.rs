//! The options of `unpack` that override the image's configuration (--entrypoint, --env, --volume, …). Each
//! is applied to the image's configuration if that has such a field, and to config.json otherwise.

use std::path::Path;

use oci_spec::image::{Config, ImageConfiguration};
use serde_json::{Value, json};

use super::defaults;
use super::user_namespace::{add_user_namespace, make_rootless};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::userns::mapping;

#[derive(Debug, Default, Clone)]
pub(crate) struct ConfigOverrides {
    /// Replaces Entrypoint, and removes Cmd as Docker does.
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    /// `NAME=VALUE` sets a variable, `NAME` removes one.
    pub(crate) env: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) hostname: Option<String>,
    pub(crate) tty: bool,
    pub(crate) seccomp: Seccomp,
    /// The user namespace of a container that an unprivileged user runs.
    pub(crate) rootless: Option<mapping::IdMapping>,
    /// The user namespace of a container that root runs.
    pub(crate) mapping: Option<mapping::IdMapping>,
    /// JSON merge patches (RFC 7396), applied last.
    pub(crate) merge: Vec<Value>,
}

/// `--seccomp`.
#[derive(Debug, Default, Clone)]
pub(crate) enum Seccomp {
    /// The profile of `seccomp.rs`.
    #[default]
    Default,
    None,
    Profile(Value),
}

/// `--volume SOURCE:DESTINATION[:OPTIONS]` for a bind mount, or `--volume DESTINATION` for a tmpfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) source: Option<String>,
    pub(crate) destination: String,
    pub(crate) options: Vec<String>,
}

impl Volume {
    /// Parses a volume as Docker spells it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Err(fail!(Kind::Usage, "volume {text:?}: {why}"));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, destination, options) = match parts[..] {
            [destination] => (None, destination, ""),
            [source, destination] => (Some(source), destination, ""),
            [source, destination, options] => (Some(source), destination, options),
            _ => return bad("must be SOURCE:DESTINATION[:OPTIONS]"),
        };
        if !destination.starts_with('/') || source.is_some_and(|source| !source.starts_with('/')) {
            return bad("paths must be absolute");
        }
        let options = options.split(',').filter(|option| !option.is_empty()).map(Into::into).collect();
        Ok(Self { source: source.map(Into::into), destination: destination.into(), options })
    }

    /// The volume as a mount of config.json.
    fn mount(&self) -> Value {
        let Some(source) = &self.source else { return defaults::volume(&self.destination) };
        let mut options = vec!["rbind".to_owned()];
        if !self.options.iter().any(|option| {
            option.ends_with("private") || option.ends_with("shared") || option.ends_with("slave")
        }) {
            options.push("rprivate".into());
        }
        options.extend(self.options.clone());
        json!({ "destination": self.destination, "type": "bind", "source": source, "options": options })
    }
}

impl ConfigOverrides {
    /// The image's configuration with these overrides.
    pub(super) fn apply_to_image(&self, config: &ImageConfiguration) -> ImageConfiguration {
        let mut overridden = config.clone();
        let mut inner: Config = config.config().clone().unwrap_or_default();
        if let Some(entrypoint) = &self.entrypoint {
            inner.set_entrypoint(Some(entrypoint.clone()));
            inner.set_cmd(None);
        }
        if let Some(cmd) = &self.cmd {
            inner.set_cmd(Some(cmd.clone()));
        }
        if let Some(user) = &self.user {
            inner.set_user(Some(user.clone()));
        }
        if let Some(workdir) = &self.workdir {
            inner.set_working_dir(Some(workdir.clone()));
        }
        if !self.env.is_empty() {
            inner.set_env(Some(self.override_env(inner.env().clone().unwrap_or_default())));
        }
        overridden.set_config(Some(inner));
        overridden
    }

    /// Sets and removes variables in place, so that the image's order stays.
    fn override_env(&self, mut env: Vec<String>) -> Vec<String> {
        for variable in &self.env {
            let name = variable.split('=').next().unwrap_or(variable);
            let has_name = |other: &String| other.split('=').next() == Some(name);
            match (variable.contains('='), env.iter_mut().find(|other| has_name(other))) {
                (true, Some(existing)) => existing.clone_from(variable),
                (true, None) => env.push(variable.clone()),
                (false, _) => env.retain(|other| !has_name(other)),
            }
        }
        env
    }

    /// config.json with these overrides.
    pub(super) fn apply_to_runtime(&self, mut runtime: Value) -> Value {
        for volume in &self.volumes {
            add_volume(&mut runtime, volume);
        }
        if let Some(hostname) = &self.hostname {
            runtime["hostname"] = json!(hostname);
        }
        if self.tty {
            runtime["process"]["terminal"] = json!(true);
            if let Some(env) = runtime["process"]["env"].as_array_mut()
                && !env.iter().any(|variable| variable.as_str().is_some_and(|text| text.starts_with("TERM=")))
            {
                env.push(json!("TERM=xterm"));
            }
        }
        match &self.seccomp {
            Seccomp::Default => {}
            Seccomp::None => remove(&mut runtime["linux"], "seccomp"),
            Seccomp::Profile(profile) => runtime["linux"]["seccomp"] = profile.clone(),
        }
        if let Some(mapping) = &self.rootless {
            make_rootless(&mut runtime, mapping);
        }
        if let Some(mapping) = &self.mapping {
            add_user_namespace(&mut runtime, mapping);
        }
        for patch in &self.merge {
            merge(&mut runtime, patch);
        }
        runtime
    }
}

/// Adds a mount, in place of one of the image's own volumes at the same destination.
fn add_volume(runtime: &mut Value, volume: &Volume) {
    if let Some(mounts) = runtime["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["destination"] != volume.destination.as_str());
        mounts.push(volume.mount());
    }
}

fn remove(object: &mut Value, key: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
}

/// Reads the file of `--seccomp` or `--merge`: once, since it may be a pipe, and before any layer is read.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let place = || format!("{}", path.display());
    let bytes = std::fs::read(path).with_context(place)?;
    crate::image::document::manifest::parse_json(&bytes).with_context(place)
}

/// Applies a JSON merge patch (RFC 7396): objects are merged member by member, null removes, anything else
/// replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            remove(target, key);
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::bundle::config::image;

    #[test]
    fn an_entrypoint_takes_the_images_cmd_away() {
        let image = image(&json!({ "Entrypoint": ["e"], "Cmd": ["c"], "Env": ["A=1", "B=2", "C=3"] }));
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let overrides = ConfigOverrides { entrypoint: words(&["x"]), ..ConfigOverrides::default() };
        let overridden = overrides.apply_to_image(&image);
        let config = overridden.config().as_ref().unwrap();
        assert_eq!((config.entrypoint().clone(), config.cmd().clone()), (words(&["x"]), None));
        let env = ["B=5", "A", "D=", "C=6"].map(Into::into).to_vec();
        let overrides = ConfigOverrides { cmd: words(&["y"]), env, ..ConfigOverrides::default() };
        let overridden = overrides.apply_to_image(&image);
        let config = overridden.config().as_ref().unwrap();
        assert_eq!((config.entrypoint().clone(), config.cmd().clone()), (words(&["e"]), words(&["y"])));
        assert_eq!(config.env().clone(), words(&["B=5", "C=6", "D="]));
    }

    #[test]
    fn volumes_are_read_as_docker_spells_them() {
        let volume = Volume::parse("/a:/b:ro,nosuid").unwrap();
        assert_eq!(volume.mount()["options"], json!(["rbind", "rprivate", "ro", "nosuid"]));
        assert_eq!(Volume::parse("/a:/b:shared").unwrap().mount()["options"], json!(["rbind", "shared"]));
        assert_eq!(Volume::parse("/b").unwrap().mount()["type"], "tmpfs");
        for bad in ["", "a:/b", "/a:b", "/a:/b:ro:x"] {
            assert!(Volume::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_merge_patch_replaces_and_takes_away() {
        let mut target = json!({ "a": { "b": 1, "c": [1, 2] }, "d": 1 });
        merge(
            &mut target,
            &json!({ "a": { "b": null, "c": [3] }, "e": { "f": null, "g": 1 }, "d": { "h": 2 } }),
        );
        assert_eq!(target, json!({ "a": { "c": [3] }, "d": { "h": 2 }, "e": { "g": 1 } }));
    }
}
