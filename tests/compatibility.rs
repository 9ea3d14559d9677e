//! docs/compatibility.md has a row for each property that the schemas of the specification name, and each row names a
//! test that there is. A property that is added to the specification, or a test that is renamed, fails here.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names of all tests, in tests/ and src/.
fn tests() -> BTreeSet<String> {
    fn walk(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names(&fs::read_to_string(&path).unwrap(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    for directory in ["tests", "src"] {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut found);
    }
    found
}

/// The function behind each `#[test]`, with other attributes between.
fn names(source: &str, found: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let (true, Some(rest)) = (is_test, line.strip_prefix("fn ")) {
            found.insert(rest.split('(').next().unwrap().to_owned());
            is_test = false;
        }
    }
}

struct Row {
    document: &'static str,
    cells: Vec<String>,
}

/// The rows of tables; those under a heading that names another document are of that one.
fn rows(text: &str) -> Vec<Row> {
    let mut document = "config";
    let mut rows = Vec::new();
    for line in text.lines() {
        if line.starts_with("## ") {
            document = match line {
                "## The features document" => "features",
                "## The state document" => "state",
                // A table with other columns, which integration/security/audit holds against what it sees.
                "## What a process sees of itself" => return rows,
                _ => "config",
            };
        }
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"));
        if let Some(cells) = cells.filter(|cells| !cells.starts_with("property |")) {
            rows.push(Row { document, cells: cells.split(" | ").map(str::to_owned).collect() });
        }
    }
    rows
}

/// What stands between the first two backquotes.
fn quoted(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_default()
}

/// What is wrong with the table.
fn faults(text: &str, properties: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut missing: BTreeSet<String> = properties.lines().map(str::to_owned).collect();
    for Row { document, cells } in rows(text) {
        let name = quoted(&cells[0]).to_owned();
        if cells.len() != 4 || cells.iter().any(|cell| cell.trim().is_empty()) {
            faults.push(format!("{name}: not four cells"));
            continue;
        }
        if name.starts_with('/') && !missing.remove(&format!("{document} {name}")) {
            faults.push(format!("{document} {name}: no property of the specification, or a second row"));
        }
        if !tests.contains(quoted(&cells[2])) && cells[2] != "test" {
            faults.push(format!("{name}: there is no test {}", cells[2]));
        }
        if cells[1].to_lowercase().contains("not implemented") {
            faults.push(format!("{name}: {}", cells[1]));
        }
    }
    faults.extend(missing.iter().map(|property| format!("{property}: no row")));
    faults
}

#[test]
fn each_property_of_the_specification_has_a_row_and_each_row_a_test() {
    let faults = faults(&read("docs/compatibility.md"), &read("tests/fixtures/spec/properties"), &tests());
    assert!(faults.is_empty(), "docs/compatibility.md:\n{}", faults.join("\n"));
}

/// The properties of the configuration in which another runtime differs, and whose row is not in the first part.
fn late_differences(text: &str) -> Vec<String> {
    let rest = text.split_once("## Where they differ").map_or(text, |(_, rest)| rest);
    let rest = rest.split_once("\n## ").map_or("", |(_, rest)| rest);
    let same = |cell: &str| ["no difference known", "the same in all"].contains(&cell);
    rows(&format!("## {rest}"))
        .into_iter()
        .filter(|row| row.document == "config" && row.cells[0].starts_with("`/"))
        .filter(|row| row.cells.last().is_some_and(|cell| !same(cell)))
        .map(|row| row.cells[0].clone())
        .collect()
}

#[test]
fn what_differs_stands_first() {
    assert_eq!(late_differences(&read("docs/compatibility.md")), [""; 0]);
    let page = |first: &str, then: &str| format!("## Where they differ\n\n{first}\n\n## Mounts\n\n{then}\n");
    let row = |said: &str| format!("| `/a` | done | `a_test` | {said} |");
    assert_eq!(late_differences(&page(&row("crun does not"), &row("no difference known"))), [""; 0]);
    assert_eq!(late_differences(&page("", &row("crun does not"))), ["`/a`"]);
}

#[test]
fn this_test_sees_what_it_should() {
    let tests = BTreeSet::from(["a_test".to_owned()]);
    let row = |what: &str, test: &str| format!("| `/a` | {what} | `{test}` | none |");
    let of = |rows: &str| faults(rows, "config /a", &tests);
    assert_eq!(of(&row("done", "a_test")), [""; 0]);
    assert_eq!(of(""), ["config /a: no row"]);
    assert_eq!(of(&row("done", "another")), ["/a: there is no test `another`"]);
    assert_eq!(of(&row("Not implemented", "a_test")), ["/a: Not implemented"]);
    assert_eq!(of("| `/a` | done | `a_test` |"), ["/a: not four cells", "config /a: no row"]);
    let twice = [row("done", "a_test"), row("done", "a_test").replace("/a", "/b")].join("\n");
    assert_eq!(of(&twice), ["config /b: no property of the specification, or a second row"]);
    let features = format!("## The features document\n{}", row("done", "a_test"));
    assert_eq!(
        of(&features),
        ["features /a: no property of the specification, or a second row", "config /a: no row"]
    );
}
