//! The mounts that containerd hands to Create: in the root filesystem, wherever an image's links lead.

use std::fs;

use super::Shim;
use super::client::Mount;
use super::support::Bundle;

/// A shim whose bundle has its files in `image`, which is to be mounted.
fn shim(command: &str) -> Option<Shim> {
    let mut bundle = Bundle::new()?;
    bundle.args(&["sh", "-c", command]);
    bundle.patch(|config| config["process"]["terminal"] = false.into());
    fs::rename(bundle.dir.join("rootfs"), bundle.dir.join("image")).unwrap();
    fs::create_dir(bundle.dir.join("rootfs")).unwrap();
    Some(Shim::in_bundle(bundle, true))
}

fn mounts(shim: &Shim, target: &str) -> Vec<Mount> {
    let image = shim.bundle.dir.join("image").to_string_lossy().into_owned();
    let options = vec!["rbind".to_owned(), "rw".to_owned()];
    let mount = |kind: &str, source: &str, target: &str, options| Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        options,
    };
    vec![mount("bind", &image, "", options), mount("tmpfs", "here", target, vec!["nosuid".to_owned()])]
}

fn mounted_in(shim: &Shim) -> Vec<String> {
    let dir = shim.bundle.dir.to_string_lossy().into_owned();
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = all.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(&dir)).map(str::to_owned).collect()
}

#[test]
fn a_link_of_the_image_leads_no_mount_out_of_it() {
    for target in ["/escape/here", "../outside/here", "escape/../../outside/here"] {
        let Some(mut shim) = shim("true") else { return };
        fs::create_dir_all(shim.bundle.dir.join("outside/here")).unwrap();
        std::os::unix::fs::symlink(shim.bundle.dir.join("outside"), shim.bundle.dir.join("image/escape"))
            .unwrap();
        let create = super::client::Create { rootfs: mounts(&shim, target), ..shim.create() };
        let failure = shim.client.call("Create", &create).expect_err(target);
        assert!(failure.message.contains("tmpfs"), "{}", failure.message);
        assert_eq!(mounted_in(&shim), Vec::<String>::new(), "{target}");
    }
}

#[test]
fn a_link_of_the_image_is_followed_inside_of_it() {
    let Some(mut shim) = shim("grep -q '^here /real tmpfs .*nosuid' /proc/mounts") else { return };
    fs::create_dir_all(shim.bundle.dir.join("image/real")).unwrap();
    std::os::unix::fs::symlink("/real", shim.bundle.dir.join("image/link")).unwrap();
    let create = super::client::Create { rootfs: mounts(&shim, "/link"), ..shim.create() };
    let named = shim.named();
    shim.client.call("Create", &create).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0, "the container sees it");
    shim.client.call("Delete", &named).unwrap();
    assert_eq!(mounted_in(&shim), Vec::<String>::new());
}

#[test]
fn the_layers_of_an_overlay_are_seen_as_the_maps_say() {
    let Some(mut shim) = shim("[ \"$(stat -c %u:%g /bin)\" = 100000:200000 ]") else { return };
    let dir = shim.bundle.dir.to_string_lossy().into_owned();
    for name in ["upper", "work"] {
        fs::create_dir(shim.bundle.dir.join(name)).unwrap();
    }
    let options = [
        format!("lowerdir={dir}/image"),
        format!("upperdir={dir}/upper"),
        format!("workdir={dir}/work"),
        "uidmap=0:100000:65536".to_owned(),
        "gidmap=0:200000:65536".to_owned(),
    ];
    let overlay = Mount {
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: options.into(),
        ..Mount::default()
    };
    let create = super::client::Create { rootfs: vec![overlay], ..shim.create() };
    let named = shim.named();
    if let Err(failure) = shim.client.call("Create", &create) {
        let known = ["mapping the ids of", "user namespace"];
        assert!(known.iter().any(|words| failure.message.contains(words)), "{}", failure.message);
        return super::support::skip("needs id-mapped mounts of the filesystem that tests are on");
    }
    assert_eq!(mounted_in(&shim), [format!("{dir}/rootfs")], "of the layers nothing is left");
    assert!(!shim.bundle.dir.join(".layers").exists());
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0, "the container sees the mapped ids");
    shim.client.call("Delete", &named).unwrap();
    assert_eq!(mounted_in(&shim), Vec::<String>::new());
}
