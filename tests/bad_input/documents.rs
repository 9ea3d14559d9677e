//! config.json that is no configuration.

use std::fs;

use crate::support::Bundle;
use crate::{bundle_is_refused, refused};

fn write(bundle: &Bundle, text: impl AsRef<[u8]>) {
    fs::write(bundle.dir.join("config.json"), text).unwrap();
}

#[test]
fn that_is_missing_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    fs::remove_file(bundle.dir.join("config.json")).unwrap();
    bundle_is_refused(&bundle, "missing", "JSON specification file config.json not found");
    refused("no such bundle", "bundle /no/such: no such directory", || {
        bundle.tare(&["create", "--bundle", "/no/such", &bundle.id])
    });
    refused("a file as bundle", "/etc/passwd", || bundle.tare(&["create", "-b", "/etc/passwd", &bundle.id]));
}

#[test]
fn that_is_no_json_is_told_with_its_line() {
    let Some(bundle) = Bundle::new() else { return };
    write(&bundle, "");
    bundle_is_refused(&bundle, "nothing", "config.json: the file is empty");
    for text in
        ["{", "nonsense", "{\"ociVersion\": }", "{'a': 1}", "\u{feff}{}", "{} {}", "{\"a\": \"\\ud800\"}"]
    {
        write(&bundle, text);
        bundle_is_refused(&bundle, text, "line ");
    }
    write(&bundle, b"{\"\xff\xfe\": 1}");
    bundle_is_refused(&bundle, "no UTF-8", "line 1");
    write(&bundle, b"{\"hostname\": \"a\0b\"}");
    bundle_is_refused(&bundle, "a control character", "line 1");
    for text in ["[]", "1", "\"x\"", "true"] {
        write(&bundle, text);
        bundle_is_refused(&bundle, text, "object");
    }
    write(&bundle, "null");
    bundle_is_refused(&bundle, "null", "config cannot be null");
}

#[test]
fn that_is_cut_off_anywhere_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    let whole = bundle.config.to_string();
    for part in 1..40 {
        let end = whole.len() * part / 40;
        write(&bundle, &whole[..end]);
        refused(&format!("cut off at {end}"), "line ", || bundle.create());
    }
    bundle.leaves_nothing();
}

#[test]
fn that_is_huge_is_not_read() {
    let Some(bundle) = Bundle::new() else { return };
    let mut text = bundle.config.to_string();
    text.push_str(&" ".repeat(17 << 20));
    write(&bundle, &text);
    bundle_is_refused(&bundle, "17 MiB", "16 MiB");
    // Without an end, too.
    fs::remove_file(bundle.dir.join("config.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", bundle.dir.join("config.json")).unwrap();
    bundle_is_refused(&bundle, "/dev/zero", "config.json");
}

#[test]
fn that_is_deep_does_not_overflow() {
    let Some(bundle) = Bundle::new() else { return };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        write(&bundle, format!("{{\"x\": {}1{}}}", open.repeat(100_000), close.repeat(100_000)));
        bundle_is_refused(&bundle, "100,000 levels", "line 1");
    }
}

#[test]
fn that_is_no_file_does_not_hang() {
    let Some(bundle) = Bundle::new() else { return };
    let path = bundle.dir.join("config.json");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    bundle_is_refused(&bundle, "a directory", "config.json");
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    bundle_is_refused(&bundle, "a fifo", "config.json");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("config.json", &path).unwrap();
    bundle_is_refused(&bundle, "a symlink to itself", "config.json");
}

#[test]
fn with_members_that_nobody_knows_is_accepted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        let strange = serde_json::json!({"deep": [1, 2.5, null, {"x": "y"}]});
        for pointer in
            ["", "/process", "/root", "/linux", "/linux/namespaces/0", "/mounts/0", "/process/capabilities"]
        {
            config.pointer_mut(pointer).unwrap()["org.example.unknown"] = strange.clone();
        }
    });
    assert_eq!(bundle.output_of("echo it runs"), "it runs\n");
}
