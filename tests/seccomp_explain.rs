//! `tare seccomp explain` as a command. Its answers are held against the compiled programs beside the code.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// A folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tare-explain-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, value: &Value) -> String {
        let path = self.0.join(name);
        fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The exit code, standard output and standard error.
fn explain(words: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tare")).args(["seccomp", "explain"]).args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn corpus() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/docker-default.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_bundle_a_configuration_and_a_profile_give_the_same_answer() {
    let folder = Folder::new("forms");
    let config = corpus();
    let file = folder.write("config.json", &config);
    let alone = folder.write("profile.json", &config["linux"]["seccomp"]);
    let question = ["personality", "0x20008", "--arch", "x86_64"];
    let ask = |profile: &str| explain(&[&[profile], &question[..]].concat());
    let (code, told, _) = ask(folder.0.to_str().unwrap());
    assert_eq!(code, Some(0));
    let expected = "\
personality(0x20008) on SCMP_ARCH_X86_64, call 135: ALLOW: the kernel executes the call
  /linux/seccomp/syscalls/2 ALLOW: does not match: argument 0 == 0x0 is false of 0x20008
  /linux/seccomp/syscalls/3 ALLOW: does not match: argument 0 == 0x8 is false of 0x20008
  /linux/seccomp/syscalls/4 ALLOW: does not match: argument 0 == 0x20000 is false of 0x20008
  /linux/seccomp/syscalls/5 ALLOW: decides: argument 0 == 0x20008
  /linux/seccomp/syscalls/6 ALLOW: not reached: an earlier rule decides
  /linux/seccomp/defaultAction ERRNO(1): not reached
";
    assert_eq!(told, expected);
    assert_eq!(ask(&file).1, expected);
    // There, pointers begin in the profile.
    assert_eq!(ask(&alone).1, expected.replace("/linux/seccomp", ""));
    let (_, json, _) = explain(&[&alone, "clone", "--json", "--arch", "amd64"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["actions"], json!(["ALLOW", "ERRNO(1)"]));
    assert_eq!((&json["call"], &json["number"]), (&json!("clone"), &json!(56)));
    assert_eq!(json["rules"][0]["pointer"], "/syscalls/9");
}

#[test]
fn what_is_no_profile_is_refused() {
    let folder = Folder::new("refused");
    let mut config = corpus();
    config["linux"].as_object_mut().unwrap().remove("seccomp");
    let bare = folder.write("config.json", &config);
    let engines = json!({"defaultAction": "SCMP_ACT_ERRNO", "archMap": [], "syscalls": []});
    let conditional = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}]});
    let wrong = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]});
    for (profile, words) in [
        (bare.as_str(), "no linux.seccomp: every system call reaches the kernel"),
        (&folder.write("engines.json", &engines), "a profile for an engine, which makes linux.seccomp of it"),
        (&folder.write("conditional.json", &conditional), "a profile for an engine"),
        (&folder.write("wrong.json", &wrong), "/linux/seccomp/syscalls/0/args/0/index"),
        ("/nowhere", "/nowhere: no such file or directory"),
    ] {
        let (code, told, error) = explain(&[profile, "bpf"]);
        assert_eq!((code, told.as_str()), (Some(1), ""), "{profile}");
        assert!(error.contains(words), "{words} is not in {error}");
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let folder = Folder::new("asked");
    let file = folder.write("config.json", &corpus());
    for (words, error) in [
        (&["read", "1", "2", "3", "4", "5", "6", "7"][..], "a system call has 6 arguments, not 7"),
        (&["read", "x"], "not the number in a register of 64 bits: x"),
        (&["read", "0x10000000000000000"], "not the number in a register of 64 bits"),
        (&["read", "--arch", "vax"], "unknown architecture vax"),
    ] {
        let (code, _, told) = explain(&[&[file.as_str()], words].concat());
        assert_eq!(code, Some(1), "{words:?}");
        assert!(told.contains(error), "{error} is not in {told}");
    }
    assert!(explain(&[&file, "kill", "--arch", "x86_64", "--", "-1"]).1.contains("kill(0xffffffffffffffff)"));
}
