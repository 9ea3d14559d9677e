//! What the kernel grants only to who has every privilege, and AppArmor.

use serde_json::json;

use crate::ours;
use crate::support::Bundle;

fn bundle() -> Option<Bundle> {
    ours().then(Bundle::new).flatten()
}

#[test]
fn limits_of_resources_are_raised_and_the_score_is_lowered() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script("ulimit -Hn; ulimit -Sn; ulimit -l; cat /proc/self/oom_score_adj").patch(|config| {
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "hard": 1_048_570, "soft": 1_048_560},
            {"type": "RLIMIT_MEMLOCK", "hard": u64::MAX, "soft": u64::MAX},
        ]);
        config["process"]["oomScoreAdj"] = json!(-900);
    });
    let answer = bundle.run();
    assert_eq!(answer.ok().lines(), ["1048570", "1048560", "unlimited", "-900"]);
}

#[test]
fn a_profile_of_apparmor_confines_the_container_and_what_joins_it() {
    let Some(mut bundle) = bundle() else { return };
    let profile = "profile tare-test flags=(attach_disconnected) { capability, network, signal, file, umount, mount, \
        deny /etc/passwd r, }";
    crate::sh(&format!("echo '{profile}' | apparmor_parser -r"));
    bundle.script("cat /proc/self/attr/current; cat /etc/group && cat /etc/passwd").patch(|config| {
        config["process"]["apparmorProfile"] = json!("tare-test");
    });
    let answer = bundle.run();
    assert_eq!(answer.lines(), ["tare-test (enforce)", "root:x:0:", "user:x:1000:"], "{answer:?}");
    assert!(answer.stderr.contains("Permission denied"), "{answer:?}");
    assert_ne!(answer.code, 0);

    bundle.up();
    let current = |flags: &[&str]| {
        let words = [&["exec"], flags, &[bundle.id.as_str(), "cat", "/proc/self/attr/current"]].concat();
        bundle.tare(&words).ok().stdout
    };
    assert_eq!(current(&[]), "tare-test (enforce)\n");
    assert_eq!(current(&["--apparmor", "unconfined"]), "unconfined\n");
}

#[test]
fn a_profile_that_is_not_loaded_is_refused_by_its_field() {
    let Some(mut bundle) = bundle() else { return };
    bundle.patch(|config| config["process"]["apparmorProfile"] = json!("no-such-profile"));
    let answer = bundle.run();
    assert!(answer.code != 0 && answer.told().contains("/process/apparmorProfile"), "{answer:?}");
    assert!(answer.told().contains("no-such-profile"), "{answer:?}");
}
