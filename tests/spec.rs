//! config.json as others write it: the specification's examples, the configurations of real engines, and files
//! that are no configuration at all.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use tare::testing::bundle::read_config;
use tare::testing::error::Kind;
use tare::testing::spec;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A bundle with `config` as its config.json.
fn bundle(name: &str, config: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), config).unwrap();
    folder
}

#[test]
fn every_good_example_of_the_specification_is_a_valid_document() {
    for path in files("fixtures/spec/good") {
        let document = spec::parse_alone(&fs::read(&path).unwrap())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(document.root().as_ref().unwrap().path(), Path::new("rootfs"));
    }
}

#[test]
fn good_examples_that_are_no_container_say_what_is_missing() {
    for path in files("fixtures/spec/good") {
        let missing = match name(&path) {
            "minimal-for-start.json" | "spec-example.json" => None,
            "linux-netdevice.json" => Some(
                "/process (line 1, column 1): process property must not be empty; /linux/netDevices (line 7, column 23): \
                 unable to move network devices without a NET namespace",
            ),
            _ => Some("/process (line 1, column 1): process property must not be empty"),
        };
        let checked = spec::parse(&fs::read(&path).unwrap());
        match missing {
            None => drop(checked.unwrap()),
            Some(missing) => {
                let error = checked.unwrap_err().to_string();
                assert!(error.starts_with(missing), "{}: {error}", path.display());
            }
        }
    }
}

#[test]
fn every_bad_example_of_the_specification_is_refused_with_its_place() {
    for path in files("fixtures/spec/bad") {
        let place = match name(&path) {
            "invalid-json.json" => "line 1, column 2: not JSON: key must be a string",
            "linux-hugepage.json" => {
                "/linux/resources/hugepageLimits/0/pageSize (line 11, column 33): \"64kB\""
            }
            "linux-netdevice.json" => {
                "/linux/netDevices/eth0/name (line 9, column 25): invalid type: integer `23`"
            }
            "linux-rdma.json" => {
                "/linux/resources/rdma/mlx5_1/hcaHandles (line 10, column 35): invalid type: string"
            }
            other => panic!("{other} is new: what is wrong with it?"),
        };
        let error = spec::parse_alone(&fs::read(&path).unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Spec);
        assert!(error.to_string().starts_with(place), "{}: {error}", path.display());
    }
}

#[test]
fn every_configuration_of_a_real_engine_is_read_without_a_warning() {
    for path in files("corpus") {
        let bytes = fs::read(&path).unwrap();
        let warnings = if name(&path).ends_with("process.json") {
            spec::parse_process(&bytes).map(|(_, warnings)| warnings)
        } else {
            spec::parse(&bytes).map(|checked| checked.warnings)
        };
        assert_eq!(warnings.unwrap_or_else(|e| panic!("{}: {e}", path.display())), Vec::<String>::new());
    }
}

#[test]
fn a_missing_configuration_is_said_in_the_words_engines_look_for() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-config");
    fs::create_dir_all(&folder).unwrap();
    let error = read_config(&folder).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let words = format!("JSON specification file config.json not found: in {}", folder.display());
    assert_eq!(error.to_string(), words);
}

#[test]
fn the_error_of_a_bundle_names_the_file() {
    let error = read_config(&bundle("not-json", b"[")).unwrap_err();
    assert_eq!(error.to_string(), "config.json: line 1, column 1: not JSON: EOF while parsing a list");
}

#[test]
fn the_template_is_a_container_and_is_never_written_over() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("template");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    tare::testing::bundle::write_template(
        &tare::testing::bundle::TemplateTarget::New(folder.join("config.json")),
        None,
        true,
    )
    .unwrap();
    let before = fs::read(folder.join("config.json")).unwrap();
    assert_eq!(read_config(&folder).unwrap().0.warnings, Vec::<String>::new());
    let error = tare::testing::bundle::write_template(
        &tare::testing::bundle::TemplateTarget::New(folder.join("config.json")),
        Some((1000, 1000)),
        true,
    )
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert_eq!(error.to_string(), "File config.json exists. Remove it first");
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), before);
}
