//! Faults during unpacking: kills at any moment, full disks, archives that would take all memory. Nothing half-made is
//! left visible, and the next run succeeds.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use crate::skip::skip;
use tare::testing::image::blob::digest;

use crate::support::*;

/// Makes layers that take a while to unpack: many files, links to lower layers, directories without entries, whiteouts.
fn busy(scratch: &Scratch) {
    let mut fixture = Fixture::new(scratch);
    for layer in 0..4 {
        let mut items = vec![dir("./"), dir("d")];
        for number in 0..60 {
            let name = format!("d/{layer}/{}/f{number}", number % 7);
            items.push(file(&name, &format!("{layer} {number} ").repeat(500)).ids(number, layer));
        }
        if layer > 0 {
            let below = layer - 1;
            items.push(hard_link(&format!("d/{below}/1/link"), &format!("d/{below}/1/f1")));
            items.push(file(&format!("d/{below}/2/.wh.f2"), ""));
            items.push(file(&format!("d/{below}/3/.wh..wh..opq"), ""));
        }
        fixture.layer(PACKINGS[usize::try_from(layer).unwrap() % 3], &archive(&items));
    }
    fixture.finish();
}

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn rounds() -> u64 {
    std::env::var("TARE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Starts an unpacking and kills it after `delay`. False where it had ended before.
fn killed(scratch: &Scratch, args: &[&str], delay: Duration) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tare-image"))
        .args(args)
        .current_dir(scratch.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap().signal().is_some()
}

/// The tree of each layer in the store, or its archive and index. The times of whiteouts are left out: they come from no archive.
fn layers(store: &Path) -> HashMap<String, Vec<String>> {
    let dir = store.join("layers");
    let tree = |name: &str| {
        assert!(dir.join(name).join("about.json").exists(), "{name}");
        if dir.join(name).join("layer.erofs").exists() {
            let sum = |file: &str| {
                format!("{file} {}", digest::sha256_of(&fs::read(dir.join(name).join(file)).unwrap()))
            };
            return vec![sum("layer.tar"), sum("layer.erofs")];
        }
        let lines = listing(&dir.join(name).join("fs")).into_iter();
        lines
            .map(|line| line.split_once(" 20000 ").map_or_else(|| line.clone(), |(path, _)| path.into()))
            .collect()
    };
    names(&dir).into_iter().map(|name| (name.clone(), tree(&name))).collect()
}

/// As `assert_eq`, but prints the first difference only.
fn same(found: &[String], expected: &[String], what: &str) {
    if found != expected {
        let other = found.iter().zip(expected).find(|(found, expected)| found != expected);
        panic!("{what}: {} lines, {} expected; {other:?}", found.len(), expected.len());
    }
}

#[test]
fn a_kill_at_any_moment_leaves_no_half_layer() {
    for form in ["files", "erofs"] {
        kill_while_layers_are_made(form);
    }
}

fn kill_while_layers_are_made(form: &str) {
    let overlay = format!("--overlay={form}");
    let unpack = ["unpack", "-q", &overlay, "--store", "store", "oci:image", "shared"];
    let scratch = Scratch::new(&format!("kill-store-{form}"));
    busy(&scratch);
    if form == "erofs" && !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    assert!(scratch.run(&unpack).status.success());
    let expected = listing(&scratch.join("shared/rootfs"));
    let complete = layers(&scratch.join("store"));
    assert!(complete.len() >= 4 && complete.values().all(|layer| layer.len() > 20 || form == "erofs"));
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut hits, mut kills) = (0, 0);
    // How long a whole run takes; others may be busy on this machine.
    let mut whole = 20_000;
    for round in 0..rounds() {
        let _ = umount2(&scratch.join("shared/rootfs"), MntFlags::MNT_DETACH);
        for name in ["shared", "store"] {
            let _ = fs::remove_dir_all(scratch.join(name));
        }
        // Mostly one kill, sometimes several in a row.
        for _ in 0..=dice.below(4) / 3 {
            kills += 1;
            hits += u64::from(killed(&scratch, &unpack, Duration::from_micros(dice.below(whole))));
            if scratch.join("store/layers").exists() {
                for (name, layer) in layers(&scratch.join("store")) {
                    same(&layer, &complete[&name], &format!("round {round}: layer {name}"));
                }
            }
            if scratch.join("shared/tare-image.json").exists() {
                // Complete, or marked; mounted or not.
                assert!(scratch.join("shared/config.json").exists(), "round {round}");
            }
        }
        let began = Instant::now();
        let output = scratch.run(&unpack);
        if output.status.success() {
            whole = (whole + u64::try_from(began.elapsed().as_micros()).unwrap()) / 2;
        } else {
            // It was all done before the kill.
            assert!(
                stderr(&output).contains("it exists and is not empty"),
                "round {round}: {}",
                stderr(&output)
            );
            // The last thing that the killed one would have done: its workplace goes with whoever comes next.
            assert!(scratch.run(&["prune", "--store", "store"]).status.success(), "round {round}");
        }
        same(&listing(&scratch.join("shared/rootfs")), &expected, &format!("round {round}"));
        assert!(layers(&scratch.join("store")) == complete, "round {round}");
        assert_eq!(names(&scratch.join("store/tmp")), [""; 0], "round {round}");
        assert_eq!(names(scratch.path()), ["image", "shared", "store"], "round {round}");
        assert!(!scratch.join("shared/.tare-image-mounting").exists(), "round {round}");
    }
    assert!(hits * 3 > kills, "only {hits} of {kills} kills came in time");
}

#[test]
fn a_kill_at_any_moment_leaves_no_half_bundle() {
    const UNPACK: [&str; 4] = ["unpack", "-q", "oci:image", "bundle"];
    let scratch = Scratch::new("kill-copy");
    busy(&scratch);
    let began = Instant::now();
    let expected = listing(&scratch.unpack());
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds() {
        let _ = fs::remove_dir_all(scratch.join("bundle"));
        killed(&scratch, &UNPACK, Duration::from_micros(dice.below(whole * 5 / 4)));
        if !scratch.join("bundle").exists() {
            let output = scratch.run(&UNPACK);
            assert!(output.status.success(), "round {round}: {}", stderr(&output));
        }
        same(&listing(&scratch.join("bundle/rootfs")), &expected, &format!("round {round}"));
        assert_eq!(names(scratch.path()), ["bundle", "image"], "round {round}");
    }
}

/// Runs a script in a new mount namespace, with the program as `$IMAGE`; returns what it printed.
fn scripted(scratch: &Scratch, script: &str) -> String {
    let output = scratch.by_script("sh", script);
    assert!(output.status.success(), "{script}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_on_it() {
    let scratch = Scratch::new("full");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Gzip, &archive(&[file("small", "x")]));
    fixture.layer(Packing::Plain, &archive(&[dir("d"), file("d/large", &"x".repeat(3 << 20))])).finish();
    fs::create_dir(scratch.join("disk")).unwrap();
    for (args, left) in [
        ("unpack oci:image disk/bundle", ""),
        ("unpack --overlay=files --store disk/store oci:image disk/bundle", "store "),
        ("unpack --overlay --store disk/store oci:image disk/bundle", "store "),
        ("pull oci:image oci-archive:disk/image.tar", ""),
        ("pull oci:image docker-archive:disk/image.tar", ""),
        ("pull oci:image oci:disk/image", "image "),
    ] {
        let script = format!(
            "mount -t tmpfs -o size=1m tmpfs disk
            ! $IMAGE {args} -q >disk.log 2>&1 || exit 1
            grep -v '^hint: the file system that .* is on is full' disk.log; ls -A disk | tr '\\n' ' '
            ! [ -e disk/store ] || ls -A disk/store/tmp disk/store/layers disk/store/bundles | tr '\\n' ' '
            ! [ -e disk/image/index.json ] || grep -o sha256 disk/image/index.json
            mount -o remount,size=20m disk
            $IMAGE {args} -q && echo && echo again: ok"
        );
        let printed = scripted(&scratch, &script);
        let lines: Vec<&str> = printed.lines().collect();
        assert!(lines[0].contains("no space left on device"), "{args}: {printed}");
        assert!(
            lines[0].contains("d/large") || !args.starts_with("unpack") || args.contains("overlay "),
            "{args}: {printed}"
        );
        assert!(lines[1].starts_with(left) && (left == "store " || lines[1] == left), "{args}: {printed}");
        assert_eq!(lines.last(), Some(&"again: ok"), "{args}: {printed}");
    }
}

/// Runs tare-image with little address space, so that an allocation that grows with the input fails.
fn in_little_memory(scratch: &Scratch, args: &str) -> std::process::Output {
    Command::new("sh")
        .args(["-c", &format!("ulimit -v 150000; exec $IMAGE {args}")])
        .env("IMAGE", env!("CARGO_BIN_EXE_tare-image"))
        .current_dir(scratch.path())
        .output()
        .unwrap()
}

#[test]
fn bombs_end_early_and_in_little_memory() {
    // A gigabyte of ones for each megabyte; the header says that there are eight.
    let mut ones = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut ones, &vec![1; 8 << 20]).unwrap();
    let ones = ones.finish().unwrap();
    let mut header = file("ones", "").header();
    header.set_size(8 << 30);
    header.set_cksum();
    let gzip = [&Packing::Gzip.pack(header.as_bytes())[..], &ones.repeat(1024)].concat();
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(30).unwrap();
    wide.long_distance_matching(true).unwrap();
    std::io::Write::write_all(&mut wide, &archive(&[file("a", "x")])).unwrap();
    let gzip_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    let deep = format!("{}x", "d/".repeat(900));
    for (name, blob, media_type, args, words) in [
        ("ratio", &gzip, gzip_type, "", "hint: raise the limit with --max-ratio"),
        (
            "size",
            &gzip,
            gzip_type,
            "--max-ratio 9999 --max-size 300m",
            "hint: raise the limit with --max-size",
        ),
        (
            "window",
            &wide.finish().unwrap(),
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "",
            "the zstd data is damaged",
        ),
        (
            "implied",
            &Packing::Gzip.pack(&archive(&[file(&deep, "")])),
            gzip_type,
            "--max-entries 800",
            "more than 800 entries",
        ),
    ] {
        let scratch = Scratch::new(&format!("bomb-{name}"));
        let mut fixture = Fixture::new(&scratch);
        let blob = fixture.blob(blob, media_type);
        fixture.raw_layer(blob, tare::testing::image::blob::digest::sha256_of(b"").as_ref()).finish();
        let output = in_little_memory(&scratch, &format!("unpack {args} oci:image bundle"));
        let error = stderr(&output);
        assert!(error.contains(words) && error.contains("layer 1 of 1"), "{name}: {error}");
        assert_eq!(names(scratch.path()), ["image"], "{name}");
    }
}

#[test]
fn directories_with_long_names_take_little_memory_and_keep_their_times() {
    let long = "n".repeat(200);
    let path = |number: u64| format!("{}{number}", format!("{long}/").repeat(15));
    let mut items = vec![file(&path(9999), "")];
    for number in 0..6000 {
        items.push(dir(&path(number)).mtime(TIME + number));
        // What comes late must not move the time of a directory that is done.
        items.push(file(&format!("{}/f", path(number / 2)), ""));
    }
    let scratch = Scratch::new("long-names");
    image(&scratch, &[&items, &[file(&format!("{}/g", path(7)), "")]]);
    let output = in_little_memory(&scratch, "unpack oci:image bundle");
    assert!(output.status.success(), "{}", stderr(&output));
    for number in 0..6000 {
        let about = fs::metadata(scratch.join("bundle/rootfs").join(path(number))).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mtime(&about), (TIME + number).cast_signed(), "{number}");
    }
}

#[test]
fn a_lock_that_cannot_be_given_back_is_no_reason_to_break_down() {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let scratch = Scratch::new("unlock");
    image(&scratch, &[&[file("a", "x")]]);
    // As a file server that is gone: LOCK_UN (8) fails.
    let unlock = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 8).unwrap();
    let rules = [(nix::libc::SYS_flock, vec![SeccompRule::new(vec![unlock]).unwrap()])].into();
    let fails = SeccompAction::Errno(nix::libc::EIO.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, fails, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            for args in [
                &["unpack", "oci:image", "bundle"][..],
                &["remove", "bundle"],
                &["unpack", "--overlay", "--store", "store", "oci:image", "shared"],
                &["umount", "shared"],
                &["remove", "shared"],
                &["prune", "--store", "store"],
                &["pull", "oci:image", "oci:copy"],
                &["pull", "oci:image", "oci-archive:copy.tar"],
            ] {
                let output = scratch.run(args);
                assert!(output.status.success(), "{args:?}: {}", stderr(&output));
            }
        });
    });
}
