//! The sources as these tests read them: which module each file is, and its code without comments and strings.

use std::path::{Path, PathBuf};

/// A file of src/.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// The path of its module below the crate: `["cgroup", "systemd"]` for cgroup/systemd/mod.rs, `["lib"]` for lib.rs.
    pub(crate) module: Vec<String>,
    /// Its lines without comments and without what strings hold.
    pub(crate) code: Vec<String>,
    /// Whether it is compiled for unit tests alone.
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn layer(&self) -> &str {
        &self.module[0]
    }

    /// A place in this file, for a message.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// The lines before the unit tests, which stand at the end; none of a file of tests.
    pub(crate) fn without_tests(&self) -> &[String] {
        if self.is_test {
            return &[];
        }
        let tests = self.code.windows(2).position(|pair| pair[0] == TEST && pair[1].starts_with("mod "));
        &self.code[..tests.unwrap_or(self.code.len())]
    }
}

const TEST: &str = "#[cfg(test)]";

/// The directory of the sources.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Reads every file of src/.
pub(crate) fn sources() -> Vec<Source> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let module = module_of(path.strip_prefix(&root).unwrap());
                sources.push(Source { module, code: code(&text), path, is_test: false });
            }
        }
    }
    assert!(sources.len() > 15, "no sources found");
    mark_tests(&mut sources);
    sources
}

/// Marks the files that another declares as `#[cfg(test)] mod name;`.
fn mark_tests(sources: &mut [Source]) {
    let mut tests = Vec::new();
    for source in sources.iter() {
        for pair in source.code.windows(2).filter(|pair| pair[0] == TEST) {
            if let Some(name) = pair[1].strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                tests.push([&source.module[..], &[name.to_owned()]].concat());
            }
        }
    }
    for source in sources {
        source.is_test = tests.contains(&source.module);
    }
}

/// The module of a file: cgroup/systemd/mod.rs is cgroup::systemd.
fn module_of(file: &Path) -> Vec<String> {
    let file = file.with_extension("");
    let mut names: Vec<String> = file.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if names.len() > 1 && names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// The lines of `text`, with comments, strings and character literals blanked out.
pub(crate) fn code(text: &str) -> Vec<String> {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_length(rest),
            'r' if !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_string_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        if skip == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..skip].chars().filter(|c| *c == '\n'));
            rest = &rest[skip..];
        }
    }
    code.lines().map(String::from).collect()
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
}

/// 0 for a lifetime.
fn character_length(text: &str) -> usize {
    let inside = &text[1..];
    if let Some(escape) = inside.strip_prefix('\\') {
        return escape[1..].find('\'').map_or(0, |at| 3 + at + 1);
    }
    let mut chars = inside.char_indices().skip(1);
    chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| 1 + at + 1)
}

/// The lines with their numbers; an import that is spread over several lines is one, numbered like the first.
pub(crate) fn statements(code: &[String]) -> Vec<(usize, String)> {
    let mut statements: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in code.iter().enumerate() {
        match statements.last_mut() {
            Some((_, statement)) if open => statement.push_str(line.trim()),
            _ => statements.push((number + 1, line.trim().to_owned())),
        }
        let statement = &statements[statements.len() - 1].1;
        open = is_import(statement) && !statement.contains(';');
    }
    statements
}

/// Whether a statement is a `use`, of whatever visibility.
pub(crate) fn is_import(statement: &str) -> bool {
    let private = statement.strip_prefix("pub").map_or(statement, |rest| {
        let scope = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        scope.map_or(rest, |(_, rest)| rest).trim_start()
    });
    private.starts_with("use ")
}
