//! What hostile images, registries and mirrors may cost: time, memory, and a person's patience.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tar::EntryType;

use crate::credentials::{Listener, Served, path_of};
use crate::registry::answer;
use crate::skip::skip;
use crate::support::*;

const PLAIN: &str = "--tls-verify=false";

/// 4096:0 is 0:0 to the kernel, which an overlay takes for a whiteout: `a` vanished from mounted layers, and nothing told of it.
#[test]
fn device_numbers_that_the_kernel_would_cut_off_are_refused() {
    for (major, minor) in [(4096, 0), (0, 1 << 20), (4097, 3), (8192, 1 << 20)] {
        let scratch = Scratch::new("device-numbers");
        image(&scratch, &[&[file("a", "x")], &[node("a", EntryType::Char, major, minor)]]);
        for form in [&["unpack", "oci:image", "b"][..], &["verify", "oci:image"], &["explain", "oci:image"]] {
            let output = scratch.run(form);
            assert!(!output.status.success(), "{form:?}");
            assert!(stderr(&output).contains("is out of range"), "{form:?}: {}", stderr(&output));
        }
        for form in ["files", "erofs"].iter().filter(|_| nix::unistd::geteuid().is_root()) {
            let form = format!("--overlay={form}");
            let output = scratch.run(&["unpack", &form, "--store", "store", "oci:image", "b"]);
            assert!(stderr(&output).contains("is out of range"), "{form}: {}", stderr(&output));
        }
    }
}

/// How many directories are opened while `oci:image` is unpacked to the store.
fn opened(scratch: &Scratch) -> Option<usize> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "signal=none", "-o", "calls", "-e", "trace=openat,openat2"]);
    strace.args([&program(), "pull", "-q", "--overlay=files", "--store", "store", "oci:image"]);
    let Ok(output) = strace.current_dir(scratch.path()).output() else {
        skip("needs strace");
        return None;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    Some(fs::read_to_string(scratch.join("calls")).unwrap().lines().count())
}

/// Each of the directories was looked for from the root again, one call for each above it: minutes for a layer of a
/// kilobyte.
#[test]
fn deep_directories_cost_as_many_calls_as_there_are() {
    const DEPTH: usize = 150;
    let deep = vec!["d"; DEPTH].join("/");
    let (below, opaque) = (dir("d"), file("o/.wh..wh..opq", ""));
    let path = file(&format!("{deep}/f"), "");
    // And so was each entry of a deep directory, where something in the layer is opaque.
    let many: Vec<Item> = (0..DEPTH).map(|number| file(&format!("{deep}/.wh.{number}"), "")).collect();
    let of_links: Vec<Item> =
        (0..DEPTH).map(|number| hard_link(&format!("{deep}/l{number}"), "below")).collect();
    let targets: Vec<Item> = (0..DEPTH).map(|number| file(&format!("{deep}/t{number}"), "")).collect();
    let of_many: Vec<Item> =
        (0..DEPTH).map(|number| hard_link(&format!("l{number}"), &format!("{deep}/t{number}"))).collect();
    let twice =
        |items: Vec<Item>| [vec![file("o/.wh..wh..opq", ""), file(&format!("{deep}/f"), "")], items].concat();
    for (what, items) in [
        ("one path", vec![path]),
        ("opaque", vec![opaque, file(&format!("{deep}/f"), "")]),
        ("whiteouts", twice(many)),
        ("links", twice(of_links)),
        ("links to many", twice(of_many)),
    ] {
        let scratch = Scratch::new("deep-calls");
        image(&scratch, &[&[&[below.clone(), file("below", "x")], &targets[..]].concat(), &items]);
        let Some(calls) = opened(&scratch) else { return };
        assert!(calls < 40 * DEPTH, "{what}: {calls}");
    }
}

/// Each connection that gave a byte made it forget all failures before.
#[test]
fn a_blob_of_one_byte_for_each_connection_is_given_up() {
    let scratch = Scratch::new("one-byte");
    let served = Served::new(&scratch);
    let layer = fs::read_dir(scratch.join("image/blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.metadata().unwrap().len() > 1024)
        .unwrap();
    let (name, bytes) = (layer.file_name().into_string().unwrap(), fs::read_to_string(layer.path()).unwrap());
    let registry = Listener::start(move |request| {
        let path = path_of(request);
        if !path.ends_with(&name) {
            return served.reply(&path);
        }
        let at = crate::credentials::header(request, "range").map_or(0, |range| {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
        });
        let whole = answer("206 Partial Content", &format!("content-range: bytes {at}-/*\r\n"), &bytes[at..]);
        // One byte, of each.
        whole[..whole.len() - bytes[at..].len() + 1].to_owned()
    });
    let from = format!("docker://127.0.0.1:{}/test:v1", registry.port);
    let mut command = Command::new(program());
    command.args(["pull", "-q", PLAIN, "--retries", "2", "--timeout", "5", &from, "oci:copy:x"]);
    let mut child = command.current_dir(scratch.path()).spawn().unwrap();
    // Before, it went on for as long as the blob has bytes; so it is not waited for by its end alone.
    while child.try_wait().unwrap().is_none() && registry.count("GET") < 20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let requests = registry.count("GET");
    let _ = child.kill();
    assert!(!child.wait().unwrap().success() && requests < 20, "{requests}");
}

/// Millions of tags of a byte took gigabytes of memory.
#[test]
fn a_list_of_millions_of_tags_is_refused() {
    let scratch = Scratch::new("many-tags");
    let at = std::sync::atomic::AtomicUsize::new(0);
    let registry = Listener::start(move |_| {
        let page = at.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tags: Vec<String> = (0..270_000).map(|tag| format!("\"{page}.{tag}\"")).collect();
        let link = format!("link: </v2/test/tags/list?last={page}>; rel=next\r\n");
        answer("200 OK", &link, &format!("{{\"tags\":[{}]}}", tags.join(",")))
    });
    let name = format!("docker://127.0.0.1:{}/test", registry.port);
    let output = scratch.run(&["list", PLAIN, "--retries", "0", &name]);
    assert!(stderr(&output).contains("the list of tags has more than 524288\n"), "{}", stderr(&output));
    assert_eq!(registry.count("GET"), 2);
}

/// Fifty thousand volumes were fifty thousand mounts: all other containers of the host waited minutes for their end.
#[test]
fn an_image_of_very_many_volumes_is_refused() {
    for (count, is_taken) in [(1000, true), (1001, false)] {
        let scratch = Scratch::new("volumes");
        let mut fixture = Fixture::new(&scratch);
        fixture.layer(Packing::Plain, &archive(&[file("a", "x")]));
        let volumes: serde_json::Map<String, serde_json::Value> =
            (0..count).map(|number| (format!("/v{number}"), json!({}))).collect();
        fixture.config = json!({ "Volumes": volumes });
        fixture.finish();
        let output = scratch.run(&["unpack", "-q", "oci:image", "b"]);
        assert_eq!(output.status.success(), is_taken, "{count}: {}", stderr(&output));
        assert!(
            is_taken || stderr(&output).contains("has 1001 volumes, more than 1000"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn an_error_does_not_print_megabytes_of_an_image() {
    let scratch = Scratch::new("long-errors");
    let long = "u".repeat(1 << 20);
    for config in [json!({ "User": long }), json!({ "WorkingDir": format!("/{long}") })] {
        let mut fixture = Fixture::new(&scratch);
        fixture.layer(Packing::Plain, &archive(&[file("etc/passwd", "root:x:0:0:::\n")]));
        fixture.config = config;
        fixture.finish();
        let output = scratch.run(&["unpack", "-q", "oci:image", "b"]);
        let error = stderr(&output);
        assert!(!output.status.success() && error.len() < 64 << 10, "{} bytes", error.len());
        assert!(error.contains(" bytes …] "), "{}", &error[..200]);
    }
}

/// It was an error, although one that has nothing at all is passed over.
#[test]
fn a_mirror_with_another_manifest_than_was_asked_for_is_passed_over() {
    let scratch = Scratch::new("lying-mirror");
    let served = Served::new(&scratch);
    let digest = served.manifest.clone();
    let registry = Listener::start(move |request| served.reply(&path_of(request)));
    let mirror = Listener::start(|request| match path_of(request).contains("/manifests/") {
        false => answer("404 Not Found", "", ""),
        true => answer(
            "200 OK",
            "content-type: application/vnd.oci.image.manifest.v1+json\r\n",
            "{\"schemaVersion\":2}",
        ),
    });
    let conf = format!(
        "[[registry]]\nprefix = \"example.org\"\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n",
        registry.port, mirror.port
    );
    fs::write(scratch.join("registries.conf"), conf).unwrap();
    let output = Command::new(program())
        .args(["inspect", "--retries", "0", &format!("docker://example.org/test@sha256:{digest}")])
        .current_dir(scratch.path())
        .env("CONTAINERS_REGISTRIES_CONF", "registries.conf")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("content has digest"), "{}", stderr(&output));
    assert!(mirror.count("GET") > 0 && registry.count("GET") > 0, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&digest), "{}", stderr(&output));
}

/// It had as long as a server may be silent for each byte.
#[test]
fn a_proxy_that_answers_byte_by_byte_is_given_up() {
    let scratch = Scratch::new("slow-proxy");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            for byte in b"HTTP/1.1 200 OK\r\nname: abcdefghijklmnopqrstuvwxyz" {
                if client.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    });
    let output = Command::new(program())
        .args(["inspect", "--retries", "0", "--timeout", "1", "docker://registry.invalid/test:v1"])
        .current_dir(scratch.path())
        .env("HTTPS_PROXY", format!("http://127.0.0.1:{port}"))
        .output()
        .unwrap();
    // Before, it was waited for to its end, and told as a broken connection.
    assert!(stderr(&output).contains("the registry does not answer"), "{}", stderr(&output));
}
