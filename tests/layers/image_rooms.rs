//! The rooms of `image`: imports between them go only downwards, in the order in which image/mod.rs declares them.

use crate::report;
use crate::source::{Source, root, sources, statements};

#[test]
fn rooms_of_image_import_only_downwards() {
    let text = std::fs::read_to_string(root().join("image/mod.rs")).unwrap();
    let rooms: Vec<&str> = text.lines().filter_map(declared).collect();
    assert!(rooms.len() > 10, "{rooms:?}");
    let all = sources();
    let inside = all.iter().filter(|source| source.layer() == "image" && source.module.len() > 1);
    report(&inside.flat_map(|source| upward_imports(source, &rooms)).collect::<Vec<_>>());
}

fn upward_imports(source: &Source, rooms: &[&str]) -> Vec<String> {
    let rank = |room: &str| rooms.iter().position(|other| *other == room);
    let own = source.module[1].as_str();
    let mut faults = Vec::new();
    for (number, statement) in statements(source.without_tests()) {
        for (at, prefix) in statement.match_indices("crate::image::") {
            let rest = &statement[at + prefix.len()..];
            let name = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())];
            if rank(name) < rank(own) {
                faults.push(format!("{}: {own} names {name}, which is above it", source.at(number)));
            }
        }
    }
    faults
}

/// The name of the module that a line declares.
fn declared(line: &str) -> Option<&str> {
    let start = ["pub mod ", "pub(crate) mod ", "mod "].iter().find_map(|start| line.strip_prefix(start))?;
    start.strip_suffix(';')
}
