//! `tare-image inspect SOURCE`, `list SOURCE` and `verify SOURCE`: what there is, without unpacking it.

use std::collections::BTreeMap;

use clap::{ArgMatches, Command};
use oci_spec::image::{Descriptor, ImageConfiguration};
use serde_json::{Value, json};

use super::arguments::{self, flag};
use super::progress::size;
use crate::cli::stdout;
use crate::error::{Kind, Result};
use crate::image::manifest::{Document, Image, document, read_index};
use crate::image::platform;
use crate::image::reference::Reference;
use crate::image::source::{self, Source};
use crate::image::verify::verify;
use crate::{fail, log};

pub fn command() -> Command {
    Command::new("inspect")
        .about("Show an image's manifest and configuration, as JSON")
        .arg(arguments::source())
        .arg(flag("raw", "the manifest as it stands in the blob"))
        .arg(flag("config", "the configuration as it stands in the blob").conflicts_with("raw"))
        .arg(arguments::platform())
        .args(arguments::access())
}

pub fn run(matches: &ArgMatches) -> Result<()> {
    let (reference, source) = open(matches)?;
    let image = arguments::image_of(matches, source.as_ref(), &reference, false)?;
    if matches.get_flag("raw") {
        return stdout::write(&String::from_utf8_lossy(&image.manifest_bytes));
    }
    if matches.get_flag("config") {
        return stdout::write(&String::from_utf8_lossy(&image.config_bytes));
    }
    let document =
        serde_json::to_string_pretty(&about(&reference, &image)).map_err(|e| fail!(Kind::Spec, "{e}"))?;
    stdout::write(&format!("{document}\n"))
}

fn open(matches: &ArgMatches) -> Result<(Reference, Box<dyn Source>)> {
    let reference = arguments::source_of(matches)?;
    let source = source::open(&reference, &arguments::access_of(matches)?)?;
    Ok((reference, source))
}

fn about(reference: &Reference, image: &Image) -> Value {
    let (config, manifest) = (&image.config, &image.manifest);
    let layer = |(blob, diff_id): (&Descriptor, &String)| json!({ "mediaType": blob.media_type(), "digest": blob.digest(), "size": blob.size(), "diffId": diff_id });
    let layers: Vec<Value> = manifest.layers().iter().zip(config.rootfs().diff_ids()).map(layer).collect();
    json!({
        "reference": reference.to_string(),
        "digest": image.descriptor.digest(),
        "mediaType": image.descriptor.media_type(),
        "platform": of_config(config),
        "created": config.created(),
        "size": manifest.layers().iter().map(Descriptor::size).sum::<u64>(),
        "annotations": manifest.annotations().clone().map(|all| all.into_iter().collect::<BTreeMap<_, _>>()),
        "config": serde_json::from_slice::<Value>(&image.config_bytes).unwrap_or_default().get("config"),
        "layers": layers,
    })
}

fn of_config(config: &ImageConfiguration) -> String {
    let variant = config.variant().as_ref().map_or_else(String::new, |variant| format!("/{variant}"));
    format!("{}/{}{variant}", config.os(), config.architecture())
}

pub fn list_command() -> Command {
    Command::new("list")
        .about("List what a layout, archive or registry offers: names, platforms, digests, sizes")
        .arg(arguments::source())
        .arg(flag("json", "as JSON"))
        .args(arguments::access())
}

pub fn list(matches: &ArgMatches) -> Result<()> {
    let (_, source) = open(matches)?;
    let tags = source.tags()?;
    if let Some(tags) = tags {
        let lines = if matches.get_flag("json") { format!("{}\n", json!(tags)) } else { lines(&tags) };
        return stdout::write(&lines);
    }
    let mut rows = Vec::new();
    for top in source.manifests()? {
        let name = source::name(&top).cloned().unwrap_or_default();
        rows_of(source.as_ref(), &name, &top, source::DEPTH, &mut rows);
    }
    if matches.get_flag("json") {
        return stdout::write(&format!("{}\n", json!(rows)));
    }
    let column = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let line = |row: &Value| {
        let bytes = row["size"].as_u64().map_or_else(String::new, size);
        format!(
            "{:<24} {:<16} {:<72} {bytes}",
            column(row, "name"),
            column(row, "platform"),
            column(row, "digest")
        )
    };
    let head = format!("{:<24} {:<16} {:<72} SIZE", "NAME", "PLATFORM", "DIGEST");
    let all: Vec<String> =
        [head].into_iter().chain(rows.iter().map(line)).map(|line| line.trim_end().to_owned()).collect();
    stdout::write(&lines(&all))
}

fn lines(all: &[String]) -> String {
    all.iter().map(|line| format!("{line}\n")).collect()
}

/// One row for each image that `top` leads to; what cannot be read is listed with what is said of it.
fn rows_of(source: &dyn Source, name: &str, top: &Descriptor, depth: u32, rows: &mut Vec<Value>) {
    let open = |descriptor: &Descriptor| source.blob(descriptor);
    if depth > 0
        && document(top.media_type()).is_ok_and(|sort| sort == Document::Index)
        && let Ok(index) = read_index(&open, top)
    {
        return index.manifests().iter().for_each(|one| rows_of(source, name, one, depth - 1, rows));
    }
    let image = crate::image::manifest::read_image(&open, top).ok();
    let bytes = image.as_ref().map(|image| image.manifest.layers().iter().map(Descriptor::size).sum::<u64>());
    let said = || top.platform().as_ref().map(platform::shown);
    let platform = image.as_ref().map(|image| of_config(&image.config)).or_else(said);
    rows.push(json!({ "name": name, "platform": platform, "digest": top.digest(), "size": bytes }));
}

pub fn verify_command() -> Command {
    Command::new("verify")
        .about("Check every digest, size, document and layer of what a source names, and tell all faults")
        .arg(arguments::source())
        .args(arguments::limits())
        .args(arguments::access())
}

pub fn run_verify(matches: &ArgMatches) -> Result<()> {
    let (reference, source) = open(matches)?;
    let tops = source.manifests()?;
    let chosen = source::chosen(&tops, &reference)?;
    let (mut good, mut bad) = (0, 0);
    for top in chosen {
        verify(source.as_ref(), top, &arguments::limits_of(matches), &mut |finding| {
            let what = finding.what.clone();
            match finding.fault() {
                None => {
                    good += 1;
                    let _ = stdout::write(&format!("{what}: good\n"));
                }
                Some(error) => {
                    bad += 1;
                    log::plain(format_args!("{error}"));
                }
            }
        });
    }
    match bad {
        0 => Ok(()),
        bad => Err(fail!(Kind::Spec, "{reference}: {bad} faults ({good} good)")),
    }
}
