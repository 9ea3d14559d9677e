//! Namespaces that are joined or missing: what must be so before a container is made in them.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::{Bundle, FIRST_ID};

/// A container that joins the user namespace of another, which is returned too: it ends with its bundle.
fn joined(inner: u32, host: u32) -> Option<(Bundle, Bundle)> {
    let mut first = Bundle::new()?;
    first.user_namespace().up();
    let path = format!("/proc/{}/ns/user", first.pid());
    let mut second = Bundle::new()?;
    second.user_namespace().namespace("user", Some(&path));
    let map = json!([{"containerID": inner, "hostID": host, "size": 65536}]);
    second.patch(|config| {
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    Some((first, second))
}

#[test]
fn mappings_may_be_given_with_a_user_namespace_to_join_if_they_are_its_own() {
    let Some((_first, mut second)) = joined(0, FIRST_ID) else { return };
    assert_eq!(second.output_of("cat /proc/self/uid_map | tr -s ' '"), format!(" 0 {FIRST_ID} 65536\n"));
    second.leaves_nothing();
}

#[test]
fn other_mappings_than_those_of_the_joined_user_namespace_are_refused() {
    let Some((_first, second)) = joined(0, FIRST_ID + 1) else { return };
    second.run().fails(
        1,
        "/linux/uidMappings: user namespaces enabled, but both namespace path and non-matching mapping",
    );
    second.leaves_nothing();
}

/// A procfs of its own, in a user namespace inside the container.
const NEW_PROC: [&str; 5] = ["unshare", "-mrpf", "sh", "-ec", "mount -t proc none /proc && echo mounted"];

#[test]
fn without_pivot_root_the_masks_of_proc_hold_too() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&NEW_PROC).patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SETFCAP"]);
        }
    });
    for arguments in [&["run"][..], &["run", "--no-pivot"]] {
        let answer = bundle.tare(&[arguments, &[&bundle.id]].concat());
        answer.fails(1, "mount: permission denied");
    }
    // Without masks nothing is hidden, so the kernel allows it: what is refused above is so because of them.
    bundle.patch(|config| {
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    assert_eq!(bundle.tare(&["run", "--no-pivot", &bundle.id]).ok().stdout, "mounted\n");
    bundle.leaves_nothing();
}

#[test]
fn private_propagation_takes_pivot_root() {
    let Some(mut bundle) = Bundle::new() else { return };
    for word in ["private", "rprivate"] {
        bundle.patch(|config| config["linux"]["rootfsPropagation"] = json!(word));
        bundle.run().ok();
        let answer = bundle.tare(&["run", "--no-pivot", &bundle.id]);
        answer.fails(1, "rootfsPropagation of [r]private is not safe without pivot_root");
    }
    bundle.leaves_nothing();
}
