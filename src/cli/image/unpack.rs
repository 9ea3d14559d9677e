//! `tare-image unpack SOURCE BUNDLE`.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;

use super::arguments::{self, flag, option, path, text};
use super::progress;
use crate::cli::stdout;
use crate::error::{Kind, Result};
use crate::image::bundle::config_overrides::{ConfigOverrides, Seccomp, Volume, read_json};
use crate::image::bundle::{self, UnpackOptions};
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::userns::mapping::{IdMapping, IdRange};
use crate::image::userns::namespace::{self, Privilege};
use crate::{fail, log};

pub(super) fn command() -> Command {
    Command::new("unpack")
        .about("Unpack an image to a new bundle: config.json and rootfs")
        .arg(arguments::source())
        .arg(arguments::bundle().help("the directory to make; it may exist if it is empty"))
        .arg(arguments::layer_form().help("mount the layers from the store instead of copying them: a second bundle takes no disk space; say whether layers come into the store as files or as an index for EROFS [default: auto]"))
        .arg(arguments::store())
        .arg(flag("rootfs-only", "make no config.json"))
        .arg(
            Arg::new("rootless")
                .long("rootless")
                .value_name("single|ranges")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("best")
                .value_parser(["single", "ranges", "best"])
                .help("for an unprivileged user: map that user's id only, or the ranges of /etc/subuid too [default for other users than root: ranges if there are any]"),
        )
        .arg(mapping_option("uid-map", "map user ids of the container to the host's, in a user namespace; for root"))
        .arg(mapping_option("gid-map", "map group ids likewise [default: as --uid-map]"))
        .args(config_arguments())
        .arg(arguments::platform())
        .args(arguments::limits())
        .args(arguments::access())
        .args(progress::arguments())
}

fn mapping_option(name: &'static str, help: &'static str) -> Arg {
    option(name, "CONTAINER:HOST:SIZE", help).action(ArgAction::Append).value_parser(parse_range)
}

fn parse_range(text: &str) -> Result<IdRange, String> {
    let bad = || format!("{text:?} must be CONTAINER:HOST:SIZE, three numbers");
    let numbers: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
    match numbers[..] {
        [inner, host, size]
            if size > 0 && inner.checked_add(size).is_some() && host.checked_add(size).is_some() =>
        {
            Ok(IdRange { inner, host, size })
        }
        _ => Err(bad()),
    }
}

/// Returns the mapping of --uid-map and --gid-map.
fn mapping_of(matches: &ArgMatches) -> Result<Option<IdMapping>> {
    let many =
        |name: &str| -> Vec<IdRange> { matches.get_many(name).into_iter().flatten().copied().collect() };
    let (uids, gids) = (many("uid-map"), many("gid-map"));
    let (uids, gids) = match (uids.is_empty(), gids.is_empty()) {
        (true, true) => return Ok(None),
        (true, false) => return Err(fail!(Kind::Usage, "--gid-map needs --uid-map")),
        (false, true) => (uids.clone(), uids),
        (false, false) => (uids, gids),
    };
    if Privilege::detect() != Privilege::Root {
        let error = fail!(Kind::Denied, "--uid-map: only root maps any ids");
        return Err(error.with_hint("--rootless maps the ids that the user has"));
    }
    let mapping = IdMapping { uids, gids };
    let root = mapping.to_host(0, 0).map_err(|_| fail!(Kind::Usage, "--uid-map: root, 0, must be in it"));
    root.map(|_| Some(mapping))
}

/// Returns the options that change config.json.
fn config_arguments() -> Vec<Arg> {
    let repeated = |name, value, help| option(name, value, help).action(ArgAction::Append);
    vec![
        repeated(
            "entrypoint",
            "WORD",
            "instead of the image's Entrypoint and Cmd; a word, or a JSON array of them",
        ),
        repeated("cmd", "WORD", "instead of the image's Cmd; a word, or a JSON array of them"),
        repeated("env", "NAME[=VALUE]", "set a variable, or remove it"),
        option(
            "user",
            "USER[:GROUP]",
            "instead of the image's User; a name is looked up in the image's /etc/passwd, when its layers are unpacked",
        ),
        option("workdir", "DIR", "instead of the image's WorkingDir"),
        repeated(
            "volume",
            "[SOURCE:]DIR[:OPTIONS]",
            "mount a directory of the host, or a tmpfs where SOURCE is missing",
        ),
        option("hostname", "NAME", "the container's host name"),
        flag("tty", "give the process a terminal"),
        option("seccomp", "FILE|none", "the seccomp profile [default: tare's own]"),
        repeated("merge", "FILE", "apply a JSON merge patch (RFC 7396) to config.json")
            .value_parser(value_parser!(PathBuf)),
    ]
}

/// Returns the values of an option that is given once for each word, or with a JSON array of words.
fn words(matches: &ArgMatches, name: &str) -> Result<Option<Vec<String>>> {
    let Some(given) = matches.get_many::<String>(name) else { return Ok(None) };
    let mut words = Vec::new();
    for value in given {
        match value.starts_with('[') {
            true => {
                let array: Vec<String> =
                    serde_json::from_str(value).map_err(|e| fail!(Kind::Usage, "--{name} {value:?}: {e}"))?;
                words.extend(array);
            }
            false => words.push(value.clone()),
        }
    }
    Ok(Some(words))
}

fn config_overrides_of(matches: &ArgMatches) -> Result<ConfigOverrides> {
    let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten();
    Ok(ConfigOverrides {
        entrypoint: words(matches, "entrypoint")?,
        cmd: words(matches, "cmd")?,
        env: many("env").cloned().collect(),
        user: text(matches, "user").map(Into::into),
        workdir: text(matches, "workdir").map(Into::into),
        volumes: many("volume").map(|text| Volume::parse(text)).collect::<Result<_>>()?,
        hostname: text(matches, "hostname").map(Into::into),
        tty: matches.get_flag("tty"),
        seccomp: match text(matches, "seccomp") {
            None => Seccomp::Default,
            Some("none") => Seccomp::None,
            Some(path) => Seccomp::Profile(read_json(Path::new(path))?),
        },
        rootless: match Privilege::detect() {
            // An overlay bundle runs where it is mounted: in this namespace, where the container's ids are
            // this namespace's own.
            Privilege::OwnNamespace(_) if matches.contains_id("overlay") => {
                Some(namespace::current_mapping()?.nested())
            }
            Privilege::OwnNamespace(_) => Some(namespace::current_mapping()?),
            _ => None,
        },
        mapping: mapping_of(matches)?,
        merge: matches
            .get_many::<PathBuf>("merge")
            .into_iter()
            .flatten()
            .map(|path| read_json(path))
            .collect::<Result<_>>()?,
    })
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let reference = arguments::source_of(matches)?;
    if matches.contains_id("rootless") && Privilege::detect() == Privilege::Root {
        let error = fail!(Kind::Usage, "--rootless: this is root");
        return Err(error.with_hint("for a container in a user namespace say --uid-map 0:100000:65536"));
    }
    let overrides = config_overrides_of(matches)?;
    let is_overlay = matches.contains_id("overlay");
    let store = if is_overlay { arguments::store_if_there(matches)? } else { None };
    let source = arguments::open_beside(matches, &reference, store.as_ref())?;
    let image = arguments::image_of(matches, source.as_ref(), &reference, true)?;
    let path = path(matches, "bundle").unwrap_or_default();
    let options = UnpackOptions {
        adapter: EntryAdapter::for_privilege(Privilege::detect(), overrides.mapping.clone()),
        limits: arguments::limits_of(matches),
        progress: progress::progress_of(matches),
        overrides,
        rootfs_only: matches.get_flag("rootfs-only"),
        reflink_store: match Privilege::detect() {
            Privilege::Root if !is_overlay => arguments::existing_store_of(matches)?,
            _ => None,
        },
        layer_form: arguments::layer_form_of(matches),
        // Not before the image is found.
        overlay_store: match (store, is_overlay) {
            (None, true) => Some(arguments::store_of(matches)?),
            (store, _) => store,
        },
    };
    let origin = reference.absolute()?.to_string();
    bundle::unpack(source.as_ref(), &origin, &image, &path, &options)?;
    if matches!(Privilege::detect(), Privilege::OwnNamespace(_))
        && matches.contains_id("overlay")
        && !matches.get_flag("quiet")
    {
        let path = path.display();
        log::plain(format_args!(
            "{path}: mounted only while a command runs: tare-image mount {path} tare run -b {path} ID"
        ));
    }
    if matches.get_flag("json") {
        stdout::write(&format!("{}\n", json!({ "bundle": path, "manifest": image.descriptor.digest() })))?;
    }
    Ok(())
}
