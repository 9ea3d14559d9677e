//! What is no configuration, or a hostile one: each is refused with one clear sentence, quickly, without a panic.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tare::testing::bundle::read_config;
use tare::testing::error::Kind;
use tare::testing::spec;

const FULL: &str = include_str!("fixtures/spec/full.json");

fn refusal(bytes: &[u8]) -> String {
    let error = spec::parse(bytes).unwrap_err();
    assert_eq!(error.kind(), Kind::Spec);
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    text
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn what_is_not_json_is_said_with_its_place() {
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b" \n\t", "line 2, column 1: not JSON: EOF while parsing a value"),
        (b"null", "config cannot be null"),
        (b"[]", "the document is not a JSON object"),
        (b"7", "the document is not a JSON object"),
        (b"\"config\"", "the document is not a JSON object"),
        (b"{]", "line 1, column 2: not JSON: key must be a string"),
        (b"{", "line 1, column 1: not JSON: EOF while parsing an object"),
        (b"{\"a\"", "line 1, column 4: not JSON: EOF while parsing an object"),
        (b"{\"a\":}", "line 1, column 6: not JSON: expected value"),
        (b"{\"a\":1,}", "line 1, column 8: not JSON: trailing comma"),
        (b"{} {}", "line 1, column 4: not JSON: trailing characters"),
        (b"{}\nx", "line 2, column 1: not JSON: trailing characters"),
        (b"{}\0", "line 1, column 3: not JSON: trailing characters"),
        (b"{\"a\": // c\n1}", "line 1, column 7: not JSON: expected value"),
        (b"{'a': 1}", "line 1, column 2: not JSON: key must be a string"),
        (b"{\"a\": NaN}", "line 1, column 7: not JSON: expected value"),
        (b"{\"a\": 01}", "line 1, column 8: not JSON: invalid number"),
        (b"{\"a\": .5}", "line 1, column 7: not JSON: expected value"),
        (b"{\"a\": \"b\nc\"}", "not JSON: control character (\\u0000-\\u001F) found while parsing a string"),
        (b"{\"a\": \"\\x\"}", "line 1, column 9: not JSON: invalid escape"),
        (b"{\"hostname\": \"\\ud800\"}", "not JSON: "),
        (b"{\"hostname\": \"\\udc00\\ud800\"}", "not JSON: "),
        (b"{\"hostname\": \"\xff\xfe\"}", "not JSON: invalid unicode code point"),
        (b"{\"hostname\": \"\xc3\x28\"}", "not JSON: invalid unicode code point"),
        (b"\xef\xbb\xbf{}", "line 1, column 1: a byte order mark, where plain UTF-8 is wanted"),
        (b"\xff\xfe{\0}\0", "line 1, column 1: a byte order mark, where plain UTF-8 is wanted"),
        (b"\xfe\xff\0{\0}", "line 1, column 1: a byte order mark, where plain UTF-8 is wanted"),
        (b"\x7fELF\x02\x01\x01", "line 1, column 1: not JSON: expected value"),
    ] {
        let text = refusal(bytes);
        assert!(text.contains(expected), "{:?}: {text}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_member_that_stands_twice_is_shown_where_it_stands() {
    for (document, expected) in [
        (
            r#"{"root": {"path": "a", "path": "b"}}"#,
            "/root/path (line 1, column 32): this member stands here twice",
        ),
        ("{\"linux\": {},\n \"linux\": {}}", "/linux (line 2, column 11): this member stands here twice"),
        (
            r#"{"mounts": [{"destination": "/a"}, {"destination": "/b", "type": "x", "type": "y"}]}"#,
            "/mounts/1/type (line 1, column 79): this member stands here twice",
        ),
        (
            r#"{"root": {"path": "a", "p\u0061th": "b"}}"#,
            "/root/path (line 1, column 37): this member stands here twice",
        ),
    ] {
        let told = refusal(document.as_bytes());
        assert!(told.starts_with(expected), "{document}: {told}");
        // And what else is wrong.
        assert!(told.contains("; /process (line 1, column 1): process property must not be empty"), "{told}");
    }
}

#[test]
fn faults_of_all_sorts_are_told_together() {
    let document =
        r#"{"root": {"path": 1}, "process": {"cwd": "x", "args": {}, "env": [7]}, "hostname": []}"#;
    let text = refusal(document.as_bytes());
    let places: Vec<&str> =
        text.split("; ").map(|fault| fault.split_once(" (line 1, column ").unwrap().0).collect();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        ["/hostname", "/process/args", "/process/cwd", "/process/env/0", "/root/path"],
        "{text}"
    );

    let document = r#"{"root": {"path": ""}, "process": {"cwd": "x", "args": []}, "hostname": "a"}"#;
    assert_eq!(
        refusal(document.as_bytes()),
        "/root/path (line 1, column 19): must not be empty; \
         /process/cwd (line 1, column 43): Cwd must be an absolute path; \
         /process/args (line 1, column 56): args must not be empty; \
         /hostname (line 1, column 73): unable to set hostname without a private UTS namespace"
    );
}

#[test]
fn a_flood_of_faults_is_cut() {
    let mounts = vec![r#"{"destination": ""}"#; 1000].join(",");
    let text = refusal(format!(r#"{{"root": {{"path": "r"}}, "mounts": [{mounts}]}}"#).as_bytes());
    assert!(text.ends_with(" more"), "{text}");
    assert!(text.len() < 4000, "{}", text.len());
    let wrong: Vec<String> = (0..1000).map(|index| format!(r#""k{index}": {index}"#)).collect();
    let text = refusal(format!(r#"{{"annotations": {{{}}}}}"#, wrong.join(",")).as_bytes());
    assert!(text.len() < 4000, "{}", text.len());
}

#[test]
fn a_long_text_is_cut_in_the_message() {
    let long = "x".repeat(1 << 20);
    for (document, end) in [
        (
            format!(r#"{{"root": {{"path": "r"}}, "linux": {{"maskedPaths": ["{long}"]}}}}"#),
            "is not an absolute path",
        ),
        (format!(r#"{{"linux": "{long}"}}"#), "…, expected struct Linux"),
        (format!(r#"{{"process": {{"rlimits": [{{"type": "{long}"}}]}}}}"#), "…"),
        (format!(r#"{{"process": {{"execCPUAffinity": {{"initial": "{long}"}}}}}}"#), ""),
        (format!(r#"{{"annotations": {{"{long}": 1}}}}"#), "expected a string"),
        (format!(r#"{{"linux": {{"namespaces": [{{"type": "{long}"}}]}}}}"#), "does not exist"),
    ] {
        let text = refusal(document.as_bytes());
        assert!(text.len() < 700, "{}", text.len());
        assert!(text.contains(end), "{text}");
    }
}

/// Every value below `at`, by pointer.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                all.push(at.clone());
                pointers(member, &at, all);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let at = format!("{at}/{index}");
                all.push(at.clone());
                pointers(item, &at, all);
            }
        }
        _ => {}
    }
}

#[test]
fn every_value_of_another_type_is_refused_at_its_place() {
    let full: Value = serde_json::from_str(FULL).unwrap();
    let mut all = Vec::new();
    pointers(&full, "", &mut all);
    assert!(all.len() > 250, "{}", all.len());
    for pointer in all {
        for wrong in ["7", "\"text\"", "true", "[[]]", "{\"type\": null}"] {
            let wrong: Value = serde_json::from_str(wrong).unwrap();
            let mut document = full.clone();
            let place = document.pointer_mut(&pointer).unwrap();
            if std::mem::discriminant(place) == std::mem::discriminant(&wrong) {
                continue;
            }
            *place = wrong.clone();
            let text = refusal(serde_json::to_vec(&document).unwrap().as_slice());
            assert!(text.starts_with(&format!("{pointer} (line 1, column ")), "{pointer} = {wrong}: {text}");
        }
    }
}

#[test]
fn every_value_may_be_null_or_missing_without_a_panic() {
    let full: Value = serde_json::from_str(FULL).unwrap();
    let mut all = Vec::new();
    pointers(&full, "", &mut all);
    for pointer in all {
        let mut document = full.clone();
        *document.pointer_mut(&pointer).unwrap() = Value::Null;
        // The place of a fault exists in the document, or is the one set.
        if let Err(error) = spec::parse(&serde_json::to_vec(&document).unwrap()) {
            assert!(error.to_string().contains(" (line 1, column "), "{pointer}: {error}");
        }
    }
}

#[test]
fn a_cut_off_document_is_refused_wherever_it_is_cut() {
    for end in 1..FULL.trim_end().len() {
        let text = refusal(&FULL.as_bytes()[..end]);
        assert!(text.starts_with("line ") && text.contains("not JSON: "), "{end}: {text}");
    }
}

#[test]
fn no_damaged_byte_makes_a_panic() {
    // A fixed sequence (xorshift): the same damage on every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for _ in 0..3000 {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..=random(3) {
            let place = random(bytes.len());
            bytes[place] = b"\0\"{}[]:,-019e\\u~/\xff \nnt"[random(22)];
        }
        if let Err(error) = spec::parse(&bytes) {
            assert!(!error.to_string().contains('\n'));
        }
    }
}

#[test]
fn depth_is_refused_and_not_followed() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let bomb = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for document in [
            format!("{{\"process\": {bomb}}}"),
            format!("{{\"annotations\": {{\"a\": {bomb}}}}}"),
            format!("{{\"root\": {{\"path\": \"r\"}}, \"linux\": {{\"maskedPaths\": [{bomb}]}}}}"),
        ] {
            let started = Instant::now();
            assert!(refusal(document.as_bytes()).contains("recursion limit exceeded"));
            assert!(started.elapsed() < Duration::from_secs(2));
        }
    }
}

#[test]
fn a_file_above_the_cap_is_refused_without_reading_it_all() {
    let folder = folder("spec-large");
    File::create(folder.join("config.json")).unwrap().set_len(1 << 40).unwrap();
    let error = read_config(&folder).unwrap_err();
    assert_eq!(error.kind(), Kind::Spec);
    assert!(error.to_string().ends_with("config.json: larger than 16 MiB"), "{error}");
}

#[test]
fn a_document_of_the_largest_size_is_read() {
    let padding = " ".repeat((16 << 20) - FULL.len());
    let folder = folder("spec-largest");
    fs::write(folder.join("config.json"), format!("{FULL}{padding}")).unwrap();
    read_config(&folder).unwrap();
    fs::write(folder.join("config.json"), format!("{FULL}{padding} ")).unwrap();
    read_config(&folder).unwrap_err();
}

#[test]
fn a_configuration_that_is_no_file_is_an_error_of_the_system() {
    let folder = folder("spec-directory");
    fs::create_dir(folder.join("config.json")).unwrap();
    let error = read_config(&folder).unwrap_err();
    assert_eq!(error.errno(), Some(nix::errno::Errno::EISDIR));
    assert!(error.to_string().starts_with("read "), "{error}");
}

#[test]
fn a_process_file_is_judged_by_the_same_rules() {
    let folder = folder("spec-process");
    let path = folder.join("process.json");
    for (document, expected) in [
        (
            "{}",
            "/cwd (line 1, column 1): Cwd property must not be empty; /args (line 1, column 1): args must not be empty",
        ),
        (r#"{"cwd": "/", "args": ["a\u0000b"]}"#, "/args/0 (line 1, column 23): contains a NUL character"),
        (
            r#"{"cwd": "/", "args": ["a"], "env": ["A"]}"#,
            "/env/0 (line 1, column 37): invalid environment variable: missing '='",
        ),
        (
            r#"{"cwd": "/", "args": ["a"], "rlimits": [{"type": "RLIMIT_NOFIL"}]}"#,
            "/rlimits/0/type (line 1, column 50): wrong rlimit value: RLIMIT_NOFIL (did you mean \"RLIMIT_NOFILE\"?)",
        ),
        ("[", "line 1, column 1: not JSON: EOF while parsing a list"),
        ("null", "config cannot be null"),
    ] {
        fs::write(&path, document).unwrap();
        let error = tare::testing::bundle::read_process(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {expected}", path.display()), "{document}");
    }
    fs::write(&path, r#"{"cwd": "/", "args": ["a"], "capabilities": {"bounding": ["CAP_X"]}}"#).unwrap();
    let (process, warnings) = tare::testing::bundle::read_process(&path).unwrap();
    assert!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().is_empty());
    assert_eq!(
        warnings,
        ["/capabilities: ignoring unknown or unavailable capabilities: \"CAP_X\" at bounding/0"]
    );
    spec::check_process(&process).unwrap();
    let missing = tare::testing::bundle::read_process(&folder.join("none")).unwrap_err();
    assert_eq!(missing.errno(), Some(nix::errno::Errno::ENOENT));
}

#[test]
fn what_follows_from_a_fault_is_no_fault_of_its_own() {
    let base = r#"{"root": {"path": "r"}, "process": {"cwd": "/", "args": ["a"]}, "#;
    for (rest, expected) in [
        // The sysctl and the hostname hang on namespaces that could not be read.
        (
            r#""hostname": "h", "linux": {"sysctl": {"net.a": "1"}, "namespaces": [{"type": "utz"}, {"type": 5}]}}"#,
            &["/linux/namespaces/0/type", "/linux/namespaces/1/type"][..],
        ),
        // What is left of a list keeps its numbers.
        (
            r#""mounts": [{"destination": "/a", "type": "tmpfs", "options": [1, 2]}, 7, {"destination": "/b"}]}"#,
            &["/mounts/0/options/0", "/mounts/0/options/1", "/mounts/1", "/mounts/2"],
        ),
        (
            r#""linux": {"namespaces": [{"type": "user"}], "uidMappings": [{"containerID": "0", "hostID": 0, "size": 1}]}}"#,
            &["/linux/uidMappings/0/containerID"],
        ),
        (
            r#""linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALOW", "architectures": ["SCMP_ARCH_X68_64"]}}}"#,
            &["/linux/seccomp/architectures/0", "/linux/seccomp/defaultAction"],
        ),
    ] {
        let text = refusal(format!("{base}{rest}").as_bytes());
        let mut places: Vec<&str> =
            text.split("; ").map(|fault| fault.split_once(" (line 1, column ").unwrap().0).collect();
        places.sort_unstable();
        assert_eq!(places, expected, "{text}");
    }
}

#[test]
fn a_word_that_is_nearly_right_is_told() {
    let base = r#"{"root": {"path": "r"}, "process": {"cwd": "/", "args": ["a"], "#;
    for (rest, meant) in [
        (r#""rlimits": [{"type": "RLIMIT_NOFILES", "soft": 1, "hard": 1}]}}"#, "RLIMIT_NOFILE"),
        (r#""rlimits": [{"type": "nofile", "soft": 1, "hard": 1}]}}"#, "RLIMIT_NOFILE"),
        (r#""scheduler": {"policy": "SCHED_BACH"}}}"#, "SCHED_BATCH"),
        (r#""ioPriority": {"class": "IOPRIO_CLASS_IDEL", "priority": 1}}}"#, "IOPRIO_CLASS_IDLE"),
        (r#""env": []}, "linux": {"namespaces": [{"type": "netwrok"}]}}"#, "network"),
        (r#""env": []}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERNO"}}}"#, "SCMP_ACT_ERRNO"),
        (
            r#""env": []}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X8664"]}}}"#,
            "SCMP_ARCH_X86_64",
        ),
        (r#""env": []}, "linux": {"rootfsPropagation": "pirvate"}}"#, "private"),
        (
            r#""env": []}, "mounts": [{"destination": "/a", "source": "/b", "options": ["rbind", "nosiud"]}]}"#,
            "nosuid",
        ),
    ] {
        let text = refusal(format!("{base}{rest}").as_bytes());
        assert!(text.ends_with(&format!("(did you mean \"{meant}\"?)")), "{text}");
    }
}
