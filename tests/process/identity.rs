//! Who the process is, and what it was given: ids, groups, umask, environment, arguments, session.

use std::fs;

use serde_json::json;

use crate::support::Bundle;
use crate::{status, user};

#[test]
fn ids_and_groups_are_the_configurations() {
    let Some(mut bundle) = Bundle::new() else { return };
    user(&mut bundle, 1000, 1001, &[5, 7]);
    assert_eq!(bundle.output_of("id -u; id -g; id -G"), "1000\n1001\n1001 5 7\n");
    assert_eq!(status(&mut bundle, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(status(&mut bundle, "Gid"), "1001\t1001\t1001\t1001");
}

#[test]
fn groups_of_the_caller_are_gone() {
    // CVE-2022-36109 and the like: for an empty list too.
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(setpriv) = crate::support::program("setpriv") else { return };
    bundle.args(&["id", "-G"]);
    let leave = format!("exec {} --groups 4,27 \"$@\"", setpriv.display());
    for (uid, groups, expected) in [(0, &[][..], "0\n"), (1000, &[], "0\n"), (1000, &[8], "0 8\n")] {
        user(&mut bundle, uid, 0, groups);
        assert_eq!(bundle.tare_by(&leave, &["run", &bundle.id]).ok().stdout, expected, "{uid} {groups:?}");
    }
    bundle.up();
    user(&mut bundle, 0, 0, &[]);
    assert_eq!(bundle.tare_by(&leave, &["exec", &bundle.id, "id", "-G"]).ok().stdout, "0 8\n");
}

#[test]
fn a_name_in_the_images_passwd_is_no_user() {
    // CVE-2016-3697: numbers are numbers, whatever the image calls them.
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.rootfs().join("etc/passwd"), "1000:x:0:0::/:/bin/sh\n").unwrap();
    user(&mut bundle, 1000, 1000, &[]);
    assert_eq!(bundle.output_of("sed -n 's/^Uid:\\t//p' /proc/self/status"), "1000\t1000\t1000\t1000\n");
}

#[test]
fn umask_is_0022_or_the_configurations() {
    let Some(mut bundle) = Bundle::new() else { return };
    let show = |bundle: &mut Bundle| {
        bundle.args(&["sh", "-c", "umask"]);
        bundle.tare_by("umask 0135; exec \"$@\"", &["run", &bundle.id]).ok().stdout
    };
    assert_eq!(show(&mut bundle), "0022\n");
    bundle.patch(|config| config["process"]["user"]["umask"] = json!(0o71));
    assert_eq!(show(&mut bundle), "0071\n");
    bundle.up();
    assert_eq!(bundle.exec(&["sh", "-c", "umask"]).ok().stdout, "0071\n");
}

#[test]
fn the_environment_is_the_configurations_and_nothing_of_the_callers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "A=1", "B=x=y z", "A=2", "EMPTY=", "ü=ö"]);
    });
    bundle.args(&["cat", "/proc/self/environ"]);
    let answer =
        bundle.tare_by("SECRET=1 LD_PRELOAD=/x GLIBC_TUNABLES=y exec \"$@\"", &["run", &bundle.id]).ok();
    let variables: Vec<&str> = answer.stdout.split_terminator('\0').collect();
    assert_eq!(variables, ["PATH=/bin", "A=2", "B=x=y z", "EMPTY=", "ü=ö", "HOME=/root"]);
}

#[test]
fn home_is_that_of_the_images_passwd_unless_it_is_given() {
    let Some(mut bundle) = Bundle::new() else { return };
    let home = |bundle: &mut Bundle, uid| {
        user(bundle, uid, 0, &[]);
        bundle.output_of("echo $HOME")
    };
    assert_eq!(home(&mut bundle, 0), "/root\n");
    assert_eq!(home(&mut bundle, 1000), "/home/user\n");
    assert_eq!(home(&mut bundle, 7), "/\n");
    let passwd = bundle.rootfs().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    assert_eq!(home(&mut bundle, 1000), "/\n");
    // What is no file is not read: neither a device without end nor a fifo that nobody writes to.
    std::os::unix::fs::symlink("/dev/zero", &passwd).unwrap();
    assert_eq!(home(&mut bundle, 1000), "/\n");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    assert_eq!(home(&mut bundle, 1000), "/\n");
    bundle.patch(|config| config["process"]["env"] = json!(["PATH=/bin", "HOME=/given"]));
    assert_eq!(home(&mut bundle, 1000), "/given\n");
    bundle.patch(|config| config["process"]["env"] = json!(["PATH=/bin", "HOME=/given", "HOME="]));
    assert_eq!(home(&mut bundle, 1000), "/\n", "an empty one is none");
}

#[test]
fn arguments_arrive_as_they_are() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["cat", "--", "/proc/self/cmdline", "/dev/null", "/proc/self/../self/comm"]);
    assert_eq!(bundle.output(), "cat\0--\0/proc/self/cmdline\0/dev/null\0/proc/self/../self/comm\0cat\n");
    let many: Vec<String> = (0..2000).map(|number| format!("{number} ü\t'\"")).collect();
    let words: Vec<&str> = ["sh", "-c", "echo $#; echo \"$1999\"; shift 1999; echo \"$1\"", "sh"]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    assert_eq!(bundle.args(&words).output().lines().last(), Some("1999 ü\t'\""));
}

#[test]
fn too_many_arguments_are_told_as_such() {
    let Some(mut bundle) = Bundle::new() else { return };
    let long = "x".repeat(200_000);
    bundle.args(&["echo", &long]);
    bundle.run().fails(255, "argument list too long");
    bundle.leaves_nothing();
}

#[test]
fn the_program_is_searched_in_its_own_path_as_its_own_user() {
    let Some(mut bundle) = Bundle::new() else { return };
    let places = [("one", 0o700, "echo one"), ("two", 0o755, "echo two")];
    for (name, mode, script) in places {
        let path = bundle.rootfs().join("usr/bin").join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("tool"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    bundle.patch(|config| config["process"]["env"] = json!(["PATH=/none:/usr/bin/one:/usr/bin/two:/bin"]));
    bundle.args(&["tool"]);
    assert_eq!(bundle.output(), "one\n");
    user(&mut bundle, 1000, 1000, &[]);
    bundle.patch(|config| config["process"]["capabilities"] = json!({}));
    assert_eq!(bundle.output(), "two\n");
    bundle.patch(|config| config["process"]["cwd"] = json!("/usr/bin/two")).args(&["./tool"]);
    assert_eq!(bundle.output(), "two\n");
}

#[test]
fn the_process_leads_a_session_of_its_own() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["cat", "/proc/self/stat"]);
    let stat = bundle.output();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // Process group and session are the process; no controlling terminal.
    assert_eq!(fields[2..5], ["1", "1", "0"], "{stat}");
    bundle.up();
    let stat = bundle.exec(&["cat", "/proc/self/stat"]).ok().stdout;
    let (pid, rest) = stat.split_once(' ').unwrap();
    let fields: Vec<&str> = rest.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[2..5], [pid, pid, "0"], "{stat}");
}

#[test]
fn stdio_belongs_to_the_user() {
    let Some(mut bundle) = Bundle::new() else { return };
    user(&mut bundle, 1000, 1000, &[]);
    // Opened anew by its path, which the user must be allowed to.
    bundle.script("echo again > /proc/self/fd/1");
    let answer = bundle.tare_by("\"$@\" | cat", &["run", &bundle.id]);
    assert_eq!(answer.ok().stdout, "again\n");
}
