//! `tare-image explain SOURCE [PATH…]`.

use clap::{Arg, ArgMatches, Command, value_parser};
use std::ffi::OsString;

use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::arguments::{self, flag};
use super::progress::{self, human_size};
use crate::cli::stdout;
use crate::error::{Context, Kind, Result, printable::one_line};
use crate::fail;
use crate::image::archive::EntryKind;
use crate::image::archive::path::is_within;
use crate::image::document::manifest::Image;
use crate::image::explain::{Effect, Event, Explained, Layer, Origin, Reason, explain, reasons};
use crate::image::source;

pub(super) fn command() -> Command {
    Command::new("explain")
        .about("Show which layer each path comes from, what layers hide of those below, and why each member of config.json has its value")
        .arg(arguments::source())
        .arg(
            Arg::new("path")
                .value_name("PATH")
                .num_args(0..)
                .value_parser(value_parser!(OsString))
                .help("show only these paths and what is below them; symlinks of the image are followed"),
        )
        .arg(flag("json", "print one JSON document"))
        .arg(arguments::platform())
        .args(arguments::limits())
        .args(arguments::access())
        .arg(progress::quiet())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let reference = arguments::source_of(matches)?;
    let source = source::open(&reference, &arguments::access_of(matches)?)?;
    let image = arguments::image_of(matches, source.as_ref(), &reference, false)?;
    let limits = arguments::limits_of(matches);
    let mut explained = explain(source.as_ref(), &image, &limits, &progress::terminal_only(matches))?;
    let mut chosen = Vec::new();
    for named in arguments::inner_paths(matches, "path") {
        let places = explained.places(&named).with_context(|| absolute(&named))?;
        let is_there = explained
            .paths
            .iter()
            .map(|(path, _)| path)
            .chain(explained.events.iter().map(|event| &event.path));
        let is_chosen = |path: &Vec<u8>| places.iter().any(|place| is_within(path, place));
        if !named.is_empty() && !is_there.into_iter().any(is_chosen) {
            return Err(fail!(Kind::NotFound, "no layer of the image has {}", absolute(&named)));
        }
        chosen.extend(places);
    }
    let is_chosen = |path: &[u8]| chosen.is_empty() || chosen.iter().any(|chosen| is_within(path, chosen));
    explained.paths.retain(|(path, _)| is_chosen(path));
    explained.events.retain(|event| is_chosen(&event.path));
    if matches.get_flag("json") {
        let document = to_json(&reference.to_string(), &image, &explained);
        let text = serde_json::to_string_pretty(&document).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        return stdout::write(&format!("{text}\n"));
    }
    stdout::write(&to_text(&image, &explained, chosen.is_empty()))
}

fn absolute(path: &[u8]) -> String {
    format!("/{}", path.escape_ascii())
}

fn to_text(image: &Image, explained: &Explained, is_whole: bool) -> String {
    let mut lines = vec!["LAYERS".to_owned()];
    let layers = explained.layers.iter().zip(image.manifest.layers()).enumerate();
    lines.extend(layers.map(|(number, (layer, blob))| layer_line(number, layer, blob)));
    lines.extend(["".to_owned(), "PATHS: the layer, and what stands there".to_owned()]);
    lines.extend(explained.paths.iter().map(|(path, origin)| path_line(path, origin)));
    let remarks = explained.paths.iter().filter_map(|(path, origin)| {
        Some(format!("{:>4}  {}: {}", origin.layer + 1, absolute(path), remark(origin)?))
    });
    section(&mut lines, "WORTH A LOOK: setuid, capabilities, devices", remarks.collect());
    section(&mut lines, "WHAT LAYERS DO TO THOSE BELOW", explained.events.iter().map(event_line).collect());
    if is_whole {
        let reasons = reasons(&image.config).iter().map(reason_lines).collect();
        section(&mut lines, "CONFIG.JSON: each member, and why", reasons);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn layer_line(number: usize, layer: &Layer, blob: &Descriptor) -> String {
    let hidden = match layer.hidden {
        0 => String::new(),
        hidden => format!(", {} of it hidden", human_size(hidden)),
    };
    let (number, packed, bytes) = (number + 1, human_size(blob.size()), human_size(layer.bytes));
    let entries = match layer.entries {
        1 => String::from("1 entry"),
        entries => format!("{entries} entries"),
    };
    format!("{number:>4}  {}  {packed} packed, {bytes}{hidden}, {entries}", blob.digest())
}

/// Returns three lines: the member, its value (cut to 100 characters) and the reason for it.
fn reason_lines(reason: &Reason) -> String {
    let mut value = reason.value.to_string();
    if value.chars().count() > 100 {
        value = format!("{}…", value.chars().take(99).collect::<String>());
    }
    format!("{}\n      {value}\n      {}", one_line(&reason.pointer), one_line(&reason.why))
}

fn section(lines: &mut Vec<String>, head: &str, body: Vec<String>) {
    if !body.is_empty() {
        lines.extend([String::new(), head.to_owned()]);
        lines.extend(body);
    }
}

/// Returns the type's letter, as in `ls -l`.
fn type_letter(kind: EntryKind) -> char {
    match kind {
        EntryKind::Regular | EntryKind::HardLink => '-',
        EntryKind::Symlink => 'l',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
        EntryKind::Directory => 'd',
        EntryKind::Fifo => 'p',
    }
}

fn path_line(path: &[u8], origin: &Origin) -> String {
    let Origin { layer, kind, mode, ids, .. } = origin;
    let more = match (kind, origin.is_hard_link) {
        (EntryKind::Symlink, _) => format!(" -> {}", origin.link.escape_ascii()),
        (_, true) => format!(" = {}", absolute(&origin.link)),
        (EntryKind::Directory, _) if origin.is_implied => " (no entry: implied)".into(),
        _ => String::new(),
    };
    let ids = format!("{}:{}", ids.0, ids.1);
    let bytes = if *kind == EntryKind::Regular { human_size(origin.size) } else { String::new() };
    format!("{:>4}  {}{mode:04o} {ids:>9} {bytes:>8} {}{more}", layer + 1, type_letter(*kind), absolute(path))
}

/// Describes why a file needs attention: setuid, setgid, capabilities, a device. None for all other files.
fn remark(origin: &Origin) -> Option<String> {
    let mut remarks = Vec::new();
    if origin.kind != EntryKind::Directory && origin.kind != EntryKind::Symlink {
        if origin.mode & 0o4000 != 0 {
            remarks.push(format!("setuid: runs as {}", origin.ids.0));
        }
        if origin.mode & 0o2010 == 0o2010 {
            remarks.push(format!("setgid: runs as group {}", origin.ids.1));
        }
    }
    if let Some(value) = &origin.capability {
        remarks.push(format!("capabilities: {}", capabilities(value).unwrap_or_else(|| "damaged".into())));
    }
    if matches!(origin.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        let word = if origin.kind == EntryKind::CharDevice { "character" } else { "block" };
        remarks.push(format!("{word} device {}:{}", origin.device.0, origin.device.1));
    }
    (!remarks.is_empty()).then(|| remarks.join(", "))
}

/// Returns the capabilities in a `security.capability` attribute, as getcap(8) prints them:
/// `cap_net_raw,cap_chown=ep`. `None` if the attribute is damaged. The attribute has a 32-bit word of flags,
/// then the low and the high halves of the permitted and the inheritable set (`struct vfs_cap_data`,
/// linux/capability.h).
fn capabilities(value: &[u8]) -> Option<String> {
    let word = |index: usize| Some(u32::from_le_bytes(value.get(4 * index..4 * index + 4)?.try_into().ok()?));
    let flags = word(0)?;
    let set = |index: usize| Some(u64::from(word(index)?) | u64::from(word(index + 2).unwrap_or(0)) << 32);
    let (permitted, inheritable) = (set(1)?, set(2)?);
    let name = |bit: u64| {
        let known = caps::all().into_iter().find(|cap| u64::from(cap.index()) == bit);
        known.map_or_else(|| bit.to_string(), |cap| cap.to_string().to_lowercase())
    };
    let bits = (0..64).filter(|bit| (permitted | inheritable) >> bit & 1 == 1);
    let names: Vec<String> = bits.map(name).collect();
    let sets = [(flags & 1 != 0, 'e'), (inheritable != 0, 'i'), (permitted != 0, 'p')];
    let letters: String = sets.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| *letter).collect();
    Some(format!("{}={letters}", names.join(",")))
}

fn event_line(event: &Event) -> String {
    let (layer, path) = (event.layer + 1, absolute(&event.path));
    let whose = |layers: &Vec<usize>, bytes: u64| match layers[..] {
        [] => "there is nothing".to_owned(),
        _ => {
            let all: Vec<String> = layers.iter().map(|layer| (layer + 1).to_string()).collect();
            format!("of layer {}, {}", all.join(", "), human_size(bytes))
        }
    };
    match &event.effect {
        Effect::Removes { layers, bytes } => {
            format!("{layer:>4}  takes away {path} ({})", whose(layers, *bytes))
        }
        Effect::Empties { layers, bytes } => {
            format!("{layer:>4}  empties {path} ({})", whose(layers, *bytes))
        }
        Effect::Replaces { layer: of, bytes } => {
            format!("{layer:>4}  replaces {path} ({})", whose(&vec![*of], *bytes))
        }
        Effect::Skipped => format!("{layer:>4}  has {path}, a name kept for AUFS: skipped"),
    }
}

fn to_json(reference: &str, image: &Image, explained: &Explained) -> Value {
    let layers = explained.layers.iter().zip(image.manifest.layers()).map(|(layer, blob)| {
        json!({ "digest": blob.digest(), "size": blob.size(), "entries": layer.entries, "bytes": layer.bytes, "hiddenBytes": layer.hidden })
    });
    let reasons = reasons(&image.config);
    let config = reasons
        .iter()
        .map(|reason| json!({ "pointer": reason.pointer, "value": reason.value, "why": reason.why }));
    json!({
        "reference": reference,
        "digest": image.descriptor.digest(),
        "layers": layers.collect::<Vec<_>>(),
        "paths": explained.paths.iter().map(|(path, origin)| path_to_json(path, origin)).collect::<Vec<_>>(),
        "events": explained.events.iter().map(event_to_json).collect::<Vec<_>>(),
        "config": config.collect::<Vec<_>>(),
    })
}

fn path_to_json(path: &[u8], origin: &Origin) -> Value {
    let mut object = json!({
        "path": absolute(path), "layer": origin.layer + 1, "type": type_letter(origin.kind).to_string(),
        "mode": format!("{:04o}", origin.mode), "uid": origin.ids.0, "gid": origin.ids.1, "size": origin.size,
    });
    if !origin.link.is_empty() {
        let key = if origin.is_hard_link { "hardLink" } else { "target" };
        object[key] = json!(origin.link.escape_ascii().to_string());
    }
    if let Some(remark) = remark(origin) {
        object["remark"] = json!(remark);
    }
    if origin.is_implied {
        object["implied"] = json!(true);
    }
    object
}

fn event_to_json(event: &Event) -> Value {
    let (what, layers, bytes) = match &event.effect {
        Effect::Removes { layers, bytes } => ("removes", layers.clone(), *bytes),
        Effect::Empties { layers, bytes } => ("empties", layers.clone(), *bytes),
        Effect::Replaces { layer, bytes } => ("replaces", vec![*layer], *bytes),
        Effect::Skipped => ("skipped", Vec::new(), 0),
    };
    let of: Vec<usize> = layers.iter().map(|layer| layer + 1).collect();
    json!({ "layer": event.layer + 1, "path": absolute(&event.path), "what": what, "of": of, "bytes": bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named() {
        // cap_net_bind_service and cap_net_raw, effective and permitted, version 2.
        let mut value = vec![1, 0, 0, 2, 0, 0x24, 0, 0];
        value.resize(20, 0);
        assert_eq!(capabilities(&value).unwrap(), "cap_net_bind_service,cap_net_raw=ep");
        assert_eq!(capabilities(&[1, 2]), None);
    }
}
