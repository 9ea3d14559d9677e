//! The sizes of functions and files, without tests: what is short can be read.

use crate::source::{root, sources};

/// Lines from `fn` to the closing brace: of the longest function, and of all but the longest tenth.
const LONGEST: usize = 80;
const NINE_IN_TEN: usize = 25;

/// Lines of a file that needs no reason.
const FILE: usize = 462;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] =
    &[("plan/seccomp/table.rs", "the system calls of all machines, a line each")];

#[test]
fn functions_are_short() {
    let mut lengths = Vec::new();
    for source in sources() {
        for (line, name, length) in functions(source.without_tests()) {
            lengths.push((length, format!("{}: {name}", source.at(line))));
        }
    }
    lengths.sort();
    let (longest, place) = lengths.last().unwrap();
    assert!(*longest <= LONGEST, "{place} has {longest} lines, more than {LONGEST}");
    let (long, place) = &lengths[lengths.len() * 9 / 10];
    assert!(*long <= NINE_IN_TEN, "a tenth of the functions is as long as {place} or longer: {long} lines");
}

#[test]
fn files_are_short_or_say_why_not() {
    let mut faults = Vec::new();
    for source in sources() {
        let length = source.without_tests().len();
        let path = source.path.strip_prefix(root()).unwrap().display().to_string();
        if length > FILE && !LONG_FILES.iter().any(|(name, _)| *name == path) {
            faults.push(format!("{path} has {length} lines without tests, more than {FILE}"));
        }
    }
    crate::report(&faults);
}

/// The functions with a body: the line each begins in, its name, and how many lines it has.
fn functions(code: &[String]) -> Vec<(usize, String, usize)> {
    let starts = code.iter().enumerate().filter_map(|(at, line)| Some((at, name(line)?)));
    starts.filter_map(|(at, name)| Some((at + 1, name.to_owned(), length(&code[at..])?))).collect()
}

/// The name of the function that a line begins.
fn name(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let keywords = ["pub", "const", "async", "unsafe", "extern"];
    let begins = before.split_whitespace().all(|word| keywords.iter().any(|known| word.starts_with(known)));
    let end = rest.find(['(', '<'])?;
    (begins && !before.ends_with(|c: char| !c.is_whitespace())).then_some(&rest[..end])
}

/// Lines up to the brace that closes the first one; None for a declaration without a body.
fn length(code: &[String]) -> Option<usize> {
    let (mut depth, mut brackets) = (0, 0);
    for (at, line) in code.iter().enumerate() {
        for c in line.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                ';' if depth == 0 && brackets == 0 => return None,
                '{' => depth += 1,
                '}' if depth == 1 => return Some(at + 1),
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    None
}

#[test]
fn functions_are_found_and_measured() {
    let text = "pub(crate) fn one() {}
    unsafe extern \"C\" fn two<'a>(
        x: [u8; 2],
    ) {
        if x > 0 { f(); }
    }
    fn none();
let fn_is = no;
type T = fn (u8) -> u8;";
    assert_eq!(functions(&crate::source::code(text)), [(1, "one".into(), 1), (2, "two".into(), 5)]);
}
