//! Every verb beside the runc of the distribution: the same exit code, the same words, the same members of JSON.
//!
//! `cargo test --test side_by_side -- --nocapture` prints what was compared.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Answer, Bundle, program, wait_until};

/// What of standard output is compared, beside the exit code.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// Nothing: a human reads it, or it holds numbers of the moment.
    Nothing,
    Text,
    /// The pointers of all members of a JSON document, with the types of their values.
    Members,
    /// The same, but ours may have more.
    MembersAtLeast,
    /// How many lines there are.
    Lines,
    /// The message of the error.
    Message,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    call: String,
    code: i32,
    seen: BTreeSet<String>,
}

/// One runtime, its bundle, and what it answered so far.
struct Side {
    bundle: Bundle,
    outcomes: Vec<(Outcome, Of)>,
}

impl Side {
    fn step(&mut self, call: &str, of: Of) -> Answer {
        let words: Vec<&str> = call.split(' ').collect();
        self.step_of(call, &words, of)
    }

    /// For words that hold blanks.
    fn step_of(&mut self, call: &str, words: &[&str], of: Of) -> Answer {
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "ID" { &*self.bundle.id } else { *word }).collect();
        let answer = self.bundle.tare(&words);
        let outcome = Outcome { call: call.into(), code: answer.code, seen: self.seen(&answer, of) };
        self.outcomes.push((outcome, of));
        answer
    }

    fn seen(&self, answer: &Answer, of: Of) -> BTreeSet<String> {
        // Newer versions of runc say where it failed, as we do.
        let own = |text: &str| {
            let text = text.replace(&self.bundle.id, "ID").replace("runc", "tare");
            text.replace("error during container init: ", "")
        };
        match of {
            Of::Nothing => BTreeSet::new(),
            Of::Text => [own(&answer.stdout)].into(),
            Of::Lines => [answer.lines().len().to_string()].into(),
            Of::Message => [own(&answer.message())].into(),
            Of::Members | Of::MembersAtLeast => {
                members(&serde_json::from_str(&answer.stdout).unwrap_or(Value::Null))
            }
        }
    }

    fn args(&mut self, args: &[&str]) -> &mut Self {
        self.bundle.args(args);
        self
    }

    /// Until the container is in this state.
    fn wait(&self, status: &str) {
        wait_until(status, || {
            self.bundle.tare(&["state", &self.bundle.id]).stdout.contains(&format!("\"{status}\""))
        });
    }
}

/// Pointers and types; items of an array count as one.
fn members(document: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, pointer: &str, all: &mut BTreeSet<String>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(items) => {
                items.iter().for_each(|item| walk(item, &format!("{pointer}/-"), all));
                "array"
            }
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| walk(value, &format!("{pointer}/{name}"), all));
                "object"
            }
        };
        all.insert(format!("{pointer} {kind}"));
    }
    let mut all = BTreeSet::new();
    walk(document, "", &mut all);
    all
}

/// Engines look for runc's words within a message. Ours has them first, and may give the reason behind them.
fn says_as_much(their: &str, our: &str) -> bool {
    our.strip_prefix(their).is_some_and(|reason| reason.is_empty() || reason.starts_with(": "))
}

/// Plays the scenario with each and compares.
fn both(scenario: impl Fn(&mut Side)) {
    let Some(runc) = program("runc") else { return };
    let play = |program: &str| {
        let mut side = Side { bundle: Bundle::with(program)?, outcomes: Vec::new() };
        scenario(&mut side);
        Some(side.outcomes)
    };
    let (Some(theirs), Some(ours)) = (play(runc.to_str().unwrap()), play(&support::runtime())) else {
        return;
    };
    let mut wrong = Vec::new();
    for ((their, of), (our, _)) in theirs.iter().zip(&ours) {
        let same = their.code == our.code
            && match of {
                Of::MembersAtLeast => their.seen.is_subset(&our.seen),
                Of::Message => their.seen.iter().zip(&our.seen).all(|(their, our)| says_as_much(their, our)),
                _ => their.seen == our.seen,
            };
        eprintln!("{:4} {:4} {} {}", their.code, our.code, if same { "=" } else { "≠" }, our.call);
        if !same {
            let only = |one: &Outcome, other: &Outcome| {
                one.seen.difference(&other.seen).cloned().collect::<Vec<_>>().join("\n    ")
            };
            wrong.push(format!(
                "{}\n  runc: {} {}\n  ours: {} {}",
                our.call,
                their.code,
                only(their, our),
                our.code,
                only(our, their)
            ));
        }
    }
    assert_eq!(theirs.len(), ours.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn create_state_list_start() {
    both(|side| {
        side.args(&["sleep", "1000"]);
        side.step("state ID", Of::Message);
        side.step("start ID", Of::Message);
        side.step("create --pid-file pid ID", Of::Text);
        side.step("state ID", Of::Members);
        side.step("list", Of::Lines);
        side.step("list -q", Of::Text);
        side.step("list --format json", Of::Members);
        side.step("list --format yaml", Of::Message);
        side.step("create ID", Of::Message);
        side.step("run ID", Of::Message);
        side.step("start ID", Of::Text);
        side.step("start ID", Of::Message);
        side.step("delete ID", Of::Message);
        side.step("kill ID KILL", Of::Text);
        side.wait("stopped");
        side.step("start ID", Of::Message);
        side.step("state ID", Of::Members);
        side.step("delete ID", Of::Text);
        side.step("list", Of::Text);
        side.step("list -f json", Of::Text);
    });
}

#[test]
fn kill() {
    both(|side| {
        side.step("kill ID", Of::Message);
        side.args(&["sh", "-c", "trap : TERM; while :; do sleep 0.1; done"]);
        side.step("create ID", Of::Nothing);
        side.step("start ID", Of::Nothing);
        for signal in ["0", "15", "TERM", "SIGTERM", "sigterm", "term"] {
            side.step(&format!("kill ID {signal}"), Of::Text);
        }
        side.step("kill ID FOO", Of::Message);
        side.step("kill ID 9x", Of::Message);
        side.step("kill --all ID TERM", Of::Text);
        side.step("state ID", Of::Members);
        side.step("kill ID KILL", Of::Text);
        side.wait("stopped");
        side.step("kill ID TERM", Of::Nothing);
        side.step("kill ID KILL", Of::Nothing);
        side.step("kill --all ID KILL", Of::Nothing);
        side.step("delete ID", Of::Text);
    });
}

#[test]
fn delete() {
    both(|side| {
        side.step("delete ID", Of::Message);
        side.step("delete --force ID", Of::Text);
        side.step("create ID", Of::Nothing);
        side.step("delete ID", Of::Text);
        side.args(&["sleep", "1000"]);
        side.step("create ID", Of::Nothing);
        side.step("start ID", Of::Nothing);
        side.step("delete ID", Of::Message);
        side.step("delete -f ID", Of::Text);
        side.step("state ID", Of::Message);
        side.step("delete -f ID", Of::Text);
    });
}

#[test]
fn exec() {
    both(|side| {
        side.step("exec ID true", Of::Message);
        std::fs::write(side.bundle.rootfs().join("bin/text"), "no program").unwrap();
        side.args(&["sleep", "1000"]);
        side.step("create ID", Of::Nothing);
        side.step("exec ID echo created", Of::Text);
        side.step("start ID", Of::Nothing);
        side.step("exec ID echo running", Of::Text);
        side.step("exec ID sh -c exit\t7", Of::Text);
        side.step_of("exec: killed by a signal", &["exec", "ID", "sh", "-c", "kill -9 $$"], Of::Text);
        for missing in ["nosuch", "/nosuch", "/bin/text"] {
            side.step(&format!("exec ID {missing}"), Of::Message);
        }
        // What a directory is called differs between versions of runc.
        side.step("exec ID /bin", Of::Nothing);
        let show = "pwd; id -u; id -g; id -G; umask; echo $A $HOME; ulimit -n; grep -e Cap -e Seccomp: -e NoNew /proc/self/status";
        for flags in [
            &[][..],
            &["-e", "A=b", "--cwd", "/bin"],
            &["-u", "5:6"],
            &["-u", "1000", "-g", "7", "-g", "8"],
            &["--cap", "CAP_NET_RAW", "--no-new-privs"],
            &["--cap", "CAP_NET_RAW", "-u", "1000"],
        ] {
            let words = [&["exec"], flags, &["ID", "sh", "-c", show]].concat();
            side.step_of(&format!("exec {}", flags.join(" ")), &words, Of::Text);
        }
        side.step("exec -d --pid-file pid ID sleep 999", Of::Text);
        side.step("ps -f json ID", Of::Members);
        side.step("exec --user user ID true", Of::Nothing);
        side.step("exec ID", Of::Nothing);
        let process =
            json!({"args": ["pwd"], "cwd": "/usr", "env": ["PATH=/bin"], "user": {"uid": 3, "gid": 3}});
        std::fs::write(side.bundle.dir.join("process.json"), process.to_string()).unwrap();
        side.step("exec --process process.json ID", Of::Text);
        side.step("exec --process nosuch.json ID", Of::Nothing);
        side.step("kill ID KILL", Of::Nothing);
        side.wait("stopped");
        side.step("exec ID true", Of::Message);
        side.step("ps -f json ID", Of::Members);
    });
}

#[test]
fn pause_and_resume() {
    both(|side| {
        side.step("pause ID", Of::Message);
        side.step("resume ID", Of::Message);
        side.args(&["sleep", "1000"]);
        side.step("create ID", Of::Nothing);
        side.step("start ID", Of::Nothing);
        side.step("resume ID", Of::Message);
        side.step("pause ID", Of::Text);
        side.step("state ID", Of::Members);
        side.step("pause ID", Of::Nothing);
        side.step("exec ID true", Of::Message);
        side.step("start ID", Of::Nothing);
        side.step("delete ID", Of::Message);
        side.step("ps -f json ID", Of::Members);
        side.step("resume ID", Of::Text);
        side.step("resume ID", Of::Message);
        side.step("pause ID", Of::Text);
        side.step("delete --force ID", Of::Text);
        side.step("state ID", Of::Message);
    });
}

#[test]
fn run() {
    both(|side| {
        for script in ["exit 0", "exit 3", "exit 255", "echo out; echo err >&2"] {
            side.bundle.script(script);
            side.step_of(&format!("run: {script}"), &["run", "ID"], Of::Text);
        }
        side.bundle.without_namespace("pid").script("kill -TERM $$");
        side.step_of("run: killed by a signal", &["run", "ID"], Of::Text);
        side.bundle.namespace("pid", None);
        for program in ["nosuch", "/nosuch", "/etc/passwd"] {
            side.args(&[program]);
            for verb in ["run", "create"] {
                side.step_of(&format!("{verb}: {program}"), &[verb, "ID"], Of::Message);
            }
        }
        side.args(&["sleep", "1000"]);
        side.step("run -d --pid-file pid ID", Of::Text);
        side.step("state ID", Of::Members);
        side.step("delete --force ID", Of::Nothing);
        side.args(&["true"]);
        side.step("run --keep ID", Of::Text);
        side.step("state ID", Of::Members);
        side.step("delete ID", Of::Text);
    });
}

#[test]
fn what_is_wrong_with_a_bundle() {
    both(|side| {
        let whole = side.bundle.config.clone();
        let config = side.bundle.dir.join("config.json");
        for text in ["", "{", "[]", "{}"] {
            std::fs::write(&config, text).unwrap();
            side.step_of(&format!("create: {text:?}"), &["create", "ID"], Of::Nothing);
        }
        std::fs::remove_file(&config).unwrap();
        side.step_of("create: no config.json", &["create", "ID"], Of::Nothing);
        for (pointer, value) in [
            ("/process/args", json!([])),
            ("/process/cwd", json!("")),
            ("/process/cwd", json!("relative")),
            ("/root/path", json!("nosuch")),
            ("/linux/namespaces/0/type", json!("nosuch")),
            ("/linux/namespaces/1", json!({"type": "network", "path": "/no/such"})),
            ("/mounts/0/type", json!("nosuchfs")),
        ] {
            side.bundle.patch(|config| {
                *config = whole.clone();
                *config.pointer_mut(pointer).unwrap() = value;
            });
            side.step_of(&format!("create: {pointer}"), &["create", "ID"], Of::Nothing);
        }
        side.step("state ID", Of::Message);
        for id in ["a/b", "..", ".", "a b", "a\u{e9}"] {
            side.step_of(&format!("create: id {id:?}"), &["create", id], Of::Message);
        }
        side.step_of("create: no id", &["create", ""], Of::Message);
    });
}

#[test]
fn update() {
    both(|side| {
        side.args(&["sleep", "1000"]);
        side.step("update --pids-limit 77 ID", Of::Message);
        side.step("create ID", Of::Nothing);
        side.step("start ID", Of::Nothing);
        side.step("update --pids-limit 77 ID", Of::Text);
        let groups = support::machine::groups(&side.bundle.id);
        let pids = groups.iter().map(|group| group.join("pids.max")).find(|path| path.exists()).unwrap();
        let limit = std::fs::read_to_string(pids).unwrap();
        side.step_of(&format!("update: pids.max is {}", limit.trim()), &["state", "ID"], Of::Members);
        side.step("update --memory many ID", Of::Nothing);
        side.step("update --pids-limit 88 nosuch", Of::Message);
    });
}

#[test]
fn events() {
    both(|side| {
        side.args(&["sleep", "1000"]);
        side.step("events --stats ID", Of::Message);
        side.step("create ID", Of::Nothing);
        side.step("start ID", Of::Nothing);
        side.step("events --stats ID", Of::MembersAtLeast);
        side.step("events --interval 0s ID", Of::Message);
        side.step("kill ID KILL", Of::Nothing);
        side.wait("stopped");
        side.step("events --stats ID", Of::Message);
    });
}

#[test]
fn spec_writes_the_same_members() {
    both(|side| {
        let write = |side: &mut Side, flags: &[&str]| {
            std::fs::remove_file(side.bundle.dir.join("config.json")).unwrap();
            side.step_of("spec", &[&["spec"], flags].concat(), Of::Text);
            let mut written: Value = serde_json::from_str(&side.bundle.read("config.json")).unwrap();
            // Newer versions of runc ask for no ambient capabilities.
            written["process"]["capabilities"].as_object_mut().unwrap().remove("ambient");
            let outcome = Outcome { call: "spec: members".into(), code: 0, seen: members(&written) };
            side.outcomes.push((outcome, Of::Members));
        };
        write(side, &[]);
        write(side, &["--rootless"]);
        side.step("spec", Of::Message);
    });
}

#[test]
fn features_tells_at_least_as_much() {
    let Some(runc) = program("runc") else { return };
    let told = |program: &str| {
        let answer = support::run::wait_for(std::process::Command::new(program).arg("features")).ok();
        let mut document = answer.json();
        // They name versions of runc and of a library that we do not use.
        document.as_object_mut().unwrap().remove("annotations");
        document
    };
    let (theirs, ours) = (told(runc.to_str().unwrap()), told(&support::runtime()));
    let missing: Vec<_> = members(&theirs).difference(&members(&ours)).cloned().collect();
    assert!(missing.is_empty(), "{missing:#?}");
    for list in
        ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/seccomp/actions", "/linux/seccomp/operators"]
    {
        let items = |document: &Value| -> BTreeSet<String> {
            document.pointer(list).unwrap().as_array().unwrap().iter().map(ToString::to_string).collect()
        };
        let mut missing: Vec<_> = items(&theirs).difference(&items(&ours)).cloned().collect();
        // Older versions of runc: flags that the kernel has not had for long.
        missing.retain(|item| !["\"acl\"", "\"noacl\""].contains(&&**item));
        assert!(missing.is_empty(), "{list}: {missing:?}");
    }
}

#[test]
fn the_process_is_as_well_confined() {
    both(|side| {
        side.bundle.patch(|config| {
            config["process"]["user"] =
                json!({"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o27});
            config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
            config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
        });
        // Which signals are ignored is left out: older versions of runc pass 32 and 33 on.
        let status = "grep -e Umask -e Uid -e Gid -e Groups -e SigBlk -e Cap -e NoNew -e Seccomp: -e Threads /proc/self/status";
        for script in [
            status,
            "cat /proc/self/limits",
            "cat /proc/self/oom_score_adj; pwd; env | sort",
            "ls /proc/self/fd",
            "ls -lR /dev | grep -v total",
            "awk '{ print $5 }' /proc/self/mountinfo | sort",
            "cat /proc/self/cgroup",
            "hostname; cat /proc/sys/kernel/domainname; ls /sys/class/net",
            "cat /proc/self/attr/current; cat /proc/self/personality",
        ] {
            side.bundle.script(script);
            side.step_of(&format!("run: {script}"), &["run", "ID"], Of::Text);
        }
    });
}
