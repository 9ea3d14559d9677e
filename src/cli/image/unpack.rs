//! `tare-image unpack SOURCE BUNDLE`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;

use super::arguments::{self, flag, option, path, text};
use super::progress;
use crate::cli::out;
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::bundle::{self, Options};
use crate::image::source;
use crate::image::wishes::{Seccomp, Volume, Wishes};

pub fn command() -> Command {
    Command::new("unpack")
        .about("Unpack an image to a new bundle: config.json and rootfs")
        .arg(arguments::source())
        .arg(arguments::bundle().help("the directory to make; it may exist if it is empty"))
        .arg(flag("overlay", "share the layers in the store, and mount them: a second bundle takes no disk"))
        .arg(arguments::store())
        .arg(flag("rootfs-only", "make no config.json"))
        .args(wishes())
        .arg(arguments::platform())
        .args(arguments::limits())
        .args(arguments::access())
        .args(progress::arguments())
}

fn wishes() -> Vec<Arg> {
    let repeated = |name, value, help| option(name, value, help).action(ArgAction::Append);
    vec![
        repeated(
            "entrypoint",
            "WORD",
            "instead of the image's Entrypoint and Cmd; a word, or a JSON array of them",
        ),
        repeated("cmd", "WORD", "instead of the image's Cmd; a word, or a JSON array of them"),
        repeated("env", "NAME[=VALUE]", "set a variable, or take it away"),
        option("user", "USER[:GROUP]", "instead of the image's User"),
        option("workdir", "DIR", "instead of the image's WorkingDir"),
        repeated("volume", "[SOURCE:]DIR[:OPTIONS]", "mount a directory of the host, or a new one"),
        option("hostname", "NAME", "the container's host name"),
        flag("tty", "the process gets a terminal"),
        option("seccomp", "FILE|none", "the system calls allowed [default: a list of our own]"),
        repeated("merge", "FILE", "a JSON merge patch for config.json").value_parser(value_parser!(PathBuf)),
    ]
}

/// Words given one by one, or as a JSON array.
fn words(matches: &ArgMatches, name: &str) -> Result<Option<Vec<String>>> {
    let Some(given) = matches.get_many::<String>(name) else { return Ok(None) };
    let mut words = Vec::new();
    for one in given {
        match one.starts_with('[') {
            true => {
                let array: Vec<String> =
                    serde_json::from_str(one).map_err(|e| fail!(Kind::Usage, "--{name} {one:?}: {e}"))?;
                words.extend(array);
            }
            false => words.push(one.clone()),
        }
    }
    Ok(Some(words))
}

fn wishes_of(matches: &ArgMatches) -> Result<Wishes> {
    let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten();
    Ok(Wishes {
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
            Some(path) => Seccomp::File(path.into()),
        },
        rootless: None,
        merge: matches.get_many("merge").into_iter().flatten().cloned().collect(),
    })
}

pub fn run(matches: &ArgMatches) -> Result<()> {
    let reference = arguments::source_of(matches)?;
    let wishes = wishes_of(matches)?;
    let source = source::open(&reference, &arguments::access_of(matches)?)?;
    let image = source::image(source.as_ref(), &reference, &arguments::platform_of(matches)?)?;
    let path = path(matches, "bundle").unwrap_or_default();
    let options = Options {
        limits: arguments::limits_of(matches),
        watch: progress::of(matches),
        wishes,
        rootfs_only: matches.get_flag("rootfs-only"),
        store: matches.get_flag("overlay").then(|| arguments::store_of(matches)).transpose()?,
    };
    let origin = reference.absolute()?.to_string();
    bundle::unpack(source.as_ref(), &origin, &image, &path, &options)?;
    if matches.get_flag("json") {
        out::write(&format!("{}\n", json!({ "bundle": path, "manifest": image.descriptor.digest() })))?;
    }
    Ok(())
}
