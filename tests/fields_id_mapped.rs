//! Id-mapped mounts: whose a file of the source is inside.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::chown;

use serde_json::{Value, json};
use support::{Bundle, FIRST_ID};

fn lists(inner: u32, host: u32, size: u32) -> Value {
    json!([{"containerID": inner, "hostID": host, "size": size}])
}

/// A directory `source` with a file of user 1 and group 2, and in it a tmpfs with a file of the same owners.
fn bundle() -> Option<Bundle> {
    let bundle = Bundle::new()?;
    let source = bundle.dir.join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    chown(source.join("file"), Some(1), Some(2)).unwrap();
    Some(bundle)
}

fn mount(bundle: &mut Bundle, options: &[&str], maps: Option<(Value, Value)>) {
    let mut mount = json!({"destination": "/mnt", "type": "bind", "source": "source", "options": options});
    if let Some((uids, gids)) = maps {
        mount["uidMappings"] = uids;
        mount["gidMappings"] = gids;
    }
    bundle.mount(mount);
}

const SHOW: &str = "stat -c %u:%g /mnt/file";

#[test]
fn lists_of_the_mount_say_how_owners_show() {
    for options in [&["bind"][..], &["rbind", "idmap"], &["bind", "ridmap", "ro"]] {
        let Some(mut bundle) = bundle() else { return };
        mount(&mut bundle, options, Some((lists(0, 1000, 10), lists(0, 2000, 10))));
        assert_eq!(bundle.output_of(SHOW), "1001:2002\n", "{options:?}");
        bundle.leaves_nothing();
    }
}

#[test]
fn the_word_alone_means_the_user_namespace_of_the_container() {
    let Some(mut bundle) = bundle() else { return };
    bundle.user_namespace();
    mount(&mut bundle, &["bind", "idmap"], None);
    // On the host they would be FIRST_ID + 1: inside it is as on the source.
    assert_eq!(bundle.output_of(SHOW), "1:2\n");
}

#[test]
fn without_the_word_owners_that_are_not_mapped_show_as_nobody() {
    let Some(mut bundle) = bundle() else { return };
    bundle.user_namespace();
    mount(&mut bundle, &["bind"], None);
    assert_eq!(bundle.output_of(SHOW), "65534:65534\n");
}

#[test]
fn a_joined_user_namespace_maps_too() {
    let Some(mut bundle) = bundle() else { return };
    bundle.user_namespace().up();
    let path = format!("/proc/{}/ns/user", bundle.pid());
    let Some(mut other) = self::bundle() else { return };
    other.user_namespace().namespace("user", Some(&path));
    other.patch(|config| {
        let linux = config["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    mount(&mut other, &["bind", "idmap"], None);
    assert_eq!(other.output_of(SHOW), "1:2\n");
}

#[test]
fn a_file_made_inside_gets_the_owner_that_the_mapping_says() {
    let Some(mut bundle) = bundle() else { return };
    mount(&mut bundle, &["bind"], Some((lists(5, 0, 1), lists(6, 0, 1))));
    chown(bundle.dir.join("source"), Some(5), Some(6)).unwrap();
    bundle.script("touch /mnt/new");
    bundle.run().ok();
    let new = fs::metadata(bundle.dir.join("source/new")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((new.uid(), new.gid()), (5, 6));
}

/// `source/below` is another filesystem.
fn with_mount_below(bundle: &mut Bundle) {
    let run = format!(
        "mkdir -p source/below && mount -t tmpfs {} source/below && touch source/below/file && \
         chown 1:2 source/below/file && \"$@\"; code=$?; umount source/below; exit $code",
        bundle.id
    );
    bundle.script("stat -c %u:%g /mnt/file /mnt/below/file");
    let answer = bundle.tare_by(&run, &["run", &bundle.id]).ok();
    fs::write(bundle.dir.join("answer"), answer.stdout).unwrap();
}

#[test]
fn mounts_below_are_mapped_by_ridmap_only() {
    for (word, below) in [("idmap", "1:2"), ("ridmap", "1001:2002")] {
        let Some(mut bundle) = bundle() else { return };
        mount(&mut bundle, &["rbind", word], Some((lists(0, 1000, 10), lists(0, 2000, 10))));
        with_mount_below(&mut bundle);
        assert_eq!(bundle.read("answer"), format!("1001:2002\n{below}\n"), "{word}");
    }
}

#[test]
fn mappings_can_stand_in_the_option() {
    let Some(mut bundle) = bundle() else { return };
    mount(&mut bundle, &["bind", "idmap=uids=0-500-1#1-600-1;gids=2-700-1"], None);
    assert_eq!(bundle.output_of(SHOW), "600:700\n");

    let Some(mut bundle) = self::bundle() else { return };
    bundle.user_namespace();
    mount(&mut bundle, &["bind", "idmap=uids=@1-7-1;gids=@2-8-1"], None);
    assert_eq!(bundle.output_of(SHOW), "7:8\n");
    let plan = bundle.tare(&["plan", "--bundle", "."]).ok().stdout;
    let line = format!("idmap uids 1:{}:1 gids 2:{}:1", FIRST_ID + 7, FIRST_ID + 8);
    assert!(plan.contains(&line), "{plan}");
}

#[test]
fn what_cannot_be_mapped_is_refused_with_its_place() {
    let both = || Some((lists(0, 1, 1), lists(0, 1, 1)));
    let rows = [
        (&["bind", "idmap"][..], None, "id-mapped mounts must have both uid and gid mappings specified"),
        (&["bind", "idmap=uids=0-1-1;gids=0-1-1"], both(), "id mappings are given twice"),
        (&["bind", "idmap=uids=x;gids=0-1-1"], None, "/mounts/7/options: invalid id mapping"),
    ];
    for (options, maps, words) in rows {
        let Some(mut bundle) = bundle() else { return };
        mount(&mut bundle, options, maps);
        bundle.run().fails(1, words);
        bundle.leaves_nothing();
    }
}

#[test]
fn a_filesystem_that_knows_no_mapping_is_told() {
    let Some(mut bundle) = bundle() else { return };
    bundle.mount(json!({"destination": "/mnt", "type": "bind", "source": "/proc", "options": ["bind"],
        "uidMappings": lists(0, 1, 1), "gidMappings": lists(0, 1, 1)}));
    bundle
        .run()
        .fails(1, "/mounts/7: map the ids of /proc: mount_setattr(MOUNT_ATTR_IDMAP): invalid argument");
    bundle.leaves_nothing();
}
