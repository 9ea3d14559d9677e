//! `tare plan` as a command: its JSON, the difference of two plans, plans for other hosts. What the plans say is
//! in `golden.rs`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tare::testing::host::Facts;

/// A folder with bundles, removed at the end.
struct Bundles(PathBuf);

impl Bundles {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tare-plan-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn add(&self, name: &str, config: &Value) -> String {
        let bundle = self.0.join(name);
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle.to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Bundles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tare(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tare")).args(words).output().unwrap()
}

fn told(words: &[&str]) -> String {
    let output = tare(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(words: &[&str]) -> String {
    let output = tare(words);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn config(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder("corpus").join(name)).unwrap()).unwrap()
}

#[test]
fn the_numbers_of_a_plan_are_those_of_the_configurations_lists() {
    let bundles = Bundles::new("numbers");
    let mut config = config("docker-default.json");
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    config["linux"]["devices"] =
        json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}]);
    let bundle = bundles.add("one", &config);
    let plan: Value = serde_json::from_str(&told(&["plan", "--json", "--id", "theirs", &bundle])).unwrap();
    assert_eq!(plan["id"], "theirs");
    let mut text = String::from("container theirs\n");
    let mut entries = 0;
    for phase in plan["phases"].as_array().unwrap() {
        text.push_str(&format!("\n{}\n", phase["phase"].as_str().unwrap().to_uppercase()));
        for operation in phase["operations"].as_array().unwrap() {
            let (name, detail) =
                (operation["operation"].as_str().unwrap(), operation["detail"].as_str().unwrap());
            let pointer = operation["pointer"].as_str().unwrap_or_default();
            let index = pointer.rsplit('/').next().filter(|last| last.parse::<usize>().is_ok());
            if let Some(index) = index {
                let entry = config.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
                // What identifies the entry is in its line.
                let name = ["destination", "path", "type"].iter().find_map(|member| entry.get(member));
                let name = name.unwrap_or(entry).as_str().unwrap();
                assert!(detail.contains(name), "{pointer}: {entry} is not {detail}");
                entries += 1;
                text.push_str(&format!("  {} {index} {detail}\n", operation["operation"].as_str().unwrap()));
            } else {
                text.push_str(format!("  {name} {detail}").trim_end());
                text.push('\n');
            }
        }
    }
    assert!(entries > 25, "{text}");
    assert_eq!(told(&["plan", "--id", "theirs", &bundle]), text);
}

#[test]
fn only_what_is_different_is_told_of_two_bundles() {
    let bundles = Bundles::new("diff");
    let mut config = config("docker-default.json");
    let first = bundles.add("first", &config);
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.insert(2, json!({"destination": "/data", "type": "bind", "source": "/srv", "options": ["bind"]}));
    config["hostname"] = json!("other");
    let second = bundles.add("second", &config);
    // The names of the bundles are no difference.
    assert_eq!(told(&["plan", &first, "--diff", &first]), "");
    let text = told(&["plan", &first, "--diff", &second]);
    let expected = "FILESYSTEM\n+ mount 2 bind /srv at /data\n\n\
        ROOT\n- hostname 2e10dc00620d\n+ hostname other\n";
    assert_eq!(text, expected);
    let back: Value = serde_json::from_str(&told(&["plan", &second, "--json", "--diff", &first])).unwrap();
    let mount = json!({"pointer": "/mounts/2", "operation": "mount", "detail": "bind /srv at /data"});
    assert_eq!(back[0], json!({"phase": "filesystem", "removed": [mount], "added": []}));
    assert_eq!(back[1]["phase"], "root");
    assert!(refused(&["plan", &first, "--diff", "/nowhere"]).contains("/nowhere"));
}

#[test]
fn the_facts_of_this_host_give_the_plan_of_this_host() {
    let bundles = Bundles::new("here");
    let facts = bundles.write("facts.json", &told(&["features", "--facts"]));
    let bundle = bundles.add("one", &config("docker-default.json"));
    assert_eq!(told(&["plan", "--facts", &facts, &bundle]), told(&["plan", &bundle]));
}

#[test]
fn a_plan_can_be_made_for_another_host() {
    let bundles = Bundles::new("elsewhere");
    let case = folder("golden").join("docker-limits-systemd");
    let mut facts = serde_json::to_value(Facts::default()).unwrap();
    let known: Value = serde_json::from_slice(&fs::read(case.join("facts.json")).unwrap()).unwrap();
    for (name, value) in known.as_object().unwrap() {
        facts[name] = value.clone();
    }
    let document = json!({"architecture": std::env::consts::ARCH, "rootless": false, "facts": facts});
    let host = bundles.write("facts.json", &document.to_string());
    let config = serde_json::from_slice(&fs::read(case.join("config.json")).unwrap()).unwrap();
    let bundle = bundles.add("one", &config);
    let plan = told(&["--systemd-cgroup", "plan", "--facts", &host, "--id", "golden", &bundle]);
    let expected = fs::read_to_string(case.join("plan.txt")).unwrap();
    // The seccomp program is this machine's.
    let lines = |text: &str| {
        let kept = text.lines().filter(|line| !line.starts_with("  seccomp "));
        kept.map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(lines(&plan), lines(&expected));
}

#[test]
fn facts_that_are_not_whole_are_refused() {
    let bundles = Bundles::new("facts");
    let bundle = bundles.add("one", &config("docker-default.json"));
    let whole: Value = serde_json::from_str(&told(&["features", "--facts"])).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut facts = whole.clone();
        change(&mut facts);
        let path = bundles.write("facts.json", &facts.to_string());
        refused(&["plan", "--facts", &path, &bundle])
    };
    let missing = with(&|facts| drop(facts["facts"].as_object_mut().unwrap().remove("apparmor")));
    assert!(
        missing.contains("missing field `apparmor`") && missing.contains("features --facts"),
        "{missing}"
    );
    let unknown = with(&|facts| facts["facts"]["cgroup"]["unifed"] = json!({}));
    assert!(unknown.contains("unknown field `unifed`"), "{unknown}");
    let foreign = with(&|facts| facts["architecture"] = json!("vax"));
    assert!(foreign.contains("the facts of a host of vax: this tare plans for"), "{foreign}");
}

/// What the kernel can do is not always what the container may have: whoever needs the host's tree keeps it.
#[test]
fn a_root_is_entered_alone_where_nothing_needs_the_hosts_tree() {
    let bundles = Bundles::new("alone");
    let mut host: Value = serde_json::from_str(&told(&["features", "--facts"])).unwrap();
    let mut plain = config("ctr-default.json");
    plain["hooks"] = json!({"poststart": [{"path": "/bin/true"}], "startContainer": [{"path": "/bin/true"}]});
    let mut enters = |known: bool, change: &dyn Fn(&mut Value)| {
        host["facts"]["tree_namespaces"] = json!(known);
        let facts = bundles.write("facts.json", &host.to_string());
        let mut config = plain.clone();
        change(&mut config);
        let plan = told(&["plan", "--facts", &facts, &bundles.add("one", &config)]);
        let line = plan.lines().find(|line| line.starts_with("  enter ")).map(str::trim);
        line.unwrap_or_default().to_owned()
    };
    let (alone, copied) = ("enter by a mount namespace of it alone", "enter by pivot_root");
    assert_eq!(enters(true, &|_| ()), alone);
    assert_eq!(enters(false, &|_| ()), copied);
    let hook =
        |kind: &'static str| move |config: &mut Value| config["hooks"][kind] = json!([{"path": "/bin/true"}]);
    let mount =
        |mount: Value| move |config: &mut Value| config["mounts"].as_array_mut().unwrap().push(mount.clone());
    assert_eq!(
        enters(
            true,
            &mount(json!({"destination": "/a", "type": "bind", "source": "/etc", "options": ["rbind"]}))
        ),
        alone
    );
    let changes: [&dyn Fn(&mut Value); 9] = [
        &hook("prestart"),
        &hook("createRuntime"),
        &hook("createContainer"),
        &mount(
            json!({"destination": "/a", "type": "overlay", "source": "overlay", "options": ["lowerdir=/etc"]}),
        ),
        &mount(json!({"destination": "/a", "type": "ext4", "source": "/dev/vda"})),
        &mount(
            json!({"destination": "/a", "type": "bind", "source": "/etc/mtab", "options": ["rbind", "copy-symlink"]}),
        ),
        &|config| config["linux"]["rootfsPropagation"] = json!("rslave"),
        &|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps;
        },
        &|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            let mount = namespaces.iter_mut().find(|namespace| namespace["type"] == "mount").unwrap();
            mount["path"] = json!("/proc/1/ns/mnt");
        },
    ];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(enters(true, change), copied, "change {index}");
    }
}
