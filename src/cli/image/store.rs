//! `tare-image store`: what is in a store, and who uses it.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments::{self, flag};
use super::progress::human_size;
use crate::cli::print::columns::align;
use crate::cli::stdout;
use crate::error::Result;
use crate::image::bundle;
use crate::image::store::listing::{self, Listing};

pub(super) fn command() -> Command {
    Command::new("store")
        .about("List what is in a store: images and layers, their sizes, and the bundles that use them")
        .arg(flag("json", "print JSON"))
        .arg(arguments::store())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let mut all = Vec::new();
    for store in arguments::existing_stores_of(matches)? {
        all.push(document(&store.path().display().to_string(), &listing::list(&store)?));
    }
    if matches.get_flag("json") {
        return stdout::write(&format!("{}\n", json!(all)));
    }
    stdout::write(&all.iter().map(text).collect::<Vec<_>>().join("\n"))
}

fn document(path: &str, listing: &Listing) -> Value {
    let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let size_of =
        |name: &String| listing.layers.iter().find(|layer| layer.name == *name).and_then(|layer| layer.size);
    let images = listing.images.iter().map(|image| {
        let size: Option<u64> = image.layers.iter().map(size_of).sum();
        json!({ "reference": image.reference, "manifest": image.manifest, "size": size, "layers": image.layers, "pulled": time(image.time) })
    });
    let layers = listing.layers.iter().map(|layer| {
        let images = listing.images.iter().filter(|image| image.layers.contains(&layer.name));
        let bundles = listing.bundles.iter().filter(|bundle| bundle.layers.contains(&layer.name));
        let images: Vec<&String> = images.map(|image| &image.reference).collect();
        let bundles: Vec<String> = bundles.map(|bundle| bundle.path.display().to_string()).collect();
        json!({ "name": layer.name, "size": layer.size, "unpacked": time(layer.time), "images": images, "bundles": bundles })
    });
    let bundles = listing.bundles.iter().map(|one| {
        let moved = || ("moved", Some("mounted at another path".to_owned()));
        let (state, reason) = if one.is_moved { moved() } else { bundle::look(&one.path) };
        json!({ "path": one.path.display().to_string(), "layers": one.layers, "state": state, "reason": reason })
    });
    json!({ "store": path, "images": images.collect::<Vec<_>>(), "layers": layers.collect::<Vec<_>>(), "bundles": bundles.collect::<Vec<_>>() })
}

fn text(store: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = |name: &str| store[name].as_array().cloned().unwrap_or_default();
    let size = |value: &Value| value.as_u64().map_or_else(|| "unknown".into(), human_size);
    let count = |value: &Value| value.as_array().map_or(0, Vec::len).to_string();
    let mut images = vec![["IMAGE", "DIGEST", "LAYERS", "SIZE", "PULLED"].map(String::from)];
    images.extend(rows("images").iter().map(|row| {
        [
            word(&row["reference"]),
            short(&word(&row["manifest"])),
            count(&row["layers"]),
            size(&row["size"]),
            age(&row["pulled"]),
        ]
    }));
    let mut layers = vec![["LAYER", "SIZE", "UNPACKED", "USED BY"].map(String::from)];
    layers.extend(rows("layers").iter().map(|row| {
        let users = [&row["images"], &row["bundles"]].into_iter().filter_map(Value::as_array).flatten();
        let users: Vec<String> = users.map(word).collect();
        let users = if users.is_empty() { "nothing".into() } else { users.join(", ") };
        [short(&word(&row["name"])), size(&row["size"]), age(&row["unpacked"]), users]
    }));
    let mut bundles = vec![["BUNDLE", "LAYERS", "STATE"].map(String::from)];
    bundles.extend(rows("bundles").iter().map(|row| {
        let reason = row["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        [word(&row["path"]), count(&row["layers"]), word(&row["state"]) + &reason]
    }));
    [align(&images), align(&layers), align(&bundles)].join("\n")
}

/// A digest or the name of a layer with the first 12 of its digits.
fn short(name: &str) -> String {
    match name.rsplit_once([':', '-']) {
        Some((before, hex)) => name[..=before.len()].to_owned() + hex.get(..12).unwrap_or(hex),
        None => name.to_owned(),
    }
}

fn age(time: &Value) -> String {
    age_of(time.as_str().unwrap_or_default())
}

/// How long ago a time was, in its largest unit.
pub(super) fn age_of(time: &str) -> String {
    let time = humantime::parse_rfc3339(time).unwrap_or(UNIX_EPOCH);
    let seconds = SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    let whole = humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string();
    format!("{} ago", whole.split(' ').next().unwrap_or_default())
}
