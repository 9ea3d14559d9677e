//! The documents of an image, as an enemy writes them: nothing in them commands the terminal.

use serde_json::json;

use crate::support::*;

const ESCAPE: &str = "\u{1b}[2J\u{9b}H\u{202e}\r\nhint: run this";

#[track_caller]
fn is_harmless(output: &std::process::Output) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output));
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\r']), "{text:?}");
    assert!(!text.contains("\nhint: run this"), "{text:?}");
    assert!(
        text.contains("\\u001b[2J") || text.contains("\\u{1b}[2J") || text.contains("\\x1b[2J"),
        "{text:?}"
    );
}

#[test]
fn nothing_of_an_image_commands_the_terminal() {
    let scratch = Scratch::new("terminal");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Gzip, &archive(&[file(ESCAPE, "x")]));
    fixture.config =
        json!({ "Labels": { ESCAPE: ESCAPE }, "User": ESCAPE, "Cmd": [ESCAPE], "Env": [ESCAPE] });
    let mut config = fixture.config_json();
    config["variant"] = ESCAPE.into();
    fixture.finish_with(&config, ESCAPE);
    for args in [
        &["list", "oci:image"][..],
        &["list", "--json", "oci:image"],
        &["inspect", "oci:image"],
        &["explain", "oci:image"],
        &["explain", "--json", "oci:image"],
        &["unpack", "oci:image", "bundle"],
        &["unpack", "--debug", "oci:image", "bundle"],
        &["unpack", "oci:image:none", "bundle"],
    ] {
        is_harmless(&scratch.run(args));
    }
    // A document is what its digest says, byte by byte, where no terminal is.
    let output = scratch.run(&["inspect", "--config", "oci:image"]);
    assert_eq!(output.stdout, serde_json::to_vec(&config).unwrap());
    let mut odd = fixture.blob(b"x", ESCAPE);
    odd["annotations"] = json!({ "org.opencontainers.image.ref.name": ESCAPE });
    fixture.index(&[odd]);
    for args in [&["inspect", "oci:image"][..], &["unpack", "oci:image", "bundle"], &["list", "oci:image"]] {
        is_harmless(&scratch.run(args));
    }
}
