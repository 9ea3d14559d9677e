//! A thousand containers, one after the other: groups that the kernel cannot let go of would pile up.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Bundle, machine};

/// `"$@"` is the call of `state`: its words before the verb serve the others.
const BATCH: &str = "for number in {1..50}; do
    \"${@:1:3}\" create \"$5\" >/dev/null && \"${@:1:3}\" delete --force \"$5\" || exit 99
done";

/// `nr_descendants` and `nr_dying_descendants` of a group of the test's own: others come and go beside it.
fn descendants(parent: &Path) -> (u64, u64) {
    let text = fs::read_to_string(parent.join("cgroup.stat")).unwrap();
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    (number("nr_descendants "), number("nr_dying_descendants "))
}

#[test]
fn a_thousand_containers_leave_no_dying_groups() {
    if !machine::cgroup2_alone() {
        return;
    }
    let Some(mut bundle) = Bundle::new() else { return };
    let name = format!("/{}-parent", bundle.id);
    bundle.namespace("cgroup", None);
    bundle.patch(|config| config["linux"]["cgroupsPath"] = json!(format!("{name}/one")));
    bundle.create().ok();
    bundle.delete_force().ok();
    let parent = Path::new("/sys/fs/cgroup").join(&name[1..]);
    let before = descendants(&parent);
    for _ in 0..1000 / 50 {
        bundle.tare_by(BATCH, &["state", &bundle.id]).ok();
    }
    // The kernel takes its time for the last ones.
    let end = Instant::now() + Duration::from_secs(30);
    while descendants(&parent) > before {
        assert!(Instant::now() < end, "{before:?}, now {:?}", descendants(&parent));
        std::thread::sleep(Duration::from_millis(100));
    }
    fs::remove_dir(&parent).unwrap();
    bundle.leaves_nothing();
}
