//! Images of random layers: the tree seen through an overlay, the copied one and umoci's are the same, path by path.
//! A directory's list of names is read too, and each name looked up: an overlay can list what it does not find.
//!
//! `SHAPES=COUNT SHAPES_FROM=SEED cargo test --test image shapes` tries more.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::skip::skip;
use crate::support::*;

/// xorshift64*: the same shapes in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// What builders do not write and a stranger does: entries in any order, names below files and symlinks.
#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Tidy,
    Wild,
}

fn path(random: &mut Random) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for _ in 0..=random.below(3) {
        parts.push(random.pick(&["a", "b", "c"]));
    }
    parts.join("/")
}

/// The mark `mark` beside `path`.
fn beside(path: &str, mark: &str) -> Item {
    let dir = path.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
    file(&format!("{dir}{mark}"), "")
}

fn whiteout(path: &str) -> Item {
    beside(path, &format!(".wh.{}", path.rsplit('/').next().unwrap()))
}

fn item(random: &mut Random, sort: Sort, number: u64) -> Item {
    let path = path(random);
    let most = if sort == Sort::Wild { 14 } else { 11 };
    match random.below(most) {
        0..3 => file(&path, &format!("{number}")).mode(0o600 + u32::try_from(number).unwrap()),
        3..6 => dir(&path).mode(0o701 + u32::try_from(number).unwrap()).mtime(TIME + number),
        6..9 => whiteout(&path),
        9 => beside(&path, ".wh..wh..opq"),
        10 => symlink(&path, "nowhere"),
        11 | 12 => symlink(&path, random.pick(&["a", "/b", "b/c", "../c", "c/a"])),
        _ => dir("./").mode(0o711 + u32::try_from(number).unwrap()),
    }
}

/// One layer. In a tidy one no path stands twice, nothing is below a file, and marks come before what else there is in
/// their directory.
fn layer(random: &mut Random, sort: Sort, number: u64) -> Vec<Item> {
    let count = 1 + random.below(6);
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..count {
        let next = item(random, sort, number);
        let name = |item: &Item| String::from_utf8(item.name.clone()).unwrap();
        let shown = |item: &Item| name(item).replace(".wh.", "");
        let clashes = |held: &Item| {
            let (held_name, next_name) = (shown(held), shown(&next));
            let is_dir = |item: &Item| item.kind == tar::EntryType::Directory;
            held_name == next_name
                || next_name.starts_with(&format!("{held_name}/")) && !is_dir(held)
                || held_name.starts_with(&format!("{next_name}/")) && !is_dir(&next)
        };
        if sort == Sort::Wild || !items.iter().any(clashes) {
            items.push(next);
        }
    }
    if sort == Sort::Tidy {
        items.sort_by_key(|item| !item.name.windows(4).any(|part| part == b".wh."));
        items.sort_by_key(|item| item.name.iter().filter(|&&byte| byte == b'/').count());
    }
    items
}

fn layers(seed: u64, sort: Sort) -> Vec<Vec<Item>> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..2 + random.below(3)).map(|number| layer(&mut random, sort, number)).collect()
}

fn show(layers: &[Vec<Item>]) -> String {
    let mut text = String::new();
    for (number, items) in layers.iter().enumerate() {
        for item in items {
            let (name, link) = (item.name.escape_ascii(), item.link.escape_ascii());
            text += &format!("  {number}: {:?} {name} {link}\n", item.kind);
        }
    }
    text
}

/// The lines of a tree, without how many names a file has: links between layers are the one thing that overlays cannot keep.
fn tree(root: &Path) -> Vec<String> {
    let without_links =
        |line: String| line.split(' ').filter(|word| !word.starts_with('=')).collect::<Vec<_>>().join(" ");
    listing(root).into_iter().map(without_links).collect()
}

fn compare(first: &[String], second: &[String]) -> Option<String> {
    let only = |these: &[String], those: &[String], sign: char| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("  {sign} {line}\n")).collect()
    };
    (first != second).then(|| only(first, second, '-') + &only(second, first, '+'))
}

fn count(least: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let from = number("SHAPES_FROM").unwrap_or(1);
    from..from + number("SHAPES").unwrap_or(least)
}

/// Unpacks both forms; None where the copied form refuses the image, as the overlay then must.
fn both(scratch: &Scratch, layers: &[Vec<Item>]) -> Result<Option<Vec<String>>, String> {
    let layers: Vec<&[Item]> = layers.iter().map(Vec::as_slice).collect();
    image(scratch, &layers);
    let copied = scratch.run(&["unpack", "-q", "--rootfs-only", "oci:image", "copied"]);
    let mounted =
        scratch.run(&["unpack", "-q", "--rootfs-only", "--overlay", "--store", "store", "oci:image", "over"]);
    match (copied.status.success(), mounted.status.success()) {
        (true, true) => {}
        (false, false) => return Ok(None),
        _ => return Err(format!("  copied: {}  overlay: {}", stderr(&copied), stderr(&mounted))),
    }
    let copied = tree(&scratch.join("copied/rootfs"));
    match compare(&copied, &tree(&scratch.join("over/rootfs"))) {
        None => Ok(Some(copied)),
        Some(differences) => Err(differences),
    }
}

fn check(name: &str, sort: Sort, least: u64, peer: &dyn Fn(&Scratch, &[String]) -> Option<String>) {
    let mut wrong = Vec::new();
    for seed in count(least) {
        let scratch = Scratch::new(&format!("shape-{name}-{seed}"));
        let layers = layers(seed, sort);
        let found = match both(&scratch, &layers) {
            Err(differences) => Some(differences),
            Ok(None) => None,
            Ok(Some(copied)) => peer(&scratch, &copied),
        };
        wrong.extend(found.map(|found| format!("seed {seed}:\n{}{found}", show(&layers))));
    }
    assert!(wrong.is_empty(), "{} shapes differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn tidy_shapes_are_the_same_through_an_overlay_copied_and_by_umoci() {
    let has_umoci = Command::new("umoci").arg("--version").output().is_ok();
    if !has_umoci {
        skip("needs umoci for the third form");
    }
    check("tidy", Sort::Tidy, 60, &|scratch, copied| {
        if !has_umoci {
            return None;
        }
        let theirs = scratch.join("theirs");
        let image = format!("{}:latest", scratch.join("image").display());
        let output = Command::new("umoci").args(["raw", "unpack", "--image", &image]).arg(&theirs).output();
        let output = output.unwrap();
        if !output.status.success() {
            // It refuses an entry in what a lower layer has as a file, which image-spec leaves open.
            let is_known = stderr(&output).contains(": not a directory");
            return (!is_known).then(|| format!("  umoci: {}", stderr(&output)));
        }
        // A directory without an entry has the time of the unpacking there, 1970 here.
        let without_times = |lines: &[String]| -> Vec<String> {
            let untimed = |line: &String| {
                let word = |word: &&str| !word.contains('.') || word.starts_with('/');
                line.split(' ').filter(word).collect::<Vec<_>>().join(" ")
            };
            lines.iter().map(untimed).filter(|line| !line.starts_with("/ ")).collect()
        };
        let theirs = without_times(&tree(&theirs));
        let differences = compare(&without_times(copied), &theirs);
        differences.map(|found| format!("{found}(umoci)\n"))
    });
}

#[test]
fn wild_shapes_are_the_same_through_an_overlay_and_copied() {
    check("wild", Sort::Wild, 80, &|_, _| None);
}

#[test]
fn marks_that_hide_nothing_are_not_listed() {
    let shapes: [(&str, Vec<Vec<Item>>); 14] = [
        ("new", vec![vec![dir("n"), file("n/.wh.old", ""), file("n/k", "")]]),
        ("new-above", vec![vec![dir("a")], vec![dir("n"), file("n/.wh.old", ""), file("n/k", "")]]),
        ("lowest-root", vec![vec![file(".wh.x", ""), file("y", "")]]),
        (
            "opaque",
            vec![
                vec![dir("d"), file("d/x", "")],
                vec![dir("d"), file("d/.wh..wh..opq", ""), file("d/.wh.x", ""), file("d/y", "")],
            ],
        ),
        (
            "removed-between",
            vec![
                vec![dir("d"), file("d/x", "")],
                vec![file(".wh.d", "")],
                vec![dir("d"), file("d/.wh.x", ""), file("d/y", "")],
            ],
        ),
        ("over-file", vec![vec![file("d", "")], vec![dir("d"), file("d/.wh.x", ""), file("d/y", "")]]),
        (
            "over-link",
            vec![
                vec![dir("t"), file("t/x", ""), symlink("d", "t")],
                vec![dir("d"), file("d/.wh.x", ""), file("d/y", "")],
            ],
        ),
        (
            "twice-removed",
            vec![vec![dir("d"), file("d/x", "")], vec![file("d/.wh.x", "")], vec![file("d/.wh.x", "")]],
        ),
        (
            "deep",
            vec![
                vec![dir("d")],
                vec![dir("d/e"), dir("d/e/f"), file("d/e/f/.wh.x", ""), file("d/e/f/y", "")],
            ],
        ),
        ("through-link", vec![vec![dir("t"), file("t/x", ""), symlink("l", "t")], vec![file("l/.wh.x", "")]]),
        (
            "opaque-through-link",
            vec![vec![dir("t"), file("t/x", ""), symlink("l", "t")], vec![file("l/.wh..wh..opq", "")]],
        ),
        (
            "opaque-root",
            vec![
                vec![dir("d"), file("d/x", ""), file("y", "")],
                vec![file(".wh..wh..opq", ""), dir("d"), file("d/z", ""), file(".wh.y", "")],
            ],
        ),
        (
            "opaque-root-between",
            vec![vec![file("y", "")], vec![file("z", ""), file(".wh..wh..opq", "")], vec![file("w", "")]],
        ),
        (
            "dangling",
            vec![vec![symlink("l", "nowhere")], vec![file("l/.wh.x", ""), file("l/.wh..wh..opq", "")]],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, layers) in shapes {
        let scratch = Scratch::new(&format!("mark-{name}"));
        match both(&scratch, &layers) {
            Ok(Some(_)) => {}
            Ok(None) => wrong.push(format!("{name}: refused")),
            Err(found) => wrong.push(format!("{name}:\n{}{found}", show(&layers))),
        }
        if name == "new" {
            assert_eq!(names(&scratch.join("over/rootfs/n")), ["k"]);
            assert!(fs::symlink_metadata(scratch.join("over/rootfs/n/old")).is_err());
        }
    }
    assert!(wrong.is_empty(), "{} shapes differ:\n{}", wrong.len(), wrong.join("\n"));
}
