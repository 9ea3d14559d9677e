//! `tare-image pull`, `inspect`, `list` and `verify` on layouts and archives.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::*;

/// Two layers, one of them twice, so that a blob has two places.
fn fixture(scratch: &Scratch, packing: Packing) -> Fixture {
    let mut fixture = Fixture::new(scratch);
    let one = archive(&[dir("d"), file("d/a", &"one ".repeat(5000))]);
    fixture.layer(packing, &one).layer(packing, &archive(&[file("b", "two")])).layer(packing, &one);
    fixture.finish();
    fixture
}

fn good(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_image_goes_round_through_every_form_unchanged() {
    let scratch = Scratch::new("round");
    let fixture = fixture(&scratch, Packing::Gzip);
    let digest = fixture.finish()["digest"].as_str().unwrap().to_owned();
    let tree = listing(&scratch.unpack());
    let steps = [
        ("oci:image", "oci:copy:v1"),
        ("oci:copy:v1", "oci-archive:a.tar:v1"),
        ("oci-archive:a.tar:v1", "oci:copy:v2"),
        ("oci:copy:v2", "docker-archive:d.tar:name:3"),
    ];
    for (from, to) in steps {
        assert_eq!(good(&scratch, &["pull", "-q", from, to]), "", "{to}");
    }
    assert_eq!(good(&scratch, &["pull", "oci:image", "oci:copy:v1"]).trim(), digest);
    let index: Value = serde_json::from_slice(&fs::read(scratch.join("copy/index.json")).unwrap()).unwrap();
    let named =
        |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
    let names: Vec<_> = index["manifests"].as_array().unwrap().iter().map(named).collect();
    assert_eq!(names, [Some("v2".into()), Some("v1".into())]);
    assert_eq!(crate::support::names(&scratch.join("copy/blobs/sha256")).len(), 4);
    for source in ["oci:copy:v1", "oci-archive:a.tar", "docker-archive:d.tar:name:3"] {
        good(&scratch, &["unpack", "-q", source, "again"]);
        assert_eq!(listing(&scratch.join("again/rootfs")), tree, "{source}");
        fs::remove_dir_all(scratch.join("again")).unwrap();
    }
    for source in ["oci:image", "oci:copy", "oci-archive:a.tar", "docker-archive:d.tar"] {
        assert!(good(&scratch, &["verify", source]).contains("layer 3 of 3"), "{source}");
    }
}

#[test]
fn others_read_what_is_written() {
    let scratch = Scratch::new("others");
    let fixture = fixture(&scratch, Packing::Zstd);
    let digest = fixture.finish()["digest"].as_str().unwrap().to_owned();
    for to in ["oci:copy:v1", "oci-archive:a.tar:v1", "docker-archive:d.tar:docker.io/library/name:3"] {
        good(&scratch, &["pull", "-q", "oci:image", to]);
        let Ok(output) = Command::new("skopeo").args(["inspect", to]).current_dir(scratch.path()).output()
        else {
            return skip("needs skopeo");
        };
        assert!(output.status.success(), "{to}: {}", stderr(&output));
        let about: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(about["Layers"].as_array().unwrap().len(), 3);
        assert!(to.starts_with("docker") || about["Digest"] == digest.as_str());
    }
}

#[test]
fn a_half_blob_is_gone_on_with() {
    let scratch = Scratch::new("resume");
    let fixture = fixture(&scratch, Packing::Gzip);
    let copy = scratch.join("copy/blobs/sha256");
    fs::create_dir_all(&copy).unwrap();
    fs::write(scratch.join("copy/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for name in names(&fixture.path.join("blobs/sha256")) {
        let bytes = fs::read(fixture.path.join("blobs/sha256").join(&name)).unwrap();
        fs::write(copy.join(format!("{name}.partial")), &bytes[..bytes.len() / 2]).unwrap();
    }
    good(&scratch, &["pull", "-q", "oci:image", "oci:copy"]);
    good(&scratch, &["verify", "oci:copy"]);
}

#[test]
fn a_half_blob_that_is_wrong_is_thrown_away() {
    let scratch = Scratch::new("resume-wrong");
    let fixture = fixture(&scratch, Packing::Gzip);
    let copy = scratch.join("copy/blobs/sha256");
    fs::create_dir_all(&copy).unwrap();
    fs::write(scratch.join("copy/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for name in names(&fixture.path.join("blobs/sha256")) {
        fs::write(copy.join(format!("{name}.partial")), "wrong").unwrap();
    }
    good(&scratch, &["pull", "-q", "oci:image", "oci:copy"]);
    good(&scratch, &["verify", "oci:copy"]);
}

#[test]
fn verify_tells_every_fault() {
    let scratch = Scratch::new("verify");
    let mut fixture = Fixture::new(&scratch);
    fixture
        .layer(Packing::Gzip, &archive(&[file("a", "x")]))
        .layer(Packing::Plain, b"no archive, but long enough to be one ".repeat(40).as_slice());
    fixture
        .layer(Packing::Gzip, &archive(&[file(".wh.", "")]))
        .layer(Packing::Plain, &archive(&[file("z", "good")]));
    fixture.finish();
    let output = scratch.run(&["verify", "oci:image"]);
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(out.contains("layer 1 of 4") && out.contains("layer 4 of 4"), "{out}");
    assert!(err.contains("layer 2 of 4") && err.contains("it is no tar archive"), "{err}");
    assert!(err.contains("layer 3 of 4") && err.contains("the whiteout names nothing"), "{err}");
    assert!(err.contains("2 faults (3 good)"), "{err}");
}

#[test]
fn an_entry_of_an_unknown_type_is_named_once() {
    let scratch = Scratch::new("volume-label");
    let mut fixture = Fixture::new(&scratch);
    let mut label = file("lbl", "");
    label.kind = tar::EntryType::new(b'V');
    fixture.layer(Packing::Plain, &archive(&[label])).finish();
    for args in [&["verify", "oci:image"][..], &["unpack", "oci:image", "bundle"], &["explain", "oci:image"]]
    {
        let error = stderr(&scratch.run(args));
        assert!(error.contains(": lbl: type 'V' has no place in a layer"), "{args:?}: {error}");
        assert!(!error.contains("lbl: lbl"), "{args:?}: {error}");
    }
}

#[test]
fn a_bare_name_is_offered_with_its_transport() {
    let scratch = Scratch::new("bare-name");
    fixture(&scratch, Packing::Gzip);
    fs::write(scratch.join("image.tar"), "").unwrap();
    for (name, hint) in [
        ("alpine", "hint: from a registry it is docker://alpine;"),
        ("image", "hint: a layout is oci:image"),
        ("image.tar", "hint: an archive is oci-archive:image.tar or docker-archive:image.tar"),
    ] {
        let error = stderr(&scratch.run(&["unpack", name, "bundle"]));
        assert!(error.contains(hint), "{name}: {error}");
    }
}

#[test]
fn inspect_and_list_show_what_there_is() {
    let scratch = Scratch::new("inspect");
    let mut fixture = fixture(&scratch, Packing::Gzip);
    fixture.config = json!({ "Cmd": ["x"], "Labels": { "a": "b" } });
    let descriptor = fixture.finish();
    let about: Value = serde_json::from_str(&good(&scratch, &["inspect", "oci:image"])).unwrap();
    assert_eq!(about["digest"], descriptor["digest"]);
    assert_eq!(about["config"]["Cmd"], json!(["x"]));
    assert_eq!(about["layers"].as_array().unwrap().len(), 3);
    let raw: Value = serde_json::from_str(&good(&scratch, &["inspect", "--raw", "oci:image"])).unwrap();
    assert_eq!(raw["schemaVersion"], 2);
    let config: Value = serde_json::from_str(&good(&scratch, &["inspect", "--config", "oci:image"])).unwrap();
    assert_eq!(config, fixture.config_json());
    let list = good(&scratch, &["list", "oci:image"]);
    let line = list.lines().nth(1).unwrap();
    assert!(line.starts_with("latest ") && line.contains(descriptor["digest"].as_str().unwrap()), "{list}");
    let rows: Value = serde_json::from_str(&good(&scratch, &["list", "--json", "oci:image"])).unwrap();
    assert_eq!(rows[0]["name"], "latest");
}

#[test]
fn progress_is_lines_or_json_or_nothing() {
    let scratch = Scratch::new("progress");
    fixture(&scratch, Packing::Gzip);
    let output = scratch.run(&["unpack", "oci:image", "b1"]);
    assert!(stderr(&output).starts_with("1 of 3: sha256:"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    let output = scratch.run(&["unpack", "--json", "oci:image", "b2"]);
    let lines: Vec<Value> =
        output.stdout.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!((lines.len(), &lines[2]["done"], &lines[3]["bundle"]), (4, &json!(3), &json!("b2")));
    let output = scratch.run(&["unpack", "-q", "oci:image", "b3"]);
    assert!(output.stderr.is_empty() && output.stdout.is_empty());
}

#[test]
fn wishes_change_the_configuration() {
    let scratch = Scratch::new("wishes");
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({ "Entrypoint": ["e"], "Cmd": ["c"], "Env": ["A=1"], "Volumes": { "/v": {} } });
    fixture.layer(Packing::Gzip, &archive(&[file("a", "x")])).finish();
    fs::write(scratch.join("patch.json"), r#"{"process":{"noNewPrivileges":false,"oomScoreAdj":5}}"#)
        .unwrap();
    let args = [
        "unpack",
        "-q",
        "oci:image",
        "bundle",
        "--entrypoint",
        r#"["x","y"]"#,
        "--cmd",
        "z",
        "--env",
        "B=2",
        "--env",
        "A",
        "--user",
        "5:6",
        "--workdir",
        "/w",
        "--volume",
        "/srv:/v:ro",
        "--hostname",
        "h",
        "--tty",
        "--seccomp",
        "none",
        "--merge",
        "patch.json",
    ];
    good(&scratch, &args);
    let config: Value =
        serde_json::from_slice(&fs::read(scratch.join("bundle/config.json")).unwrap()).unwrap();
    let process = &config["process"];
    assert_eq!(process["args"], json!(["x", "y", "z"]));
    assert_eq!(process["env"].as_array().unwrap()[1..], [json!("B=2"), json!("TERM=xterm")]);
    assert_eq!(
        (&process["user"]["uid"], &process["user"]["gid"], &process["cwd"]),
        (&json!(5), &json!(6), &json!("/w"))
    );
    assert_eq!(
        (&process["terminal"], &process["noNewPrivileges"], &process["oomScoreAdj"]),
        (&json!(true), &json!(false), &json!(5))
    );
    assert_eq!((&config["hostname"], config["linux"].get("seccomp")), (&json!("h"), None));
    let volumes: Vec<&Value> =
        config["mounts"].as_array().unwrap().iter().filter(|mount| mount["destination"] == "/v").collect();
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0]["source"], "/srv");
}
