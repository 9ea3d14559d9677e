//! What the person wants otherwise than the image: applied to the image's configuration where that has the field,
//! else to config.json.

use std::path::PathBuf;

use oci_spec::image::{Config, ImageConfiguration};
use serde_json::{Value, json};

use super::profile;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::userns::mapping;

#[derive(Debug, Default, Clone)]
pub struct Wishes {
    /// Replaces Entrypoint, and takes Cmd away as Docker does.
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    /// `NAME=VALUE`, or `NAME` to take one away.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub volumes: Vec<Volume>,
    pub hostname: Option<String>,
    pub tty: bool,
    pub seccomp: Seccomp,
    /// A user namespace for whoever unpacks without privileges.
    pub rootless: Option<mapping::Mapping>,
    /// A user namespace for a container that root runs.
    pub mapping: Option<mapping::Mapping>,
    /// Merge patches (RFC 7396), applied last.
    pub merge: Vec<PathBuf>,
}

#[derive(Debug, Default, Clone)]
pub enum Seccomp {
    /// The profile of `seccomp.rs`.
    #[default]
    Default,
    None,
    File(PathBuf),
}

/// `SOURCE:DESTINATION[:OPTIONS]`, or `DESTINATION` for a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub source: Option<String>,
    pub destination: String,
    pub options: Vec<String>,
}

impl Volume {
    pub fn parse(text: &str) -> Result<Self> {
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

    fn mount(&self) -> Value {
        let Some(source) = &self.source else { return profile::volume(&self.destination) };
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

impl Wishes {
    /// The image's configuration as it is wished for.
    pub fn image(&self, config: &ImageConfiguration) -> ImageConfiguration {
        let mut wished = config.clone();
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
            inner.set_env(Some(self.environment(inner.env().clone().unwrap_or_default())));
        }
        wished.set_config(Some(inner));
        wished
    }

    fn environment(&self, mut env: Vec<String>) -> Vec<String> {
        for wish in &self.env {
            let name = wish.split('=').next().unwrap_or(wish);
            let is_it = |one: &String| one.split('=').next() == Some(name);
            match (wish.contains('='), env.iter_mut().find(|one| is_it(one))) {
                (true, Some(known)) => known.clone_from(wish),
                (true, None) => env.push(wish.clone()),
                (false, _) => env.retain(|one| !is_it(one)),
            }
        }
        env
    }

    /// config.json as it is wished for.
    pub fn runtime(&self, mut runtime: Value) -> Result<Value> {
        for volume in &self.volumes {
            self.mount(&mut runtime, volume);
        }
        if let Some(hostname) = &self.hostname {
            runtime["hostname"] = json!(hostname);
        }
        if self.tty {
            runtime["process"]["terminal"] = json!(true);
            if let Some(env) = runtime["process"]["env"].as_array_mut()
                && !env.iter().any(|one| one.as_str().is_some_and(|one| one.starts_with("TERM=")))
            {
                env.push(json!("TERM=xterm"));
            }
        }
        match &self.seccomp {
            Seccomp::Default => {}
            Seccomp::None => remove(&mut runtime["linux"], "seccomp"),
            Seccomp::File(path) => runtime["linux"]["seccomp"] = document(path)?,
        }
        if let Some(mapping) = &self.rootless {
            mapping.apply(&mut runtime);
        }
        if let Some(mapping) = &self.mapping {
            mapping.map(&mut runtime);
        }
        for path in &self.merge {
            merge(&mut runtime, &document(path)?);
        }
        Ok(runtime)
    }

    /// A mount at the place of one of the image's volumes replaces it.
    fn mount(&self, runtime: &mut Value, volume: &Volume) {
        if let Some(mounts) = runtime["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["destination"] != volume.destination.as_str());
            mounts.push(volume.mount());
        }
    }
}

fn remove(object: &mut Value, key: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
}

fn document(path: &PathBuf) -> Result<Value> {
    let place = || format!("{}", path.display());
    let bytes = std::fs::read(path).with_context(place)?;
    crate::image::document::manifest::parse(&bytes).with_context(place)
}

/// RFC 7396: objects member by member, null takes away, all else replaces.
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
        let wishes = Wishes { entrypoint: words(&["x"]), ..Wishes::default() };
        let wished = wishes.image(&image);
        let config = wished.config().as_ref().unwrap();
        assert_eq!((config.entrypoint().clone(), config.cmd().clone()), (words(&["x"]), None));
        let env = ["B=5", "A", "D=", "C=6"].map(Into::into).to_vec();
        let wishes = Wishes { cmd: words(&["y"]), env, ..Wishes::default() };
        let wished = wishes.image(&image);
        let config = wished.config().as_ref().unwrap();
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
