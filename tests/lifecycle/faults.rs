//! The kernel refuses something at any moment: no container is lost over it, and one `delete --force` cleans up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use crate::support::{Answer, Bundle, machine, program};

impl Bundle {
    /// A call whose system call number `when` of that name fails. None where it makes fewer.
    fn with_fault(&self, call: &str, errno: &str, when: usize, args: &[&str]) -> Option<Answer> {
        let trace = self.path("faults.trace");
        let fault = format!("{call}:error={errno}:when={when}");
        let script = format!("exec strace -qq -o {trace} -e trace={call} -e inject={fault} \"$@\"");
        let answer = self.tare_by(&script, args);
        self.read("faults.trace").contains("(INJECTED)").then_some(answer)
    }

    /// The container is as it was, or all of it is gone; `delete --force` takes away what is left.
    #[track_caller]
    fn is_lost_to_nobody(&self, what: &str) {
        let traces = machine::traces(&self.id);
        let known = self.tare(&["state", &self.id]).code == 0;
        assert!(
            known || traces.is_empty() || self.state_root().join(&self.id).exists(),
            "{what}: {traces:?}"
        );
        let answer = self.delete_force();
        assert_eq!(answer.code, 0, "{what}: {answer:?}");
        self.leaves_nothing();
    }
}

/// Each call of `args` that fails by each of the errors; `prepare` comes before each.
fn sweep(bundle: &Bundle, args: &[&str], faults: &[(&str, &str)], prepare: impl Fn()) {
    for (call, errno) in faults {
        for when in 1.. {
            prepare();
            let answer = bundle.with_fault(call, errno, when, args);
            bundle.is_lost_to_nobody(&format!("{args:?}, {call} {when}, {errno}: {answer:?}"));
            if answer.is_none() {
                break;
            }
        }
    }
}

fn ready() -> Option<Bundle> {
    program("strace")?;
    let mut bundle = Bundle::new()?;
    bundle.args(&["sleep", "1000"]);
    Some(bundle)
}

#[test]
fn force_does_not_lose_a_live_container() {
    let Some(bundle) = ready() else { return };
    let faults = [("openat", "EMFILE"), ("openat", "EINTR"), ("read", "EIO"), ("pidfd_open", "ENOMEM")];
    let faults = [&faults[..], &[("pidfd_send_signal", "EPERM"), ("openat2", "ENOMEM")]].concat();
    sweep(&bundle, &["delete", "--force", &bundle.id], &faults, || {
        bundle.create().ok();
        bundle.start().ok();
    });
}

#[test]
fn a_creation_that_cannot_know_what_it_needs_fails() {
    let Some(bundle) = ready() else { return };
    for when in 1.. {
        let Some(answer) = bundle.with_fault("openat", "EMFILE", when, &["create", &bundle.id]) else {
            break;
        };
        if answer.code == 0 {
            // It did without what it could not open, and knows its process all the same.
            assert_eq!(bundle.status(), "created", "openat {when}: {answer:?}");
            bundle.kill("KILL").ok();
            bundle.wait_until_stopped();
        }
        bundle.is_lost_to_nobody(&format!("openat {when}: {answer:?}"));
    }
    bundle.is_lost_to_nobody("whole");
}

#[test]
fn one_force_cleans_up_after_a_verb_that_failed_anywhere() {
    let Some(bundle) = ready() else { return };
    let id = &*bundle.id;
    let faults = [("openat", "EIO")];
    sweep(&bundle, &["create", id], &[("openat2", "EMFILE"), ("write", "ENOSPC")], || {});
    sweep(&bundle, &["start", id], &faults, || drop(bundle.create().ok()));
    sweep(&bundle, &["kill", id, "TERM"], &faults, || drop(bundle.create().ok()));
    sweep(&bundle, &["state", id], &faults, || drop(bundle.create().ok()));
}

#[test]
fn few_descriptors_lose_nothing() {
    let Some(bundle) = ready() else { return };
    if program("prlimit").is_none() {
        return;
    }
    for count in 3..=16 {
        for verb in [&["create"][..], &["start"], &["state"], &["kill"], &["delete", "--force"]] {
            if verb[0] != "create" {
                bundle.create().ok();
            }
            let script = format!("exec prlimit --nofile={count} \"$@\"");
            let answer = bundle.tare_by(&script, &[verb, &[&bundle.id]].concat());
            bundle.is_lost_to_nobody(&format!("{verb:?} with {count} descriptors: {answer:?}"));
        }
    }
}

#[test]
fn the_state_of_a_container_that_cannot_be_looked_at_is_an_error() {
    let Some(bundle) = ready() else { return };
    bundle.create().ok();
    for when in 1.. {
        let Some(answer) = bundle.with_fault("openat", "EMFILE", when, &["state", &bundle.id]) else { break };
        let stopped = answer.stdout.contains("stopped") || answer.stderr.contains("does not exist");
        assert!(!stopped, "openat {when}: {answer:?}");
    }
}

/// What a record may look like: `None` is one that is gone.
fn tear(text: &str) -> Vec<Option<String>> {
    let members = ["\"init\"", "\"cgroup\"", "\"namespaces\""].map(|name| text.find(name).unwrap());
    let mut torn: Vec<_> = members.iter().map(|at| Some(text[..*at].to_owned())).collect();
    torn.extend([None, Some(String::new()), Some("\0\0\0\0".into()), Some("{}".into())]);
    torn.push(Some(text.replacen("\"version\":1", "\"version\":77", 1)));
    torn
}

#[test]
fn a_container_whose_record_is_torn_is_ended_by_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    for own_pids in [true, false] {
        if !own_pids {
            bundle.without_namespace("pid");
        }
        for row in 0.. {
            bundle.up();
            let path = bundle.state_root().join(&bundle.id).join("state.json");
            let Some(torn) = tear(&fs::read_to_string(&path).unwrap()).get(row).cloned() else { break };
            match &torn {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            assert_ne!(bundle.delete().code, 0, "{torn:?}");
            assert!(!machine::processes(&bundle.id).is_empty(), "{torn:?}: ended without force");
            bundle.delete_force().ok();
            bundle.leaves_nothing();
        }
        bundle.delete_force().ok();
    }
}

#[test]
fn a_container_of_which_nothing_is_known_is_not_forgotten() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let directory = bundle.state_root().join(&bundle.id);
    let record = fs::read(directory.join("state.json")).unwrap();
    for entry in fs::read_dir(&directory).unwrap().flatten() {
        fs::write(entry.path(), "").unwrap();
    }
    bundle.delete_force().fails(1, directory.to_str().unwrap());
    assert!(directory.exists());
    fs::write(directory.join("state.json"), record).unwrap();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_symlink_in_place_of_the_state_directory_is_not_followed() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let (own, other) = (bundle.state_root().join(&bundle.id), bundle.dir.join("elsewhere"));
    fs::create_dir_all(other.join("notify")).unwrap();
    for name in ["state.json", "config.json", "exec.fifo", "notify/x"] {
        fs::write(other.join(name), fs::read(own.join(name)).unwrap_or_default()).unwrap();
    }
    let link = bundle.state_root().join(format!("{}-link", bundle.id));
    symlink(&other, &link).unwrap();
    let id = link.file_name().unwrap().to_str().unwrap();
    for verb in [
        &["delete", "--force"][..],
        &["delete"],
        &["state"],
        &["kill"],
        &["start"],
        &["pause"],
        &["ps"],
        &["update", "--pids-limit", "5"],
    ] {
        bundle.tare(&[verb, &[id]].concat()).fails(1, "symlink");
    }
    for name in ["state.json", "config.json", "exec.fifo", "notify/x"] {
        assert!(other.join(name).exists(), "{name} is gone");
    }
    assert_eq!(bundle.status(), "running");
    // Nor in it.
    let (record, kept) = (own.join("state.json"), bundle.dir.join("kept"));
    fs::rename(&record, &kept).unwrap();
    symlink(&kept, &record).unwrap();
    assert_ne!(bundle.tare(&["state", &bundle.id]).code, 0);
    assert!(kept.exists());
    fs::rename(&kept, &record).unwrap();
    fs::remove_file(&link).unwrap();
    // What is removed with it ends where a link begins.
    symlink(&other, own.join("extra")).unwrap();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
    assert!(other.join("state.json").exists());
}

#[test]
fn a_state_directory_that_others_can_write_in_is_not_used() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let own = bundle.state_root().join(&bundle.id);
    for verb in [&["delete", "--force"][..], &["kill"], &["state"]] {
        fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
        bundle.tare(&[verb, &[&bundle.id]].concat()).fails(1, "others may write in it (mode 777)");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o711)).unwrap();
        chown(&own, Some(1000), None).unwrap();
        bundle.tare(&[verb, &[&bundle.id]].concat()).fails(1, "it belongs to user 1000");
        chown(&own, Some(0), None).unwrap();
    }
    assert_eq!(bundle.status(), "running");
}
