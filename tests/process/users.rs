//! User namespaces: mappings, and what root is worth there.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::support::{Bundle, FIRST_ID};
use crate::user;

fn maps(bundle: &mut Bundle, uids: serde_json::Value, gids: serde_json::Value) {
    bundle.patch(|config| {
        config["linux"]["uidMappings"] = uids;
        config["linux"]["gidMappings"] = gids;
    });
}

fn owner(bundle: &Bundle) -> (u32, u32) {
    let stat = std::fs::metadata(format!("/proc/{}", bundle.pid())).unwrap();
    (stat.uid(), stat.gid())
}

#[test]
fn ids_are_mapped_as_the_configuration_says() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    maps(
        &mut bundle,
        json!([{"containerID": 0, "hostID": FIRST_ID, "size": 1000}, {"containerID": 1000, "hostID": 500_000, "size": 5}]),
        json!([{"containerID": 0, "hostID": 200_000, "size": 2000}]),
    );
    let output =
        bundle.output_of("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; id -g");
    let words: Vec<&str> = output.split_whitespace().collect();
    let expected = ["0", "100000", "1000", "1000", "500000", "5", "0", "200000", "2000", "allow", "0", "0"];
    assert_eq!(words, expected);
    user(&mut bundle, 1001, 7, &[9, 11]);
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    bundle.start().ok();
    assert_eq!(owner(&bundle), (500_001, 200_007));
    assert_eq!(bundle.exec(&["id"]).ok().stdout, "uid=1001 gid=7 groups=9,11\n");
}

#[test]
fn mappings_without_a_user_namespace_are_a_warning() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        for list in ["uidMappings", "gidMappings"] {
            config["linux"][list] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        }
    });
    let answer = bundle.script("cat /proc/self/uid_map; id -u").run().ok();
    let words: Vec<&str> = answer.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "4294967295", "0"]);
    for list in ["uidMappings", "gidMappings"] {
        assert!(
            answer.stderr.contains(&format!("/linux/{list}: ignored: user namespace mappings")),
            "{answer:?}"
        );
    }
}

#[test]
fn what_is_made_inside_belongs_to_the_mapped_user() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace().writable();
    bundle.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_CHOWN"]);
        }
    });
    bundle.output_of("touch /new; chown 5:6 /new");
    let stat = std::fs::metadata(bundle.rootfs().join("new")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (FIRST_ID + 5, FIRST_ID + 6));
}

#[test]
fn root_there_has_all_capabilities_that_it_is_given_and_none_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    bundle.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                json!(["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_NET_ADMIN"]);
        }
    });
    let script = "sed -n 's/^CapEff:\\t//p' /proc/self/status; hostname changed && hostname; \
        echo 1 > /proc/sys/kernel/core_pattern";
    let answer = bundle.script(script).run();
    assert!(answer.stdout.ends_with("1201000\nchanged\n"), "{answer:?}");
    assert!(answer.stderr.contains("can't create /proc/sys/kernel/core_pattern"), "{answer:?}");
}

#[test]
fn an_id_that_is_not_mapped_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    let small = json!([{"containerID": 0, "hostID": FIRST_ID, "size": 10}]);
    maps(&mut bundle, small.clone(), small);
    user(&mut bundle, 10, 0, &[]);
    bundle.run().fails(1, "/process/user/uid: cannot setuid to unmapped uid 10 in user namespace");
    user(&mut bundle, 0, 10, &[]);
    bundle.run().fails(1, "/process/user/gid: cannot setgid to unmapped gid 10 in user namespace");
    user(&mut bundle, 0, 0, &[10]);
    bundle.run().fails(1, "/process/user/additionalGids");
    bundle.leaves_nothing();
}

#[test]
fn many_mappings_work_and_too_many_are_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    let lines = |count: u32| -> serde_json::Value {
        (0..count).map(|n| json!({"containerID": n, "hostID": 2000 + n * 2, "size": 1})).collect()
    };
    maps(&mut bundle, lines(340), lines(340));
    assert_eq!(bundle.output_of("wc -l < /proc/self/uid_map"), "340\n");
    for count in [341, 5000] {
        maps(&mut bundle, lines(count), lines(1));
        bundle.run().fails(1, "/linux/uidMappings");
    }
    bundle.leaves_nothing();
}

#[test]
fn root_need_not_be_mapped_to_be_somebody_else() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    let only = json!([{"containerID": 1000, "hostID": FIRST_ID, "size": 1}]);
    maps(&mut bundle, only.clone(), only);
    user(&mut bundle, 1000, 1000, &[]);
    // runc refuses it (#1800): the container's root must be mapped. One clear sentence or success; nothing left.
    let answer = bundle.script("id -u").run();
    assert!(
        answer.code == 0 && answer.stdout == "1000\n" || answer.told().contains("Mappings"),
        "{answer:?}"
    );
    bundle.leaves_nothing();
}
