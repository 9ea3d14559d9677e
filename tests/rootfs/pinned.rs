//! Sources in which a mount namespace is pinned, as snapd pins some below /run, and what is bound is all of the host: the
//! kernel attaches no clone that was made before the container's own namespace (ELOOP).

use std::fs;

use serde_json::json;

use crate::support::Bundle;

/// Runs a command where a mount namespace is pinned below `directory`. On one processor: in KERNEL(6.18) the numbers by
/// which the kernel tells older from newer namespaces are dealt to each processor in stacks, and a newer one that was made
/// on another may not be pinned.
fn pinned_below(directory: &str) -> String {
    let steps = format!(
        "mount -t tmpfs pinned {directory} && touch {directory}/file {directory}/namespace && \
         unshare --mount={directory}/namespace true && grep -q nsfs /proc/self/mountinfo && exec \"$@\""
    );
    let one = "$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')";
    format!("exec taskset -c {one} unshare --mount --propagation private sh -ec '{steps}' sh \"$@\"")
}

#[test]
fn are_bound_into_a_user_namespace_and_with_mapped_ids() {
    for (users, options) in
        [(true, &["rbind"][..]), (false, &["rbind", "ridmap=uids=0-5-1;gids=0-6-1"]), (false, &["rbind"])]
    {
        let Some(mut bundle) = Bundle::new() else { return };
        fs::create_dir_all(bundle.dir.join("source/below")).unwrap();
        if users {
            bundle.user_namespace();
        }
        bundle.mount(json!({"destination": "/mnt", "type": "bind", "source": "source", "options": options}));
        bundle.script("ls /mnt/below; stat -c %u:%g /mnt/below/file; ! grep nsfs /proc/self/mountinfo");
        let answer = bundle.tare_by(&pinned_below("source/below"), &["run", &bundle.id]).ok();
        let owner = match options {
            [_] if users => "65534:65534",
            [_] => "0:0",
            _ => "5:6",
        };
        assert_eq!(answer.stdout, format!("file\nnamespace\n{owner}\n"), "users: {users}, {options:?}");
        bundle.leaves_nothing();
    }
}

#[test]
fn are_the_root_of_a_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    fs::create_dir_all(bundle.dir.join("rootfs/below")).unwrap();
    bundle.script("ls /below");
    let answer = bundle.tare_by(&pinned_below("rootfs/below"), &["run", &bundle.id]).ok();
    assert_eq!(answer.stdout, "file\nnamespace\n");
}

#[test]
fn come_to_a_container_that_runs() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir_all(bundle.dir.join("source/below")).unwrap();
    bundle.writable().up();
    let mount = json!([{"destination": "/mnt", "type": "bind", "source": "source", "options": ["rbind"]}]);
    fs::write(bundle.dir.join("mounts.json"), mount.to_string()).unwrap();
    let add = ["mounts", "add", &bundle.id, "mounts.json"];
    bundle.tare_by(&pinned_below("source/below"), &add).ok();
    assert_eq!(bundle.exec(&["ls", "/mnt/below"]).ok().stdout, "file\nnamespace\n");
}
