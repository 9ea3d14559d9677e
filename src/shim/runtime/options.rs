//! The options of a runtime, in every form in which an engine hands them on; and their copy in the bundle.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use prost::Message;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::shim::small_file;
use crate::shim::wire::options::{OlderOptions, RuntimeOptions};
use crate::shim::wire::types::Any;

pub(crate) use crate::shim::wire::options::Options;

pub(crate) const RUNC: &str = "containerd.runc.v1.Options";
const GENERIC: &str = "runtimeoptions.v1.Options";
const OLDER: &str = "containerd.linux.runc.CreateOptions";

/// Where `delete` finds the options, as it does those of containerd's own shim.
const FILE: &str = "options.json";

/// Whether [`read`] takes a message of this type.
pub(crate) fn is_known(any: &Any) -> bool {
    matches!(any.type_name(), RUNC | GENERIC | OLDER)
}

/// Decodes the options of a request. None at all are the defaults.
///
/// # Errors
/// Returns an error for a type that is not known: an option that is passed over in silence is worse than none.
pub(crate) fn read(any: Option<&Any>) -> Result<Options> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
        return Ok(Options::default());
    };
    let wrong = |error: prost::DecodeError| fail!(Kind::Usage, "options of type {}: {error}", any.type_url);
    match any.type_name() {
        RUNC => Options::decode(any.value.as_slice()).map_err(wrong),
        GENERIC => from_generic(&RuntimeOptions::decode(any.value.as_slice()).map_err(wrong)?),
        OLDER => OlderOptions::decode(any.value.as_slice()).map_err(wrong).map(from_older),
        _ => Err(fail!(
            Kind::Usage,
            "unknown type of options {:?}: {RUNC}, {GENERIC} and {OLDER} are known",
            any.type_url
        )),
    }
}

fn from_older(older: OlderOptions) -> Options {
    Options {
        no_pivot_root: older.no_pivot_root,
        no_new_keyring: older.no_new_keyring,
        shim_cgroup: older.shim_cgroup,
        io_uid: older.io_uid,
        io_gid: older.io_gid,
        criu_image_path: older.criu_image_path,
        criu_work_path: older.criu_work_path,
        ..Options::default()
    }
}

/// The document of the newer form: in the message, or in a file that it names.
fn from_generic(generic: &RuntimeOptions) -> Result<Options> {
    if !generic.config_body.is_empty() {
        let text = String::from_utf8_lossy(&generic.config_body);
        return from_toml(&text).context("the runtime's options");
    }
    if generic.config_path.is_empty() {
        return Ok(Options::default());
    }
    let text = small_file::read_named(Path::new(&generic.config_path))
        .with_context(|| format!("reading {}", generic.config_path))?;
    from_toml(&text).with_context(|| generic.config_path.clone())
}

/// The names of containerd's configuration.
#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    no_pivot_root: bool,
    no_new_keyring: bool,
    shim_cgroup: String,
    io_uid: u32,
    io_gid: u32,
    binary_name: String,
    root: String,
    systemd_cgroup: bool,
    criu_path: String,
    criu_image_path: String,
    criu_work_path: String,
}

fn from_toml(text: &str) -> Result<Options> {
    let document: Document =
        toml::from_str(text).map_err(|error| fail!(Kind::Usage, "{}", error.message()))?;
    Ok(Options {
        no_pivot_root: document.no_pivot_root,
        no_new_keyring: document.no_new_keyring,
        shim_cgroup: document.shim_cgroup,
        io_uid: document.io_uid,
        io_gid: document.io_gid,
        binary_name: document.binary_name,
        root: document.root,
        systemd_cgroup: document.systemd_cgroup,
        criu_image_path: document.criu_image_path,
        criu_work_path: document.criu_work_path,
        ..Options::default()
    })
}

/// Writes the options into the bundle.
pub(crate) fn save(bundle: &Path, options: &Options) -> Result<()> {
    let bytes = serde_json::to_vec(options).map_err(|error| fail!(Kind::Spec, "{error}"))?;
    let path = bundle.join(FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&bytes)).with_context(|| format!("writing {}", path.display()))
}

/// Reads the options from the bundle; `None` where there are none.
pub(crate) fn load(bundle: &Path) -> Result<Option<Options>> {
    let path = bundle.join(FILE);
    match small_file::read(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| fail!(Kind::Spec, "{}: {error}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_options_are_those_of_todays() {
        let older = OlderOptions {
            no_new_keyring: true,
            io_uid: 1000,
            io_gid: 1001,
            shim_cgroup: "/shims".into(),
            ..OlderOptions::default()
        };
        let any = Any { type_url: OLDER.into(), value: older.encode_to_vec() };
        assert!(is_known(&any));
        let options = read(Some(&any)).unwrap();
        let expected = Options {
            no_new_keyring: true,
            io_uid: 1000,
            io_gid: 1001,
            shim_cgroup: "/shims".into(),
            ..Options::default()
        };
        assert_eq!(options, expected);
    }
}
