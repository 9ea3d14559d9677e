//! No circles between the files of a room: what a file uses does not lead back to it. A file may use what the module above
//! it declares, as Rust's modules do; that is no circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, is_import, sources, statements};

/// A module by the names in its path.
type Module = Vec<String>;

/// Circles that are there and are being cut: the room, and how many of them it may have.
const LEFT: &[(&str, usize)] = &[];

/// What a module names: paths from the crate's root.
#[derive(Default)]
struct Names {
    used: Vec<Module>,
    /// What it imports, by the last name: others may reach it through this module.
    imported: BTreeMap<String, Module>,
}

#[test]
fn files_of_a_room_do_not_use_each_other_in_a_circle() {
    let sources = sources();
    let circles = circles(&uses(&sources));
    let mut by_room: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for circle in &circles {
        let names = circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(", ");
        by_room.entry(&circle[0][0]).or_default().push(names);
    }
    for (room, found) in by_room {
        let allowed = LEFT.iter().find(|(name, _)| *name == room).map_or(0, |(_, count)| *count);
        assert!(
            found.len() <= allowed,
            "{room}: these files use each other in a circle:\n{}\n",
            found.join("\n")
        );
    }
}

/// Which modules of its own room each module uses.
fn uses(sources: &[Source]) -> BTreeMap<Module, BTreeSet<Module>> {
    let modules: BTreeSet<&Module> = sources.iter().map(|source| &source.module).collect();
    let names: BTreeMap<&Module, Names> =
        sources.iter().map(|source| (&source.module, names(source, &modules))).collect();
    let mut graph = BTreeMap::new();
    for (module, own) in &names {
        let used = own.used.iter().map(|path| resolve(path, &names, 0));
        let used = used.filter(|used| used.first() == module.first() && !module.starts_with(used));
        graph.insert((*module).clone(), used.collect());
    }
    graph
}

fn names(source: &Source, modules: &BTreeSet<&Module>) -> Names {
    let mut names = Names::default();
    for (_, statement) in statements(source.without_tests()) {
        if !is_import(&statement) {
            names.used.extend(paths(&statement).iter().filter_map(|path| absolute(source, path, modules)));
            continue;
        }
        let public = statement.starts_with("pub");
        let tree = statement.split_once("use ").unwrap().1.trim_end_matches(';');
        for path in expand(tree).iter().filter_map(|path| absolute(source, path, modules)) {
            names.imported.insert(path[path.len() - 1].clone(), path.clone());
            if !public {
                names.used.push(path);
            }
        }
    }
    names
}

/// The path from the crate's root; None for a path that leads out of the crate, or is no path of modules.
fn absolute(source: &Source, path: &str, modules: &BTreeSet<&Module>) -> Option<Module> {
    let mut names: Vec<String> = path.split("::").map(|name| name.trim().to_owned()).collect();
    let mut base = source.module.clone();
    let first = names[0].clone();
    match &*first {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while names.first().is_some_and(|name| name == "super") {
                names.remove(0);
                base.pop();
            }
            return Some([base, names].concat());
        }
        _ => {
            base.push(first);
            if !modules.contains(&base) {
                return None;
            }
        }
    }
    names.remove(0);
    Some([base, names].concat())
}

/// The module that a path leads to, through what modules on its way import from elsewhere.
fn resolve(path: &[String], names: &BTreeMap<&Module, Names>, depth: u32) -> Module {
    let length = (0..=path.len()).rev().find(|&length| names.contains_key(&path[..length].to_vec()));
    let Some(length) = length else { return Vec::new() };
    let module = path[..length].to_vec();
    let imported = path.get(length).and_then(|name| names[&module].imported.get(name));
    match imported {
        Some(imported) if depth < 5 && imported[..] != path[..=length] => {
            resolve(&[&imported[..], &path[length + 1..]].concat(), names, depth + 1)
        }
        _ => module,
    }
}

/// `a::{b, c::{self, d}}` as `a::b`, `a::c::self`, `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for item in split(tree) {
        match item.split_once('{') {
            Some((prefix, rest)) => {
                let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
                let full = |path: &String| format!("{prefix}{path}").trim_end_matches("::self").to_owned();
                paths.extend(expand(inside).iter().map(full));
            }
            None => paths.push(item.split(" as ").next().unwrap().to_owned()),
        }
    }
    paths
}

/// The parts of a list, at its commas that are in no braces.
fn split(list: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match parts.last_mut() {
            Some(part) if c != ',' || depth > 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The paths in a line of code: names with `::` between them.
fn paths(line: &str) -> Vec<&str> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    line.split(|c| !part(c)).map(|path| path.trim_matches(':')).filter(|path| path.contains("::")).collect()
}

/// The sets of modules each of which leads to all others.
fn circles(graph: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Vec<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|module| (module, reach(module, graph))).collect();
    let circle = |module: &Module| -> Vec<Module> {
        let back = reached[module].iter().filter(|other| reached[**other].contains(module));
        back.map(|other| (*other).clone()).collect()
    };
    graph.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

/// All that a module leads to.
fn reach<'a>(module: &Module, graph: &'a BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&Module> = graph[module].iter().collect();
    while let Some(next) = left.pop() {
        if reached.insert(next) {
            left.extend(graph.get(next).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn paths_are_read_and_circles_are_seen() {
    let source = |module: &[&str], code: &[&str]| Source {
        path: "".into(),
        module: module.iter().map(|name| (*name).to_owned()).collect(),
        code: code.iter().map(|line| (*line).to_owned()).collect(),
        is_test: false,
    };
    assert_eq!(expand("a::{b, c::{self, d as e}}"), ["a::b", "a::c", "a::c::d"]);
    assert_eq!(paths("let x: super::y::Z = crate::a::f(b::c);"), ["super::y::Z", "crate::a::f", "b::c"]);
    let room = [
        source(&["r"], &["pub use a::A;", "fn f() { b::g() }"]),
        source(&["r", "a"], &["use super::c;", "use crate::s::X;"]),
        source(&["r", "b"], &["use super::{", "A,", "f};"]),
        source(&["r", "c"], &["fn h() -> super::b::B {}", "#[cfg(test)]", "mod tests {", "use super::a;"]),
        source(&["s"], &["use crate::r::b;"]),
    ];
    let found = circles(&uses(&room));
    let names = |circle: &Vec<Module>| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>();
    assert_eq!(found.iter().map(names).collect::<Vec<_>>(), [["r::a", "r::b", "r::c"]]);
}
