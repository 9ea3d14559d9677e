//! How mounts travel between the host and the container. Each test has a mount namespace of its own as the host.

use std::fs;

use serde_json::json;

use crate::support::Bundle;
use crate::{Mount, at, in_own_mounts, mounts, parse, run_after};

#[test]
fn of_the_root_is_what_the_configuration_says() {
    let Some(mut bundle) = Bundle::new() else { return };
    let rows = [
        ("private", false, false, false),
        ("rprivate", false, false, false),
        ("shared", true, false, false),
        ("rshared", true, false, false),
        ("unbindable", false, false, true),
        ("runbindable", false, false, true),
    ];
    for (word, shared, slave, unbindable) in rows {
        bundle.patch(|config| config["linux"]["rootfsPropagation"] = json!(word));
        let mounts = mounts(&mut bundle);
        let root = at(&mounts, "/");
        let is = (root.propagates("shared:"), root.propagates("master:"), root.propagates("unbindable"));
        assert_eq!(is, (shared, slave, unbindable), "{word}: {root:?}");
    }
    bundle.leaves_nothing();
}

/// What the container sees at /m/late, which is mounted on the host when it runs already.
fn late(option: &str, host: &str) -> Option<Option<Mount>> {
    let mut bundle = Bundle::new()?;
    fs::create_dir(bundle.dir.join("data")).unwrap();
    bundle.writable().args(&["sleep", "1000"]);
    bundle
        .mount(json!({"destination": "/m", "type": "bind", "source": "data", "options": ["rbind", option]}));
    let script = format!(
        "mount -t tmpfs data data; mount --make-{host} data; mkdir data/late
        \"${{@:1:3}}\" run -d $5; mount -t tmpfs late data/late
        \"${{@:1:3}}\" exec $5 cat /proc/self/mountinfo; \"${{@:1:3}}\" delete --force $5"
    );
    let answer = in_own_mounts(&bundle, &script).ok();
    bundle.leaves_nothing();
    Some(parse(&answer.stdout).into_iter().find(|mount| mount.point == "/m/late"))
}

#[test]
fn a_slave_receives_what_the_host_mounts_later() {
    let Some(seen) = late("rslave", "shared") else { return };
    assert_eq!(seen.map(|mount| mount.source), Some("late".into()));
}

#[test]
fn a_private_one_does_not() {
    let Some(seen) = late("rprivate", "shared") else { return };
    assert!(seen.is_none(), "{seen:?}");
}

#[test]
fn without_a_word_it_is_as_the_host_has_it_and_receives_only() {
    let Some(seen) = late("rw", "shared") else { return };
    assert_eq!(seen.map(|mount| mount.source), Some("late".into()));
}

#[test]
fn a_shared_one_sends_to_the_host() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    bundle.writable().script("mkdir /m/inside && mount -t tmpfs inside /m/inside");
    bundle.patch(|config| {
        config["linux"]["rootfsPropagation"] = json!("rshared");
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    bundle.mount(
        json!({"destination": "/m", "type": "bind", "source": "data", "options": ["rbind", "rshared"]}),
    );
    let script =
        "mount -t tmpfs data data; mount --make-shared data; \"$@\"; grep -c inside /proc/self/mountinfo";
    assert_eq!(in_own_mounts(&bundle, script).ok().stdout, "1\n");
}

#[test]
fn a_slave_sends_nothing_to_the_host() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    bundle
        .writable()
        .script("mkdir /m/inside && mount -t tmpfs inside /m/inside && grep -c inside /proc/self/mountinfo");
    bundle.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    bundle.mount(
        json!({"destination": "/m", "type": "bind", "source": "data", "options": ["rbind", "rslave"]}),
    );
    let script = "mount -t tmpfs data data; mount --make-shared data; \"$@\"; grep -c inside /proc/self/mountinfo || true";
    assert_eq!(in_own_mounts(&bundle, script).ok().stdout, "1\n0\n");
}

#[test]
fn words_of_a_mount_show_in_mountinfo() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    bundle.writable();
    for word in ["shared", "rshared", "private", "rprivate", "unbindable", "runbindable"] {
        let destination = format!("/{word}");
        bundle.mount(
            json!({"destination": destination, "type": "bind", "source": "data", "options": ["rbind", word]}),
        );
    }
    let mounts = mounts(&mut bundle);
    for word in ["shared", "rshared"] {
        assert!(at(&mounts, &format!("/{word}")).propagates("shared:"), "{word}: {mounts:#?}");
    }
    for word in ["private", "rprivate"] {
        assert!(at(&mounts, &format!("/{word}")).propagation.is_empty(), "{word}: {mounts:#?}");
    }
    for word in ["unbindable", "runbindable"] {
        assert!(at(&mounts, &format!("/{word}")).propagates("unbindable"), "{word}: {mounts:#?}");
    }
}

#[test]
fn words_act_one_after_the_other() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("data")).unwrap();
    for (destination, words) in [
        ("/both", ["rslave", "shared"]),
        ("/last", ["shared", "unbindable"]),
        ("/none", ["rshared", "rprivate"]),
    ] {
        let options = json!(["rbind", words[0], words[1]]);
        bundle
            .mount(json!({"destination": destination, "type": "bind", "source": "data", "options": options}));
    }
    bundle.writable().script("grep -E ' /(both|last|none) ' /proc/self/mountinfo");
    let script = "mount -t tmpfs data data; mount --make-shared data; \"$@\"";
    let answer = in_own_mounts(&bundle, script).ok();
    let line =
        |target: &str| answer.lines().into_iter().find(|line| line.contains(target)).unwrap().to_owned();
    assert!(line("/both").contains("shared:") && line("/both").contains("master:"), "{answer:?}");
    assert!(line("/last").contains("unbindable"), "{answer:?}");
    assert!(!line("/none").contains("shared:"), "{answer:?}");
}

#[test]
fn of_a_root_that_is_a_slave_of_a_shared_one_receives() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["cat", "/proc/self/mountinfo"]);
    for word in ["slave", "rslave"] {
        bundle.patch(|config| config["linux"]["rootfsPropagation"] = json!(word));
        let mounts = parse(&run_after(&bundle, "mount --make-rshared /").ok().stdout);
        let root = at(&mounts, "/");
        assert!(root.propagates("master:"), "{word}: {root:?}");
    }
}
