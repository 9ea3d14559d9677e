//! `tare check` says of no bundle that `create` takes that it would be refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::planted::told;
use crate::support::Bundle;

#[test]
fn nothing_is_found_in_the_template() {
    let Some(mut bundle) = Bundle::new() else { return };
    assert_eq!(bundle.tare(&["check", "--strict"]).ok().stdout, "");
    bundle.user_namespace();
    assert_eq!(bundle.tare(&["check", "--strict", "--bundle", "."]).ok().stdout, "");
    // A program that a mount brings.
    bundle.patch(|config| config["process"]["args"] = json!(["/host/bin/sh"]));
    bundle.mount(json!({"destination": "/host", "type": "bind", "source": "/", "options": ["rbind", "ro"]}));
    assert_eq!(bundle.tare(&["check", "--strict"]).ok().stdout, "");
}

/// The configurations of engines and of our own tests, with a rootfs that is there, without what is bound from the
/// machines that they come from.
#[test]
fn what_create_takes_has_no_fault() {
    let Some(mut bundle) = Bundle::new() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (mut taken, mut wrong) = (0, Vec::new());
    for case in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(text) = fs::read(case.join("config.json")) else { continue };
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        if !make_possible(&mut config) {
            continue;
        }
        bundle.patch(|old| *old = config);
        let check = bundle.tare(&["check", "--json"]);
        let created = bundle.create();
        bundle.delete_force();
        let faults: Vec<String> = told(&check).into_iter().filter(|at| at.starts_with("fault")).collect();
        taken += u32::from(created.code == 0);
        if created.code == 0 && !faults.is_empty() || (check.code == 1) == faults.is_empty() {
            wrong.push(format!("{}: code {}, {faults:?}", case.display(), check.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(taken >= 10, "{taken} were taken");
}

/// False for a container that would be the host's.
fn make_possible(config: &mut Value) -> bool {
    config["root"]["path"] = json!("rootfs");
    config["process"]["terminal"] = json!(false);
    config.as_object_mut().unwrap().remove("hooks");
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["source"].as_str().is_none_or(|source| !source.starts_with('/')));
    }
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("cgroupsPath");
    }
    let namespaces = config["linux"]["namespaces"].as_array();
    namespaces.is_some_and(|list| list.iter().any(|one| one["type"] == "mount" && one["path"].is_null()))
}
