//! `tare-image explain SOURCE [PATH…]`.

use clap::{Arg, ArgMatches, Command, value_parser};
use std::ffi::OsString;

use serde_json::{Value, json};

use super::arguments::{self, flag};
use super::progress::{self, size};
use crate::cli::stdout;
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::archive::Type;
use crate::image::explain::{Event, Explained, Origin, What, explain, reasons};
use crate::image::manifest::Image;
use crate::image::source;
use crate::image::tree::is_within;

pub fn command() -> Command {
    Command::new("explain")
        .about("Tell which layer each path comes from, what layers do to each other, and why config.json says what it says")
        .arg(arguments::source())
        .arg(
            Arg::new("path")
                .value_name("PATH")
                .num_args(0..)
                .value_parser(value_parser!(OsString))
                .help("tell of these paths only, and of what is in them"),
        )
        .arg(flag("json", "as one JSON document"))
        .arg(arguments::platform())
        .args(arguments::limits())
        .args(arguments::access())
        .arg(progress::quiet())
}

pub fn run(matches: &ArgMatches) -> Result<()> {
    let reference = arguments::source_of(matches)?;
    let source = source::open(&reference, &arguments::access_of(matches)?)?;
    let image = arguments::image_of(matches, source.as_ref(), &reference, false)?;
    let limits = arguments::limits_of(matches);
    let mut explained = explain(source.as_ref(), &image, &limits, &progress::silent(matches))?;
    let wanted = arguments::inner_paths(matches, "path");
    let is_wanted = |path: &[u8]| wanted.is_empty() || wanted.iter().any(|wanted| is_within(path, wanted));
    explained.paths.retain(|(path, _)| is_wanted(path));
    explained.events.retain(|event| is_wanted(&event.path));
    if matches.get_flag("json") {
        let document = document(&reference.to_string(), &image, &explained);
        let text = serde_json::to_string_pretty(&document).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        return stdout::write(&format!("{text}\n"));
    }
    stdout::write(&text(&image, &explained, wanted.is_empty()))
}

fn shown(path: &[u8]) -> String {
    format!("/{}", path.escape_ascii())
}

fn text(image: &Image, explained: &Explained, is_whole: bool) -> String {
    let mut lines = vec!["LAYERS".to_owned()];
    for (number, (layer, blob)) in explained.layers.iter().zip(image.manifest.layers()).enumerate() {
        let hidden =
            if layer.hidden == 0 { String::new() } else { format!(", {} of it hidden", size(layer.hidden)) };
        let (entries, bytes) = (layer.entries, size(layer.bytes));
        let number = number + 1;
        lines.push(format!(
            "{number:>4}  {}  {} packed, {bytes}{hidden}, {entries} entries",
            blob.digest(),
            size(blob.size())
        ));
    }
    lines.extend(["".to_owned(), "PATHS: the layer, and what stands there".to_owned()]);
    lines.extend(explained.paths.iter().map(|(path, origin)| line(path, origin)));
    let remarkable: Vec<String> = explained
        .paths
        .iter()
        .filter_map(|(path, origin)| {
            Some(format!("{:>4}  {}: {}", origin.layer + 1, shown(path), remark(origin)?))
        })
        .collect();
    section(&mut lines, "WORTH A LOOK: setuid, capabilities, devices", remarkable);
    section(&mut lines, "WHAT LAYERS DO TO THOSE BELOW", explained.events.iter().map(event).collect());
    if is_whole {
        let reasons = reasons(&image.config);
        let reason = |reason: &crate::image::explain::Reason| {
            let value = reason.value.to_string();
            let value = if value.chars().count() > 100 {
                format!("{}…", value.chars().take(99).collect::<String>())
            } else {
                value
            };
            format!("{}\n      {value}\n      {}", reason.pointer, reason.why)
        };
        section(&mut lines, "CONFIG.JSON: each member, and why", reasons.iter().map(reason).collect());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn section(lines: &mut Vec<String>, head: &str, body: Vec<String>) {
    if !body.is_empty() {
        lines.extend([String::new(), head.to_owned()]);
        lines.extend(body);
    }
}

fn letter(kind: Type) -> char {
    match kind {
        Type::Regular | Type::HardLink => '-',
        Type::Symlink => 'l',
        Type::CharDevice => 'c',
        Type::BlockDevice => 'b',
        Type::Directory => 'd',
        Type::Fifo => 'p',
    }
}

fn line(path: &[u8], origin: &Origin) -> String {
    let Origin { layer, kind, mode, ids, .. } = origin;
    let more = match (kind, origin.is_hard_link) {
        (Type::Symlink, _) => format!(" -> {}", origin.link.escape_ascii()),
        (_, true) => format!(" = {}", shown(&origin.link)),
        (Type::Directory, _) if origin.is_implied => " (no entry: implied)".into(),
        _ => String::new(),
    };
    let ids = format!("{}:{}", ids.0, ids.1);
    let bytes = if *kind == Type::Regular { size(origin.size) } else { String::new() };
    format!("{:>4}  {}{mode:04o} {ids:>9} {bytes:>8} {}{more}", layer + 1, letter(*kind), shown(path))
}

/// What gives or takes power.
fn remark(origin: &Origin) -> Option<String> {
    let mut remarks = Vec::new();
    if origin.kind != Type::Directory && origin.kind != Type::Symlink {
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
    if matches!(origin.kind, Type::CharDevice | Type::BlockDevice) {
        let word = if origin.kind == Type::CharDevice { "character" } else { "block" };
        remarks.push(format!("{word} device {}:{}", origin.device.0, origin.device.1));
    }
    (!remarks.is_empty()).then(|| remarks.join(", "))
}

/// The names in a `security.capability`: a word of flags, then permitted and inheritable, 32 bits each.
fn capabilities(value: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u32::from_le_bytes(value.get(4 * at..4 * at + 4)?.try_into().ok()?));
    let flags = word(0)?;
    let half = |at: usize| Some(u64::from(word(at)?) | u64::from(word(at + 2).unwrap_or(0)) << 32);
    let (permitted, inheritable) = (half(1)?, half(2)?);
    let names: Vec<String> = (0..64)
        .filter(|bit| (permitted | inheritable) >> bit & 1 == 1)
        .map(|bit| {
            let known = caps::all().into_iter().find(|cap| u64::from(cap.index()) == bit);
            known.map_or_else(|| bit.to_string(), |cap| cap.to_string().to_lowercase())
        })
        .collect();
    let letters = [(flags & 1 != 0, 'e'), (inheritable != 0, 'i'), (permitted != 0, 'p')];
    let letters: String = letters.iter().filter(|(is, _)| *is).map(|(_, letter)| *letter).collect();
    Some(format!("{}={letters}", names.join(",")))
}

fn event(event: &Event) -> String {
    let (layer, path) = (event.layer + 1, shown(&event.path));
    let whose = |layers: &Vec<usize>, bytes: u64| match layers[..] {
        [] => "there is nothing".to_owned(),
        _ => {
            let all: Vec<String> = layers.iter().map(|layer| (layer + 1).to_string()).collect();
            format!("of layer {}, {}", all.join(", "), size(bytes))
        }
    };
    match &event.what {
        What::Removes { layers, bytes } => {
            format!("{layer:>4}  takes away {path} ({})", whose(layers, *bytes))
        }
        What::Empties { layers, bytes } => format!("{layer:>4}  empties {path} ({})", whose(layers, *bytes)),
        What::Replaces { layer: of, bytes } => {
            format!("{layer:>4}  replaces {path} ({})", whose(&vec![*of], *bytes))
        }
        What::Skipped => format!("{layer:>4}  has {path}, a name kept for AUFS: skipped"),
    }
}

fn document(reference: &str, image: &Image, explained: &Explained) -> Value {
    let layers = explained.layers.iter().zip(image.manifest.layers()).map(|(layer, blob)| {
        json!({ "digest": blob.digest(), "size": blob.size(), "entries": layer.entries, "bytes": layer.bytes, "hiddenBytes": layer.hidden })
    });
    let paths = explained.paths.iter().map(|(path, origin)| {
        let mut all = json!({
            "path": shown(path), "layer": origin.layer + 1, "type": letter(origin.kind).to_string(),
            "mode": format!("{:04o}", origin.mode), "uid": origin.ids.0, "gid": origin.ids.1, "size": origin.size,
        });
        if !origin.link.is_empty() {
            let key = if origin.is_hard_link { "hardLink" } else { "target" };
            all[key] = json!(origin.link.escape_ascii().to_string());
        }
        if let Some(remark) = remark(origin) {
            all["remark"] = json!(remark);
        }
        if origin.is_implied {
            all["implied"] = json!(true);
        }
        all
    });
    let events = explained.events.iter().map(|event| {
        let (what, layers, bytes) = match &event.what {
            What::Removes { layers, bytes } => ("removes", layers.clone(), *bytes),
            What::Empties { layers, bytes } => ("empties", layers.clone(), *bytes),
            What::Replaces { layer, bytes } => ("replaces", vec![*layer], *bytes),
            What::Skipped => ("skipped", Vec::new(), 0),
        };
        let of: Vec<usize> = layers.iter().map(|layer| layer + 1).collect();
        json!({ "layer": event.layer + 1, "path": shown(&event.path), "what": what, "of": of, "bytes": bytes })
    });
    let reasons = reasons(&image.config);
    let config =
        reasons.iter().map(|one| json!({ "pointer": one.pointer, "value": one.value, "why": one.why }));
    json!({
        "reference": reference,
        "digest": image.descriptor.digest(),
        "layers": layers.collect::<Vec<_>>(),
        "paths": paths.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "config": config.collect::<Vec<_>>(),
    })
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
