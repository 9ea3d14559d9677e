//! Indexes of several platforms, with attestations and other artifacts beside them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::registry::{Server, ok};
use crate::support::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PLAIN: &str = "--tls-verify=false";

/// What buildx and cosign make: an index of two platforms, an attestation of one, and a signature.
struct Multi {
    index: Value,
    attestation: Value,
    statement: Value,
    signature: Value,
}

fn document(fixture: &Fixture, media_type: &str, document: &Value) -> Value {
    fixture.blob(&serde_json::to_vec(document).unwrap(), media_type)
}

/// Writes it to `oci:image` with the tag `multi`.
fn multi(scratch: &Scratch) -> Multi {
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut fixture = Fixture::new(scratch);
        fixture.layer(Packing::Gzip, &archive(&[file(architecture, "x"), file("both", "y")]));
        let mut config = fixture.config_json();
        config["architecture"] = json!(architecture);
        let mut manifest = fixture.finish_with(&config, "unused");
        manifest.as_object_mut().unwrap().remove("annotations");
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifests.push(manifest);
    }
    let fixture = Fixture::new(scratch);
    let statement =
        fixture.blob(br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#, "application/vnd.in-toto+json");
    let config = json!({ "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [statement["digest"]] } });
    let config = document(&fixture, "application/vnd.oci.image.config.v1+json", &config);
    let attestation =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement] });
    let mut attestation = document(&fixture, MANIFEST, &attestation);
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": manifests[0]["digest"] });
    let empty = fixture.blob(b"{}", "application/vnd.oci.empty.v1+json");
    let payload = fixture.blob(b"signed", "application/vnd.dev.cosign.simplesigning.v1+json");
    let signature = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.signature",
        "config": empty, "layers": [payload], "subject": manifests[0] });
    let signature = document(&fixture, MANIFEST, &signature);
    manifests.extend([attestation.clone(), signature.clone()]);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests,
        "annotations": { "kept": "as it is" } });
    let mut index = document(&fixture, INDEX, &index);
    index["annotations"] = json!({ "org.opencontainers.image.ref.name": "multi" });
    fixture.index(&[index.clone()]);
    Multi { index, attestation, statement, signature }
}

fn digest(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

fn blobs(scratch: &Scratch, layout: &str) -> BTreeSet<String> {
    names(&scratch.join(layout).join("blobs/sha256")).into_iter().collect()
}

/// The blobs that the tag `multi` leads to, without what the fixture left beside them.
fn reachable(scratch: &Scratch) -> BTreeSet<String> {
    ok(scratch, &["pull", "-q", "--all", "oci:image:multi", "oci:reachable:multi"]);
    let output = Command::new("skopeo")
        .args(["copy", "-q", "--insecure-policy", "--all", "oci:image:multi", "oci:skopeo:multi"])
        .current_dir(scratch.path())
        .output();
    if output.is_ok_and(|output| output.status.success()) {
        assert_eq!(blobs(scratch, "reachable"), blobs(scratch, "skopeo"));
    }
    blobs(scratch, "reachable")
}

#[test]
fn attestations_and_artifacts_are_verified_by_their_digests() {
    let scratch = Scratch::new("attestation");
    let multi = multi(&scratch);
    let out = ok(&scratch, &["verify", "oci:image"]);
    for (what, kind) in
        [(&multi.attestation, "application/vnd.in-toto+json"), (&multi.signature, "application/x.signature")]
    {
        assert!(out.contains(&format!("artifact {} ({kind}): good", digest(what))), "{out}");
    }
    assert_eq!(out.matches("layer 1 of 1").count(), 2, "{out}");
    assert!(out.contains(&format!("blob {}: good", digest(&multi.statement))), "{out}");
    // One alone, by its digest.
    for artifact in [&multi.attestation, &multi.signature] {
        let alone = json!({ "schemaVersion": 2, "manifests": [artifact] });
        fs::write(scratch.join("image/index.json"), alone.to_string()).unwrap();
        ok(&scratch, &["verify", "oci:image"]);
    }
    let alone = json!({ "schemaVersion": 2, "manifests": [multi.index] });
    fs::write(scratch.join("image/index.json"), alone.to_string()).unwrap();
    // A damaged or missing one is told.
    let path = scratch.join("image/blobs").join(digest(&multi.statement).replace(':', "/"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..bytes.len() - 1], b"!"].concat()).unwrap();
    let output = scratch.run(&["verify", "oci:image"]);
    assert!(
        stderr(&output).contains(&format!("blob {}: blob", digest(&multi.statement))),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("1 fault"), "{}", stderr(&output));
    fs::remove_file(&path).unwrap();
    assert_eq!(scratch.run(&["verify", "oci:image"]).status.code(), Some(1));
}

#[test]
fn what_an_index_names_of_an_unknown_kind_is_verified_by_its_digest() {
    let scratch = Scratch::new("unknown-kind");
    let fixture = Fixture::new(&scratch);
    let blob = fixture.blob(b"{}", "application/vnd.oci.artifact.manifest.v1+json");
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [blob] });
    let index = document(&fixture, INDEX, &index);
    fixture.index(&[index]);
    ok(&scratch, &["verify", "oci:image"]);
    fs::write(scratch.join("image/blobs").join(digest(&blob).replace(':', "/")), "[]").unwrap();
    assert_eq!(scratch.run(&["verify", "oci:image"]).status.code(), Some(1));
}

#[test]
fn artifacts_are_copied_and_listed() {
    let scratch = Scratch::new("artifact-copy");
    let multi = multi(&scratch);
    let rows: Vec<Value> = serde_json::from_str(&ok(&scratch, &["list", "--json", "oci:image"])).unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[2]["artifactType"], "application/vnd.in-toto+json");
    assert_eq!((&rows[3]["artifactType"], &rows[3]["size"]), (&json!("application/x.signature"), &json!(6)));
    let list = ok(&scratch, &["list", "oci:image"]);
    assert!(list.lines().nth(4).unwrap().contains(" artifact "), "{list}");
    let alone = json!({ "schemaVersion": 2, "manifests": [multi.signature] });
    fs::write(scratch.join("image/index.json"), alone.to_string()).unwrap();
    for (from, to) in [
        ("oci:image", "oci:copy:sig"),
        ("oci:copy:sig", "oci-archive:copy.tar:sig"),
        ("oci-archive:copy.tar:sig", "oci:again:sig"),
    ] {
        assert_eq!(ok(&scratch, &["pull", from, to]).trim(), digest(&multi.signature), "{to}");
        ok(&scratch, &["verify", to]);
    }
    assert_eq!(blobs(&scratch, "again").len(), 3);
    let output = scratch.run(&["pull", "oci:image", "docker-archive:copy2.tar"]);
    assert!(stderr(&output).contains("no index and no artifact"), "{}", stderr(&output));
    assert!(!scratch.join("copy2.tar").exists());
    let output = scratch.run(&["unpack", "oci:image", "bundle"]);
    assert!(stderr(&output).contains("is an artifact"), "{}", stderr(&output));
}

#[test]
fn an_index_is_copied_with_all_its_platforms_and_its_digest() {
    let scratch = Scratch::new("pull-all");
    let multi = multi(&scratch);
    let expected = reachable(&scratch);
    let mut steps = vec![
        ("oci:image:multi".to_owned(), "oci-archive:a.tar:multi".to_owned()),
        ("oci-archive:a.tar:multi".to_owned(), "oci:copy:multi".to_owned()),
    ];
    let server = Server::start(&scratch, "");
    if let Some(server) = &server {
        let name = format!("docker://127.0.0.1:{}/team/multi", server.port);
        steps.push(("oci:copy:multi".into(), format!("{name}:v1")));
        steps.push((format!("{name}:v1"), "oci:back:multi".into()));
        steps.push((format!("{name}@{}", digest(&multi.index)), "oci:back2:multi".into()));
        steps.push((format!("{name}:v1"), format!("{name}-2@{}", digest(&multi.index))));
    }
    for (from, to) in &steps {
        let printed = ok(&scratch, &["pull", "--all", PLAIN, from, to]);
        assert_eq!(printed.trim(), digest(&multi.index), "{from} {to}");
        ok(&scratch, &["verify", PLAIN, to]);
    }
    for layout in ["copy", "back", "back2"].into_iter().filter(|layout| scratch.join(layout).exists()) {
        assert_eq!(blobs(&scratch, layout), expected, "{layout}");
    }
    // Without --all it is one platform's, and says which.
    let one = ok(&scratch, &["pull", "--platform", "linux/arm64", "oci:image:multi", "oci:one"]);
    assert_ne!(one.trim(), digest(&multi.index));
    assert_eq!(blobs(&scratch, "one").len(), 3);
    ok(&scratch, &["unpack", "-q", "--platform", "linux/arm64", "oci:copy:multi", "bundle"]);
    assert_eq!(names(&scratch.join("bundle/rootfs")), ["arm64", "both"]);
}

#[test]
fn what_all_cannot_do_is_told() {
    let scratch = Scratch::new("pull-all-refused");
    multi(&scratch);
    for (args, words) in [
        (&["oci:image:multi", "docker-archive:x.tar"][..], "no index and no artifact"),
        (&["oci:image:multi", "oci:x", "--platform", "linux/amd64"], "cannot be used with"),
        (&["oci:image:multi"], "required"),
        (&["oci:image:multi", "--store", "store"], "cannot be used with"),
    ] {
        let output = scratch.run(&[&["pull", "--all"], args].concat());
        assert!(!output.status.success() && stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
        assert_eq!(names(scratch.path()), ["image"], "{args:?}");
    }
    // Indexes that name each other, or one thing many times.
    let fixture = Fixture::new(&scratch);
    let mut below = fixture.blob(br#"{"schemaVersion":2,"manifests":[]}"#, INDEX);
    for _ in 0..3 {
        let index = json!({ "schemaVersion": 2, "manifests": vec![&below; 1000] });
        below = document(&fixture, INDEX, &index);
    }
    fixture.index(&[below.clone()]);
    ok(&scratch, &["pull", "--all", "oci:image", "oci:many"]);
    assert_eq!(ok(&scratch, &["verify", "oci:image"]).lines().count(), 4);
    assert_eq!(ok(&scratch, &["list", "oci:image"]).lines().count(), 1);
    let deeper = document(&fixture, INDEX, &json!({ "schemaVersion": 2, "manifests": [below] }));
    fixture.index(&[deeper]);
    let output = scratch.run(&["pull", "--all", "oci:image", "oci:deep"]);
    assert!(stderr(&output).contains("indexes name each other"), "{}", stderr(&output));
}
