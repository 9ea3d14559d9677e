//! Private copies that share blocks with the store: on xfs and btrfs, in a loop-mounted file.

use std::process::Command;

use crate::registry::noise;
use crate::skip::skip_part;
use crate::support::*;

/// The script runs in a new mount namespace, where the filesystem is mounted.
const SCRIPT: &str = "
    mount -o loop disk mnt
    $IMAGE pull -q --overlay=files oci:image --store mnt/store
    $IMAGE unpack oci:image first
    used() { sync -f mnt; df --output=used -k mnt | tail -1; }
    before=$(used)
    $IMAGE unpack --store mnt/store oci:image mnt/copy 2>&1
    after=$(used)
    echo $((after - before)) KiB
    diff -r first/rootfs mnt/copy/rootfs
    stat -c '%n %a %u:%g %Y' first/rootfs/* | sed s,first,, >one
    stat -c '%n %a %u:%g %Y' mnt/copy/rootfs/* | sed s,mnt/copy,, >two
    diff one two
    $IMAGE diff mnt/copy";

/// Returns None where this machine does not have the filesystem.
fn printed(name: &str, make: &[&str]) -> Option<String> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap();
    if !known.contains(make[0].strip_prefix("mkfs.").unwrap_or_default()) {
        skip_part(&format!("needs {name} in the kernel"));
        return None;
    }
    let scratch = Scratch::new(name);
    let content = |name: &str, seed| Item { data: noise(8 << 20, seed), ..file(name, "") };
    let lower = [content("large", 1).ids(7, 8), content("gone", 2)];
    image(&scratch, &[&lower, &[file(".wh.gone", ""), content("second", 3).mode(0o4755)]]);
    std::fs::File::create(scratch.join("disk")).unwrap().set_len(512 << 20).unwrap();
    std::fs::create_dir(scratch.join("mnt")).unwrap();
    let output = Command::new(make[0]).args(&make[1..]).arg(scratch.join("disk")).output();
    let Ok(output) = output else {
        skip_part(&format!("needs {}", make[0]));
        return None;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let output = scratch.by_script("sh", SCRIPT);
    if stderr(&output).contains("loop device") {
        skip_part("needs loop devices");
        return None;
    }
    assert!(output.status.success(), "{name}: {}", stderr(&output));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_copy_of_layers_in_the_store_shares_their_blocks() {
    for (name, make) in [("xfs", &["mkfs.xfs", "-q"][..]), ("btrfs", &["mkfs.btrfs", "-q"])] {
        let Some(printed) = printed(name, make) else { continue };
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines.len(), 3, "{name}: {printed}");
        assert!(lines[0].starts_with("1 of 2: sha256:"), "{name}: {printed}");
        // Sixteen megabytes of files; what is taken is the directories' and the inodes'.
        let taken: u64 = lines[2].split(' ').next().unwrap().parse().unwrap();
        assert!(taken < 2048, "{name}: {printed}");
    }
}
