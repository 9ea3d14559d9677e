//! Plans, compared as text: `tests/golden/<case>/config.json` on the host of `facts.json` becomes `plan.txt`.
//!
//! A case may have a `request.json`: what the command line adds. `make bless` writes the plans anew: read the
//! difference before committing it. A configuration that is refused has the refusal as its plan.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use skip::skip;
use tare::testing::cgroup::Manager;
use tare::testing::container_id::ContainerId;
use tare::testing::error::Error;
use tare::testing::host::Facts;
use tare::testing::plan::service_manager::Activation;
use tare::testing::plan::{self, Request};
use tare::testing::spec;

/// Every reading of a configuration puts its maps into another order.
const READINGS: usize = 8;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder("golden")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = entries.filter(|path| path.join("config.json").exists()).collect();
    cases.sort();
    cases
}

fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the file says; what it leaves out is as on the most modest host.
fn facts(case: &Path) -> Facts {
    let mut facts = serde_json::to_value(Facts::default()).unwrap();
    for (name, value) in json(&case.join("facts.json")).as_object().unwrap() {
        let known = facts.get_mut(name);
        *known.unwrap_or_else(|| panic!("{}: no such fact: {name}", case.display())) = value.clone();
    }
    serde_json::from_value(facts).unwrap()
}

fn request<'a>(case: &Path, id: &'a ContainerId) -> Request<'a> {
    let path = case.join("request.json");
    let asked = if path.exists() { json(&path) } else { Value::Null };
    let on = |name: &str| asked.get(name).and_then(Value::as_bool).unwrap_or(false);
    let known =
        ["cgroupManager", "listenFds", "notify", "noNewKeyring", "noPivot", "preserveFds", "rootless"];
    for name in asked.as_object().into_iter().flat_map(|members| members.keys()) {
        assert!(known.contains(&&**name), "{}: {name}", path.display());
    }
    Request {
        no_pivot: on("noPivot"),
        no_new_keyring: on("noNewKeyring"),
        preserve_fds: asked.get("preserveFds").and_then(Value::as_u64).unwrap_or(0).try_into().unwrap(),
        cgroup_manager: cgroup_manager(&asked),
        rootless: on("rootless"),
        activation: Activation {
            listen_fds: asked.get("listenFds").and_then(Value::as_u64).unwrap_or(0).try_into().unwrap(),
            listen_names: asked.get("listenFds").map(|_| "a:b".into()),
            notify: on("notify").then(|| "/state/golden/notify".into()),
        },
        ..Request::new(id, "/bundle".into())
    }
}

fn cgroup_manager(asked: &Value) -> Manager {
    match asked.get("cgroupManager").and_then(Value::as_str) {
        None => Manager::Cgroupfs,
        Some("systemd") => Manager::Systemd,
        Some("disabled") => Manager::Disabled,
        Some(other) => panic!("no cgroup manager: {other}"),
    }
}

fn planned(case: &Path) -> Result<String, Error> {
    let spec = spec::parse(&fs::read(case.join("config.json")).unwrap())?;
    let id = ContainerId::parse("golden").unwrap();
    plan::plan_container(&spec, &facts(case), &request(case, &id)).map(|plan| plan.to_string())
}

fn text(case: &Path) -> String {
    planned(case).unwrap_or_else(|error| format!("refused: {error}\n"))
}

#[test]
fn each_configuration_has_its_plan() {
    if !cfg!(target_arch = "x86_64") {
        skip("needs x86-64, of which the seccomp programs of the plans are");
        return;
    }
    let bless = std::env::var_os("TARE_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (path, now) = (case.join("plan.txt"), text(&case));
        if bless {
            fs::write(&path, now).unwrap();
        } else if let Some(difference) = difference(&fs::read_to_string(&path).unwrap_or_default(), &now) {
            wrong.push(format!("{}:\n{difference}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\n(`make bless` writes the plans anew)", wrong.join("\n"));
}

/// Lines that only one of the two has.
fn difference(expected: &str, now: &str) -> Option<String> {
    if expected == now {
        return None;
    }
    let lines = |text: &str| text.lines().map(String::from).collect::<BTreeSet<_>>();
    let (before, after) = (lines(expected), lines(now));
    let gone = before.difference(&after).map(|line| format!("  - {line}\n"));
    let new = after.difference(&before).map(|line| format!("  + {line}\n"));
    let text: String = gone.chain(new).collect();
    Some(if text.is_empty() { "  the same lines in another order\n".into() } else { text })
}

#[test]
fn the_same_input_gives_the_same_text() {
    for case in cases() {
        let texts: BTreeSet<String> = (0..READINGS).map(|_| text(&case)).collect();
        assert_eq!(texts.len(), 1, "{}: {texts:#?}", case.display());
    }
}

#[test]
fn each_configuration_of_the_corpus_is_a_case() {
    let configs: BTreeSet<PathBuf> =
        cases().iter().map(|case| case.join("config.json").canonicalize().unwrap()).collect();
    for path in corpus() {
        assert!(configs.contains(&path), "{} is no case of tests/golden", path.display());
    }
}

/// The containers; not the processes that engines hand to `exec`.
fn corpus() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder("corpus")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| json(path).get("root").is_some()).map(|path| path.canonicalize().unwrap()).collect()
}

fn tare_plan(bundle: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tare")).arg("plan").arg(bundle).output().unwrap()
}

#[test]
fn the_command_prints_the_plan_of_each_configuration_of_the_corpus() {
    let bundle = std::env::temp_dir().join(format!("tare-golden-{}", std::process::id()));
    fs::create_dir_all(&bundle).unwrap();
    for path in corpus() {
        fs::copy(&path, bundle.join("config.json")).unwrap();
        let (first, second) = (tare_plan(&bundle), tare_plan(&bundle));
        let said = String::from_utf8_lossy(&first.stderr).into_owned();
        assert!(first.status.success(), "{}: {said}", path.display());
        assert!(first.stdout == second.stdout, "{}: two texts", path.display());
        let text = String::from_utf8(first.stdout).unwrap();
        for begins in
            ["container ", "cgroup ", "clone ", "rootfs ", "mount 0 ", "enter ", "user ", "execute "]
        {
            assert!(
                text.lines().any(|line| line.trim_start().starts_with(begins)),
                "{}: no {begins}\n{text}",
                path.display()
            );
        }
    }
    fs::remove_dir_all(&bundle).unwrap();
}

#[test]
fn a_plan_changes_nothing() {
    let bundle = std::env::temp_dir().join(format!("tare-golden-pure-{}", std::process::id()));
    fs::create_dir_all(&bundle).unwrap();
    fs::copy(folder("corpus").join("docker-default.json"), bundle.join("config.json")).unwrap();
    assert!(tare_plan(&bundle).status.success());
    let left: Vec<_> = fs::read_dir(&bundle).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config.json"]);
    fs::remove_dir_all(&bundle).unwrap();
}
