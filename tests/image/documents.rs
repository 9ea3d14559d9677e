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

/// The documents of a small image, to be written in other ways.
struct Documents {
    scratch: Scratch,
    fixture: Fixture,
    config: String,
    layers: String,
}

impl Documents {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let mut fixture = Fixture::new(&scratch);
        let archive = archive(&[file("a", "x")]);
        let blob = fixture.blob(&archive, "application/vnd.oci.image.layer.v1.tar");
        fixture.raw_layer(blob.clone(), blob["digest"].as_str().unwrap());
        let config = fixture.config_json().to_string();
        Self { scratch, fixture, config, layers: format!("[{blob}]") }
    }

    /// Writes the image by text, and unpacks it. Returns the error; empty where there is none.
    fn unpack(
        &self,
        config: &str,
        manifest: impl Fn(&str) -> String,
        index: impl Fn(&str) -> String,
    ) -> String {
        let config = self.fixture.blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json");
        let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":{}}}"#, self.layers);
        let named =
            self.fixture.blob(manifest(&text).as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#);
        std::fs::write(self.fixture.path.join("index.json"), index(&text)).unwrap();
        let output = self.scratch.run(&["unpack", "oci:image", "bundle"]);
        let _ = std::fs::remove_dir_all(self.scratch.join("bundle"));
        if output.status.success() { String::new() } else { stderr(&output) }
    }
}

/// A member of the text under another name, beside it or in its place.
fn renamed(text: &str, from: &str, to: &str) -> String {
    let changed = text.replacen(&format!("\"{from}\":"), &format!("\"{to}\":"), 1);
    assert_ne!(changed, text);
    changed
}

fn beside(text: &str, more: &str) -> String {
    text.replacen('{', &format!("{{{more},"), 1)
}

#[test]
fn documents_that_readers_read_differently_are_refused() {
    let documents = Documents::new("readers");
    let (config, same) = (&*documents.config, |text: &str| text.to_owned());
    assert_eq!(documents.unpack(config, same, same), "");
    // What nobody knows has any name, and maps have names of any case.
    let maps = beside(config, r#""Other":1,"other":2"#)
        .replace("\"config\":{}", r#""config":{"Labels":{"a":"1","A":"2"}}"#);
    assert_eq!(documents.unpack(&maps, same, same), "");
    let spelled = "to some readers, and nothing to others";
    for (from, to) in [("rootfs", "RootFS"), ("diff_ids", "Diff_IDs"), ("config", "Config"), ("os", "OS")] {
        let error = documents.unpack(&renamed(config, from, to), same, same);
        assert!(error.contains(spelled), "{to}: {error}");
    }
    for more in [r#""rootFS":{"type":"layers","diff_ids":[]}"#, r#""CONFIG":{}"#, r#""o\u017f":"x""#] {
        let error = documents.unpack(&beside(config, more), same, same);
        assert!(error.contains(spelled), "{more}: {error}");
    }
    for more in
        [r#""os":"windows""#, r#""unknown":{"a":1,"a":2}"#, r#""config":{"Labels":{"a":"1","a":"2"}}"#]
    {
        let error = documents.unpack(&beside(config, more), same, same);
        assert!(error.contains("duplicate field"), "{more}: {error}");
    }
    let error = documents.unpack(r#"["2020-01-01T00:00:00Z",null,"amd64","linux"]"#, same, same);
    assert!(error.contains("invalid type: sequence"), "{error}");
    for (more, why) in [
        (r#""Layers":[]"#, spelled),
        (r#""layers":[]"#, "duplicate field"),
        (r#""Manifests":[]"#, spelled),
        (r#""MediaType":"application/vnd.oci.image.index.v1+json""#, spelled),
        (r#""annotations":{"a":"1","a":"2"}"#, "duplicate field"),
    ] {
        let error = documents.unpack(config, |text| beside(text, more), same);
        assert!(error.contains(why), "manifest, {more}: {error}");
    }
    for (from, to) in [("digest", "Digest"), ("size", "SIZE"), ("mediaType", "mediatype")] {
        let error = documents.unpack(config, |text| renamed(text, from, to), same);
        assert!(error.contains(spelled), "descriptor, {to}: {error}");
    }
    for (more, why) in [
        (r#""Manifests":[]"#, spelled),
        (r#""manifests":[]"#, "duplicate field"),
        (r#""LAYERS":[]"#, spelled),
    ] {
        let error = documents.unpack(config, same, |text| beside(text, more));
        assert!(error.contains(why), "index, {more}: {error}");
    }
    let error = documents.unpack(config, same, |_| r#"[2,null,[]]"#.into());
    assert!(error.contains("invalid type: sequence"), "{error}");
    // The layout's own file, and the one of a bundle.
    std::fs::write(documents.fixture.path.join("oci-layout"), r#"{"ImageLayoutVersion":"1.0.0"}"#).unwrap();
    let error = documents.unpack(config, same, same);
    assert!(error.contains(spelled), "{error}");
    std::fs::write(documents.fixture.path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(documents.scratch.run(&["unpack", "oci:image", "bundle"]).status.success());
    let path = documents.scratch.join("bundle/tare-image.json");
    let info = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, beside(&info, r#""Manifest":1,"x":1,"x":2"#)).unwrap();
    let output = documents.scratch.run(&["remove", "bundle"]);
    assert!(!output.status.success() && stderr(&output).contains("tare-image.json"), "{}", stderr(&output));
}
