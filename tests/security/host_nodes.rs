//! A container that holds a descriptor of one of the host's device nodes could take the node from every program of the
//! host, by its mode. Here each is given the mode that it has, so that nothing is lost where that goes well.

use serde_json::json;

use crate::support::{Answer, Bundle};

/// Writes down for each of its streams that is a device whether it can be changed.
const TRY: &str = "exec 4<&0 5>&1 6>&2; for fd in 4 5 6; do [ -c /proc/self/fd/$fd ] || continue; \
    chmod $(stat -L -c %a /proc/self/fd/$fd) /proc/self/fd/$fd 2>>/tmp/told && echo changed $fd >>/tmp/told; \
    echo tried $fd >>/tmp/told; done; true";

fn prepared() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    bundle.writable();
    Some(bundle)
}

/// As many streams were tried, and none could be changed.
#[track_caller]
fn none_is_changed(what: &str, bundle: &Bundle, answer: Answer, streams: usize) {
    answer.ok();
    let told = bundle.read("rootfs/tmp/told");
    assert_eq!(told.matches("tried").count(), streams, "{what}: {told}");
    assert_eq!(told.matches("Read-only file system").count(), streams, "{what}: {told}");
    std::fs::remove_file(bundle.rootfs().join("tmp/told")).unwrap();
}

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

#[test]
fn a_stream_of_exec_is_no_way_to_a_node_of_the_hosts() {
    let Some(mut bundle) = prepared() else { return };
    bundle.up();
    let words = ["exec", &*bundle.id, "sh", "-c", TRY];
    for device in DEVICES {
        let script = format!("\"$@\" </dev/{device}");
        none_is_changed(device, &bundle, bundle.tare_by(&script, &words), 1);
    }
    for script in ["\"$@\" >/dev/null 2>/dev/null", "\"$@\" <&- >&- 2>&-"] {
        none_is_changed(script, &bundle, bundle.tare_by(script, &words), 3);
    }
    // A descriptor of another mount namespace, whose mounts cannot be cloned.
    none_is_changed("unshare", &bundle, bundle.tare_by("exec unshare -m \"$@\"", &words), 1);
    // Nor where the container has taken its own null device away.
    bundle.exec(&["rm", "/dev/null"]).ok();
    none_is_changed("without its own", &bundle, bundle.tare_by("\"$@\"", &words), 1);
    let process = json!({"args": ["sh", "-c", TRY], "cwd": "/", "user": {"uid": 0, "gid": 0},
        "env": ["PATH=/bin"], "capabilities": bundle.config["process"]["capabilities"]});
    std::fs::write(bundle.dir.join("process.json"), process.to_string()).unwrap();
    let words = ["exec", "--process", &*bundle.path("process.json"), &*bundle.id];
    none_is_changed("--process", &bundle, bundle.tare_by("\"$@\"", &words), 1);
}

#[test]
fn a_stream_of_the_first_process_is_no_way_to_a_node_of_the_hosts() {
    let Some(mut bundle) = prepared() else { return };
    bundle.script(TRY);
    let words = ["run", &*bundle.id.clone()];
    for device in &DEVICES[1..] {
        let script = format!("\"$@\" </dev/{device}");
        none_is_changed(device, &bundle, bundle.tare_by(&script, &words), 1);
    }
    // A /dev without a null device, or with another thing of that name.
    let dev = bundle.dir.join("own-dev");
    std::fs::create_dir(&dev).unwrap();
    bundle.patch(|config| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|one| !one["destination"].as_str().unwrap().starts_with("/dev"));
    });
    bundle.mount(json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["bind"]}));
    none_is_changed("no null", &bundle, bundle.tare_by("\"$@\"", &words), 1);
    std::fs::write(dev.join("null"), "").unwrap();
    none_is_changed("a file", &bundle, bundle.tare_by("\"$@\"", &words), 1);
    none_is_changed("unshare", &bundle, bundle.tare_by("exec unshare -m \"$@\"", &words), 1);
}

#[test]
fn without_a_mount_namespace_it_is_none_either() {
    let Some(mut bundle) = prepared() else { return };
    bundle.without_namespace("mount").patch(|config| {
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    bundle.up();
    // Through which mount it is open, for the root of such a container has no procfs to try it by.
    let open = std::fs::read_to_string(format!("/proc/{}/fdinfo/0", bundle.pid())).unwrap();
    let id = open.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap().trim().to_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.lines().any(|line| line.split(' ').next() == Some(&*id)), "{open}{mounts}");
}

#[test]
fn the_output_of_a_hook_is_none_either() {
    let Some(mut bundle) = prepared() else { return };
    bundle.patch(|config| {
        config["annotations"] = json!({"run.oci.hooks.stdout": "/dev/null"});
        config["hooks"] =
            json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", TRY], "env": ["PATH=/bin"]}]});
    });
    none_is_changed("hook", &bundle, bundle.run(), 1);
}
