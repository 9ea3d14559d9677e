//! `tare-image pull` to a registry, and to the store.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::registry::{HTPASSWD, Server, answer, large_image, noise, proxy, request, small_image};
use crate::support::*;

const PLAIN: &str = "--tls-verify=false";

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_image_goes_from_any_source_to_a_registry_and_back() {
    let scratch = Scratch::new("push");
    let digest = large_image(&scratch);
    let Some(server) = Server::start(&scratch, "") else { return };
    let expected = listing(&scratch.unpack());
    ok(&scratch, &["pull", "-q", "oci:image", "oci-archive:a.tar"]);
    for (number, source) in ["oci:image", "oci-archive:a.tar"].into_iter().enumerate() {
        let name = format!("docker://127.0.0.1:{}/team/pushed{number}:v1", server.port);
        assert_eq!(ok(&scratch, &["pull", PLAIN, source, &name]).trim(), digest);
        ok(&scratch, &["verify", PLAIN, &name]);
        let bundle = format!("back{number}");
        ok(&scratch, &["unpack", "-q", PLAIN, &name, &bundle]);
        assert_eq!(listing(&scratch.join(&bundle).join("rootfs")), expected);
    }
    // From one repository to another of the same registry, and by digest.
    let from = format!("docker://127.0.0.1:{}/team/pushed0:v1", server.port);
    let to = format!("docker://127.0.0.1:{}/other/place", server.port);
    ok(&scratch, &["pull", "-q", PLAIN, &from, &format!("{to}:again")]);
    ok(&scratch, &["pull", "-q", PLAIN, &from, &format!("{to}@{digest}")]);
    ok(&scratch, &["verify", PLAIN, &format!("{to}:again")]);
    let wrong = format!("{to}@sha256:{:064}", 7);
    let error = stderr(&scratch.run(&["pull", PLAIN, &from, &wrong]));
    assert!(error.contains("it cannot be pushed as sha256:0000"), "{error}");
    // Others read it.
    let skopeo =
        Command::new("skopeo").args(["inspect", "--tls-verify=false", &format!("{to}:again")]).output();
    if let Ok(output) = skopeo {
        assert!(String::from_utf8_lossy(&output.stdout).contains(&digest), "{}", stderr(&output));
    }
}

#[test]
fn a_changed_bundle_is_pushed() {
    let scratch = Scratch::new("push-repack");
    small_image(&scratch);
    let Some(server) = Server::start(&scratch, "") else { return };
    let from = format!("docker://127.0.0.1:{}/base:v1", server.port);
    ok(&scratch, &["pull", "-q", PLAIN, "oci:image", &from]);
    ok(&scratch, &["unpack", "-q", PLAIN, &from, "bundle"]);
    fs::write(scratch.join("bundle/rootfs/new"), "new").unwrap();
    let to = format!("docker://127.0.0.1:{}/changed:v2", server.port);
    ok(&scratch, &["repack", "-q", PLAIN, "bundle", &to]);
    ok(&scratch, &["unpack", "-q", PLAIN, &to, "again"]);
    assert_eq!(listing(&scratch.join("again/rootfs")), listing(&scratch.join("bundle/rootfs")));
}

#[test]
fn credentials_for_the_destination_are_its_own() {
    let scratch = Scratch::new("push-auth");
    small_image(&scratch);
    fs::write(scratch.join("htpasswd"), HTPASSWD).unwrap();
    let more =
        format!("auth:\n  htpasswd:\n    realm: test\n    path: {}", scratch.join("htpasswd").display());
    let Some(server) = Server::start(&scratch, &more) else { return };
    let name = server.name();
    let common = [PLAIN, "--authfile", "none.json"];
    let pull = |source: &str, to: &str, more: &[&str]| {
        scratch.run(&[&["pull", "-q", source, to], &common[..], more].concat())
    };
    let error = stderr(&pull("oci:image", &name, &[]));
    assert!(error.contains("the registry asks for a user and a password"), "{error}");
    assert!(pull("oci:image", &name, &["--creds", "user:secret"]).status.success());
    let other = name.replace("test:v1", "test:v2");
    // With two registries each has its own.
    assert!(!pull(&name, &other, &["--creds", "user:secret"]).status.success());
    let both = ["--creds", "user:secret", "--dest-creds", "user:secret"];
    assert!(pull(&name, &other, &both).status.success());
}

#[test]
fn an_upload_that_breaks_off_is_begun_again() {
    let scratch = Scratch::new("push-cut");
    let digest = large_image(&scratch);
    let Some(server) = Server::start(&scratch, "") else { return };
    // Of the first connections only some of what the client sends arrives: whichever of them an upload goes over.
    let (port, cuts) = proxy(server.port, |number| (if number < 6 { 300_000 } else { u64::MAX }, u64::MAX));
    let name = format!("docker://127.0.0.1:{port}/cut:v1");
    assert_eq!(ok(&scratch, &["pull", PLAIN, "--retries", "20", "oci:image", &name]).trim(), digest);
    assert!(cuts.load(Ordering::Relaxed) > 0);
    ok(&scratch, &["verify", PLAIN, &format!("docker://127.0.0.1:{}/cut:v1", server.port)]);
}

#[test]
fn what_a_push_asks_for() {
    let scratch = Scratch::new("push-asks");
    small_image(&scratch);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let Some(request) = request(&mut client) else { continue };
            log.lock().unwrap().push(request.lines().next().unwrap().to_owned());
            let reply = match request.split(' ').next().unwrap() {
                "HEAD" => "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into(),
                "POST" => answer("403 Forbidden", "", r#"{"errors":[{"message":"read only"}]}"#),
                _ => answer("200 OK", "", ""),
            };
            let _ = client.write_all(reply.as_bytes());
        }
    });
    let name = format!("docker://127.0.0.1:{port}/a/b:v1");
    let error = stderr(&scratch.run(&["pull", PLAIN, "oci:image", &name]));
    assert!(error.contains("send blobs/uploads/ to 127.0.0.1:"), "{error}");
    assert!(error.contains("the registry answers 403 (forbidden): read only"), "{error}");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().any(|line| line.starts_with("HEAD /v2/a/b/blobs/sha256:")), "{asked:?}");
    assert!(asked.iter().any(|line| line.starts_with("POST /v2/a/b/blobs/uploads/ ")), "{asked:?}");
    assert!(!asked.iter().any(|line| line.starts_with("PUT")), "{asked:?}");
}

#[test]
fn a_damaged_blob_is_told_and_not_pushed() {
    let scratch = Scratch::new("push-damaged");
    let mut fixture = Fixture::new(&scratch);
    let item = Item { data: noise(100_000, 9), ..file("x", "") };
    let blob =
        fixture.blob(&Packing::Plain.pack(&archive(&[item])), "application/vnd.oci.image.layer.v1.tar");
    let digest = blob["digest"].as_str().unwrap().to_owned();
    fixture.raw_layer(blob, &digest).finish();
    let path = scratch.join("image/blobs").join(digest.replace(':', "/"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let Some(server) = Server::start(&scratch, "") else { return };
    let error = stderr(&scratch.run(&["pull", PLAIN, "oci:image", &server.name()]));
    assert!(error.contains(&format!("blob {digest}: content has digest sha256:")), "{error}");
    assert!(stderr(&scratch.run(&["list", PLAIN, &server.name()])).contains("404"));
}

#[test]
fn an_image_is_pulled_into_the_store() {
    let scratch = Scratch::new("pull-store");
    small_image(&scratch);
    let store = ["--store", "store"];
    let layers = || names(&scratch.join("store/layers"));
    let digest = ok(&scratch, &[&["pull", "oci:image"], &store[..]].concat());
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert_eq!(layers().len(), 2);
    // It stays where nothing else uses it, and a bundle takes its layers from there.
    assert_eq!(ok(&scratch, &[&["prune"], &store[..]].concat()), "");
    let output = scratch.run(&[&["unpack", "--overlay", "oci:image", "bundle"], &store[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(names(&scratch.join("bundle/rootfs")), ["b", "d"]);
    assert_eq!(ok(&scratch, &[&["prune", "--all"], &store[..]].concat()), "");
    ok(&scratch, &["remove", "bundle"]);
    ok(&scratch, &[&["pull", "-q", "oci:image"], &store[..]].concat());
    assert_eq!(ok(&scratch, &[&["prune", "--all", "--dry-run"], &store[..]].concat()).lines().count(), 2);
    assert_eq!(layers().len(), 2);
    assert_eq!(ok(&scratch, &[&["prune", "--all"], &store[..]].concat()).lines().count(), 2);
    assert_eq!(layers(), [""; 0]);
    let error = stderr(&scratch.run(&[&["pull", "oci:image", "oci:copy"], &store[..]].concat()));
    assert!(error.contains("cannot be used with"), "{error}");
}

#[test]
fn forms_that_make_no_sense_are_told() {
    let scratch = Scratch::new("pull-forms");
    small_image(&scratch);
    for (to, sentence) in [
        (
            "oci:copy@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "a destination has a tag, not a digest",
        ),
        ("nowhere", "does not say where it is"),
        ("docker://Not/Valid", "image name \"Not/Valid\""),
        ("docker-archive:x.tar:Bad Name", "image name \"Bad Name\""),
    ] {
        let error = stderr(&scratch.run(&["pull", "-q", "oci:image", to]));
        assert!(error.contains(sentence), "{to}: {error}");
        assert_eq!(names(scratch.path()), ["image"], "{to}");
    }
}
