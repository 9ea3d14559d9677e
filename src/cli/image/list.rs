//! `tare-image list SOURCE`: the tags of a repository, or the images of a layout or archive.

use std::collections::HashSet;

use clap::{ArgMatches, Command};
use oci_spec::image::{Descriptor, Digest};
use serde_json::{Value, json};

use super::arguments::{self, flag};
use super::inspect::{open_source, platform_text};
use super::progress::human_size;
use crate::cli::stdout;
use crate::error::{Result, printable::one_line};
use crate::image::document::manifest::{
    DocumentKind, artifact_type, document_kind, read_image, read_index, read_manifest,
};
use crate::image::document::platform;
use crate::image::source::{self, ImageSource};

pub(super) fn command() -> Command {
    Command::new("list")
        .about("List what a layout, archive or registry offers: names, platforms, digests, sizes")
        .arg(arguments::source())
        .arg(flag("json", "print JSON"))
        .args(arguments::access())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let (_, source) = open_source(matches)?;
    let is_json = matches.get_flag("json");
    if let Some(tags) = source.tags()? {
        return stdout::write(&if is_json { format!("{}\n", json!(tags)) } else { to_lines(&tags) });
    }
    let mut rows = Vec::new();
    for top in source.manifests()? {
        let name = source::ref_name(&top).cloned().unwrap_or_default();
        let mut rows = Rows { source: source.as_ref(), name: &name, rows: &mut rows, seen: HashSet::new() };
        rows.collect(&top, source::MAX_INDEX_DEPTH);
    }
    if is_json {
        return stdout::write(&format!("{}\n", json!(rows)));
    }
    let head = format!("{:<24} {:<16} {:<72} SIZE", "NAME", "PLATFORM", "DIGEST");
    let table: Vec<String> = [head]
        .into_iter()
        .chain(rows.iter().map(table_line))
        .map(|line| line.trim_end().to_owned())
        .collect();
    stdout::write(&to_lines(&table))
}

fn to_lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", one_line(line))).collect()
}

fn table_line(row: &Value) -> String {
    let column = |key: &str| one_line(row[key].as_str().unwrap_or_default()).into_owned();
    let size = row["size"].as_u64().map_or_else(String::new, human_size);
    let platform = if row["artifactType"].is_string() { "artifact".into() } else { column("platform") };
    format!("{:<24} {platform:<16} {:<72} {size}", column("name"), column("digest"))
}

/// The rows for one name.
struct Rows<'a> {
    source: &'a dyn ImageSource,
    name: &'a str,
    rows: &'a mut Vec<Value>,
    /// Manifests that have a row, and indexes that were read: a few indexes that name each other a thousand
    /// times would take for ever.
    seen: HashSet<Digest>,
}

impl Rows<'_> {
    /// Adds one row for each image that `top` leads to. An image that cannot be read is listed with the
    /// platform and the digest that its index has for it.
    fn collect(&mut self, top: &Descriptor, depth: u32) {
        if !self.seen.insert(top.digest().clone()) {
            return;
        }
        let open = |descriptor: &Descriptor| self.source.blob(descriptor);
        if depth > 0
            && document_kind(top.media_type()).is_ok_and(|kind| kind == DocumentKind::Index)
            && let Ok(index) = read_index(&open, top)
        {
            return index.manifests().iter().for_each(|manifest| self.collect(manifest, depth - 1));
        }
        let row = self.row(top);
        self.rows.push(row);
    }

    fn row(&self, top: &Descriptor) -> Value {
        let (name, digest) = (self.name, top.digest());
        let open = |descriptor: &Descriptor| self.source.blob(descriptor);
        let size = |layers: &[Descriptor]| layers.iter().map(Descriptor::size).sum::<u64>();
        if let Ok((manifest, _)) = read_manifest(&open, top)
            && let Some(kind) = artifact_type(&manifest)
        {
            return json!({ "name": name, "artifactType": kind, "digest": digest, "size": size(manifest.layers()) });
        }
        let image = read_image(&open, top).ok();
        let bytes = image.as_ref().map(|image| size(image.manifest.layers()));
        let in_index = || top.platform().as_ref().map(platform::format_platform);
        let platform = image.as_ref().map(|image| platform_text(&image.config)).or_else(in_index);
        json!({ "name": name, "platform": platform, "digest": digest, "size": bytes })
    }
}
