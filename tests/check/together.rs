//! `create`, `run` and `plan` tell all faults together, whatever finds them.

use serde_json::json;

use crate::support::Bundle;

/// What cannot be read, what breaks a rule, what this host lacks, a rootfs that is not there, a name that is misspelt.
fn with_five_faults() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    bundle.patch(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFIEL", "soft": 1, "hard": 1}]);
        config["process"]["oomScoreAdj"] = json!(5000);
        config["process"]["selinuxLabel"] = json!("a:b:c:d");
        config["root"]["path"] = json!("nowhere");
        config["hostnmae"] = json!("x");
    });
    Some(bundle)
}

#[test]
fn faults_that_different_looks_find_are_told_at_once() {
    let Some(bundle) = with_five_faults() else { return };
    for verb in [&["create", &bundle.id][..], &["run", &bundle.id], &["plan", "."]] {
        let told = bundle.tare(verb).fails(1, "config.json: ").message();
        for words in [
            "/process/rlimits/0/type (line 1, column ",
            "wrong rlimit value: RLIMIT_NOFIEL (did you mean \"RLIMIT_NOFILE\"?)",
            "/process/oomScoreAdj (line 1, column ",
            "/process/selinuxLabel (line 1, column ",
            "selinux label is specified in config, but selinux is disabled or not supported",
            "/root/path (line 1, column ",
            "nowhere: no such file or directory",
            "no such member (did you mean \"hostname\"?)",
        ] {
            assert!(told.contains(words), "{verb:?}: {words} is not in {told}");
        }
    }
    // Of two that the plan alone finds, and the rootfs.
    let Some(mut bundle) = with_five_faults() else { return };
    bundle.patch(|config| {
        config["process"]["rlimits"] = json!([]);
        config["process"]["oomScoreAdj"] = json!(0);
        config["linux"]["intelRdt"] = json!({"closID": "x", "schemata": ["NO:1"]});
    });
    let told = bundle.create().fails(1, "/process/selinuxLabel: ").message();
    assert!(told.contains("; /root/path: rootfs "), "{told}");
}

#[test]
fn what_was_probably_typed_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.tare(&["crate", "x"]).fails(3, "did you mean \"create\"?");
    bundle.tare(&["create", "--bundel", "x", "y"]).fails(1, "hint: did you mean --bundle?");
    bundle.tare(&["--lgo", "x", "state", "y"]).fails(1, "hint: did you mean --log?");
    let far = bundle.tare(&["zzzzzz"]).fails(3, "No help topic for 'zzzzzz'");
    assert!(!far.stderr.contains("did you mean"), "{far:?}");
}

#[test]
fn what_is_lost_between_two_spellings_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["process"]["Cwd"] = json!("/tmp");
        config["Linux"] = json!({"Resources": {"Pids": {"limit": 100}}, "maskedPaths": ["/proc/x"]});
    });
    let told = bundle.tare(&["plan", "."]).ok().stdout;
    for words in [
        "warning /process: \"cwd\" stands here also as \"Cwd\", taken together; what \"Cwd\" says of /process/cwd is lost",
        "warning /: \"linux\" stands here also as \"Linux\", taken together; what \"Linux\" says of /linux/maskedPaths is lost",
        "pids.max = \"100\"",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
}
