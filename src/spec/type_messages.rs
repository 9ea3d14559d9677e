//! The sentence for a member of the wrong type or an unknown word. It is runc's if people or tests look for
//! that; otherwise it is serde's, which names what was expected.

use serde_json::{Value, json};

use super::config_error::quote;
use super::spelling;
use crate::error::matched;

/// Returns the message for the value at `pointer`, which the types refused with `refusal`.
pub(super) fn message(pointer: &str, value: Option<&Value>, refusal: &str) -> String {
    let word = value.and_then(Value::as_str);
    let message = word.and_then(|word| unknown(&shape(pointer), word));
    let message = message.unwrap_or_else(|| shorten(refusal) + form(refusal));
    let known = words(refusal);
    match word.and_then(|word| meant(word, refusal)) {
        Some(meant) => message + &spelling::hint(Some(&meant)),
        None if known.is_empty() => message,
        None => format!("{message}: not one of {}", known.join(", ")),
    }
}

/// Says how JSON writes what serde names in Rust's words.
fn form(refusal: &str) -> &'static str {
    match refusal.rsplit_once(", expected ").map_or("", |(_, wanted)| wanted) {
        "a sequence" => " (a list: [ ])",
        "a map" => " (an object: { })",
        "a boolean" => " (true or false, without quotes)",
        "i64" | "i32" | "u64" | "u32" | "u16" | "u8" => " (a whole number, without quotes)",
        structure if structure.starts_with("struct ") => " (an object: { })",
        _ => "",
    }
}

/// The words that serde's sentence lists, as the specification spells them.
fn words(refusal: &str) -> Vec<&str> {
    let list = refusal.strip_prefix("unknown variant `").and_then(|text| text.rsplit_once("`, expected "));
    list.map_or(Vec::new(), |(_, list)| list.split('`').skip(1).step_by(2).map(crates_spelling).collect())
}

/// The word of the enumeration that `word` is probably a slip for: serde's sentence lists them all.
fn meant(word: &str, refusal: &str) -> Option<String> {
    spelling::nearest(word, words(refusal)).map(str::to_owned)
}

/// The specification's word for one that the crate misspells.
fn crates_spelling(word: &str) -> &str {
    match word {
        "SCHED_RESET_ON_FORK" => "SCHED_FLAG_RESET_ON_FORK",
        "SCHED_FLAG_D_L_OVERRUN" => "SCHED_FLAG_DL_OVERRUN",
        other => other,
    }
}

/// Something harmless of the type that was wanted in place of `value`: the document can then be read on.
pub(super) fn stand_in(value: Option<&Value>, refusal: &str) -> Option<Value> {
    if let Some(word) = value.and_then(Value::as_str)
        && let Some(meant) = meant(word, refusal)
    {
        return Some(json!(meant));
    }
    let (_, wanted) = refusal.rsplit_once(", expected ")?;
    match wanted {
        "a boolean" => Some(json!(false)),
        "a string" | "path string" => Some(json!("")),
        "a sequence" => Some(json!([])),
        "a map" => Some(json!({})),
        integer if integer.trim_start_matches(['i', 'u']).parse::<u8>().is_ok() => Some(json!(0)),
        structure if structure.starts_with("struct ") => Some(json!({})),
        _ => None,
    }
}

/// Escapes and shortens serde's sentence, which quotes the whole value.
fn shorten(refusal: &str) -> String {
    match refusal.char_indices().nth(160) {
        None => refusal.chars().flat_map(plain).collect(),
        Some((end, _)) => {
            // What was expected is at the end.
            let wanted =
                refusal.rfind(", expected ").filter(|&start| start >= end && refusal.len() - start < 160);
            let cut = refusal[..end].chars().flat_map(plain);
            cut.chain("…".chars()).chain(refusal[wanted.unwrap_or(refusal.len())..].chars()).collect()
        }
    }
}

fn plain(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}

/// Returns the pointer with `*` for every index: `/mounts/*/options`.
fn shape(pointer: &str) -> String {
    let token = |token| if str::parse::<usize>(token).is_ok() { "*" } else { token };
    let tokens: Vec<&str> = pointer.split('/').map(token).collect();
    tokens.join("/")
}

fn unknown(shape: &str, word: &str) -> Option<String> {
    // runc quotes some words and not others.
    let quoted = quote(word);
    let plain = if word.is_empty() { &quoted } else { quoted.trim_matches('"') };
    Some(
        match shape
            .strip_prefix("/process")
            .or_else(|| shape.strip_prefix("/linux/resources"))
            .unwrap_or(shape)
        {
            "/rlimits/*/type" => matched::wrong_rlimit(plain),
            "/scheduler/policy" => format!("invalid scheduler policy: {plain}"),
            "/scheduler/flags/*" => format!("invalid scheduler flag: {plain}"),
            "/ioPriority/class" => format!("invalid ioPriority.Class: {quoted}"),
            "/linux/namespaces/*/type" => format!("namespace {quoted} does not exist"),
            "/linux/devices/*/type" => format!("invalid device type {quoted}"),
            "/devices/*/type" => format!("invalid cgroup device type {quoted}"),
            "/linux/personality/domain" => format!("invalid personality domain {plain}"),
            "/linux/memoryPolicy/mode" => format!("invalid memory policy mode {quoted}"),
            "/linux/memoryPolicy/flags/*" => format!("invalid memory policy flag {quoted}"),
            "/linux/seccomp/defaultAction" | "/linux/seccomp/syscalls/*/action" => {
                format!("string {plain} is not a valid action for seccomp")
            }
            "/linux/seccomp/architectures/*" => format!("string {plain} is not a valid arch for seccomp"),
            "/linux/seccomp/syscalls/*/args/*/op" => {
                format!("string {plain} is not a valid operator for seccomp")
            }
            "/linux/seccomp/flags/*" => format!("seccomp flag {quoted} is not known"),
            _ => return None,
        },
    )
}
