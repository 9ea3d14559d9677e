//! The sentence for a member of the wrong type or an unknown word: runc's, where runc has one that people or tests
//! look for; else serde's, which names what was wanted.

use serde_json::Value;

use super::config_error::quote;
use crate::error::matched;

/// The message for the value at `pointer`, which the types refused with `refusal`.
pub(super) fn message(pointer: &str, value: Option<&Value>, refusal: &str) -> String {
    let word = value.and_then(Value::as_str);
    word.and_then(|word| unknown(&shape(pointer), word)).unwrap_or_else(|| shorten(refusal))
}

/// Escapes and shortens serde's sentence, which quotes the whole value.
fn shorten(refusal: &str) -> String {
    match refusal.char_indices().nth(160) {
        None => refusal.chars().flat_map(plain).collect(),
        Some((end, _)) => {
            // What was wanted stands at the end.
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

/// The pointer with `*` for every index: `/mounts/*/options`.
fn shape(pointer: &str) -> String {
    let token = |token| if str::parse::<usize>(token).is_ok() { "*" } else { token };
    let tokens: Vec<&str> = pointer.split('/').map(token).collect();
    tokens.join("/")
}

fn unknown(shape: &str, word: &str) -> Option<String> {
    // runc quotes some and not others.
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
