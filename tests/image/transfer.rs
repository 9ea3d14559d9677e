//! From a registry to a running container, and transfers that fail on the way.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::registry::{HTPASSWD, Server, answer, certificates, cutting_proxy, noise, ok, request};
use crate::skip::skip;
use crate::support::*;

#[test]
fn from_a_private_registry_over_a_bad_line_to_a_running_container() {
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| fs::read(path).ok())
    else {
        return skip("needs busybox");
    };
    let scratch = Scratch::new("private");
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({ "Cmd": ["sh", "-c", "wc -c </noise; echo from inside"] });
    let sh = Item { data: busybox, ..file("bin/sh", "").mode(0o755) };
    fixture.layer(Packing::Gzip, &archive(&[dir("bin"), sh, hard_link("bin/wc", "bin/sh")]));
    let content = Item { data: noise(3 << 20, 5), ..file("noise", "") };
    fixture.layer(Packing::Zstd, &archive(&[dir("proc"), dir("dev"), dir("sys"), content])).finish();
    fs::write(scratch.join("htpasswd"), HTPASSWD).unwrap();
    if !certificates(scratch.path()) {
        return;
    }
    let more = format!(
        "  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\nauth:\n  htpasswd:\n    realm: test\n    path: {0}/htpasswd",
        scratch.path().display()
    );
    let Some(server) = Server::start(&scratch, &more) else { return };
    if !server.fill(&scratch, &["--dest-creds", "user:secret"]) {
        return;
    }
    fs::create_dir(scratch.join("certs")).unwrap();
    fs::copy(scratch.join("ca.crt"), scratch.join("certs/ca.crt")).unwrap();
    let (port, cuts) = cutting_proxy(server.port);
    let name = format!("docker://127.0.0.1:{port}/team/test:v1");
    let access = ["-q", "--cert-dir", "certs", "--authfile", "auth.json"];
    let host = format!("127.0.0.1:{port}");
    ok(
        &scratch,
        &["login", &host, "-u", "user", "-p", "secret", "--cert-dir", "certs", "--authfile", "auth.json"],
    );
    ok(&scratch, &[&["pull"], &access[..], &[&name, "oci:copy"]].concat());
    ok(&scratch, &["verify", "oci:copy"]);
    ok(&scratch, &[&["unpack"], &access[..], &[&name, "own"]].concat());
    ok(&scratch, &[&["unpack"], &access[..], &["--overlay", "--store", "store", &name, "shared"]].concat());
    assert!(cuts.load(Ordering::Relaxed) > 15);
    for bundle in ["own", "shared"] {
        let output = Command::new(env!("CARGO_BIN_EXE_tare"))
            .arg("--root")
            .arg(scratch.join("state"))
            .args(["run", "-b"])
            .arg(scratch.join(bundle))
            .arg(format!("tare-image-private-{bundle}-{}", std::process::id()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{bundle}: {}", stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "3145728\nfrom inside\n", "{bundle}");
    }
}

/// A fault of the registry with the blob of the second layer.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Flipped,
    Short,
    Long,
    Empty,
    Status(&'static str),
    /// Stops sending in the middle, and keeps the connection.
    Hangs,
    /// Cuts every connection before the first byte of the body.
    Cuts,
}

/// A registry with one image and a fault; it counts the bytes it sends.
struct Faulty {
    port: u16,
    fault: Arc<Mutex<Fault>>,
    sent: Arc<AtomicU64>,
    ranges: Arc<AtomicUsize>,
    slow: Arc<AtomicBool>,
}

/// The state that its threads share.
struct Serving {
    blobs: PathBuf,
    manifest: String,
    faulty: String,
    fault: Arc<Mutex<Fault>>,
    sent: Arc<AtomicU64>,
    ranges: Arc<AtomicUsize>,
    slow: Arc<AtomicBool>,
}

impl Faulty {
    /// Serves the image in `oci:image`.
    fn start(fixture: &Fixture) -> Self {
        let blobs = fixture.path.join("blobs/sha256");
        let index: Value =
            serde_json::from_slice(&fs::read(fixture.path.join("index.json")).unwrap()).unwrap();
        let hex = |descriptor: &Value| descriptor["digest"].as_str().unwrap()[7..].to_owned();
        let manifest = fs::read_to_string(blobs.join(hex(&index["manifests"][0]))).unwrap();
        let parsed: Value = serde_json::from_str(&manifest).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = Self {
            port: listener.local_addr().unwrap().port(),
            fault: Arc::new(Mutex::new(Fault::None)),
            sent: Arc::default(),
            ranges: Arc::default(),
            slow: Arc::default(),
        };
        let serving = Arc::new(Serving {
            blobs,
            manifest,
            faulty: hex(&parsed["layers"][1]),
            fault: Arc::clone(&found.fault),
            sent: Arc::clone(&found.sent),
            ranges: Arc::clone(&found.ranges),
            slow: Arc::clone(&found.slow),
        });
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.one(client.unwrap()));
            }
        });
        found
    }

    fn name(&self) -> String {
        format!("docker://127.0.0.1:{}/test:v1", self.port)
    }
}

impl Serving {
    fn one(&self, mut client: TcpStream) {
        let Some(request) = request(&mut client) else { return };
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let _ = match path.rsplit_once("/blobs/sha256:") {
            Some((_, hex)) => self.blob(&mut client, &request, hex),
            None if path.contains("/manifests/") => {
                let kind = "content-type: application/vnd.oci.image.manifest.v1+json\r\n";
                client.write_all(answer("200 OK", kind, &self.manifest).as_bytes())
            }
            None => client.write_all(answer("200 OK", "", "").as_bytes()),
        };
    }

    fn blob(&self, client: &mut TcpStream, request: &str, hex: &str) -> std::io::Result<()> {
        let mut body = fs::read(self.blobs.join(hex))?;
        let start = request.lines().find_map(|line| {
            line.to_lowercase().strip_prefix("range: bytes=")?.split('-').next()?.parse::<usize>().ok()
        });
        let fault = if hex == self.faulty { *self.fault.lock().unwrap() } else { Fault::None };
        match fault {
            Fault::Flipped => *body.last_mut().unwrap() ^= 1,
            Fault::Short => body.truncate(body.len() / 2),
            Fault::Long => body.extend_from_slice(b"more"),
            Fault::Empty => body.clear(),
            Fault::Status(status) => return client.write_all(answer(status, "", "").as_bytes()),
            Fault::None | Fault::Hangs | Fault::Cuts => {}
        }
        let (start, total) = (start.unwrap_or(0), body.len());
        let (status, range) = match start {
            0 => ("200 OK", String::new()),
            _ if start >= total => {
                return client.write_all(answer("416 Range Not Satisfiable", "", "").as_bytes());
            }
            _ => {
                self.ranges.fetch_add(1, Ordering::Relaxed);
                ("206 Partial Content", format!("content-range: bytes {start}-{}/{total}\r\n", total - 1))
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{range}\r\n",
            total - start
        );
        client.write_all(head.as_bytes())?;
        let most = match fault {
            Fault::Hangs => (total - start) / 2,
            Fault::Cuts => 0,
            _ => total - start,
        };
        for piece in body[start..][..most].chunks(16 << 10) {
            client.write_all(piece)?;
            self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            if self.slow.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if matches!(fault, Fault::Hangs) {
            std::thread::sleep(Duration::from_secs(4));
        }
        Ok(())
    }
}

fn two_layers(scratch: &Scratch) -> Fixture {
    let mut fixture = Fixture::new(scratch);
    fixture.layer(Packing::Gzip, &archive(&[dir("d"), file("d/a", "x")]));
    let content = Item { data: noise(400_000, 3), ..file("d/noise", "") };
    fixture.layer(Packing::Gzip, &archive(&[content])).finish();
    fixture
}

const FAULTS: [(Fault, &str); 10] = [
    (Fault::Flipped, "content has digest sha256:"),
    (Fault::Short, "the registry answers 416"),
    (Fault::Long, "its descriptor says "),
    (Fault::Empty, "broke off at byte 0 of"),
    (Fault::Status("404 Not Found"), "the registry answers 404 (not found)"),
    (Fault::Status("429 Too Many Requests"), "the registry answers 429 (too many requests)"),
    (Fault::Status("500 Internal Server Error"), "the registry answers 500"),
    (Fault::Status("401 Unauthorized"), "authorization of unknown sort"),
    (Fault::Hangs, "broke off at byte "),
    (Fault::Cuts, "broke off at byte 0 of"),
];

#[test]
fn what_a_registry_does_wrong_is_told_with_its_layer_and_the_next_run_succeeds() {
    std::thread::scope(|scope| {
        for (number, (fault, words)) in FAULTS.into_iter().enumerate() {
            scope.spawn(move || {
                for (args, target, left) in [
                    (&["unpack"][..], "bundle", &["image"][..]),
                    (&["unpack", "--overlay", "--store", "store"], "bundle", &["image", "store"]),
                    (&["pull"], "oci:copy", &["copy", "image"]),
                    (&["pull"], "oci-archive:copy.tar", &["image"]),
                    (&["pull"], "docker-archive:copy.tar", &["image"]),
                ] {
                    let scratch = Scratch::new(&format!("wrong-{number}"));
                    wrong_then_right(&scratch, fault, words, &[args, &[target]].concat(), left);
                }
            });
        }
    });
}

/// Runs a command against a registry with a fault, which must be reported and leave only `left`, and again without it.
fn wrong_then_right(scratch: &Scratch, fault: Fault, words: &str, args: &[&str], left: &[&str]) {
    let server = Faulty::start(&two_layers(scratch));
    let what = format!("{fault:?} {args:?}");
    let (target, verb) = args.split_last().unwrap();
    let name = server.name();
    let access = ["-q", "--tls-verify=false", "--retries", "1", "--timeout", "1", &name, target];
    *server.fault.lock().unwrap() = fault;
    let output = scratch.run(&[verb, &access[..]].concat());
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{what}: {error}");
    // A decompressor may see the damage before the digest does.
    let seen = matches!(fault, Fault::Flipped) && error.contains("the gzip data is damaged");
    assert!(error.contains(words) || seen, "{what}: {error}");
    assert!(error.contains("layer 2 of 2 (sha256:") || error.contains("blob sha256:"), "{what}: {error}");
    assert_eq!(names(scratch.path()), left, "{what}");
    if left.contains(&"store") {
        assert_eq!(names(&scratch.join("store/tmp")), [""; 0], "{what}");
    }
    assert!(!scratch.join("copy/index.json").exists(), "{what}");
    *server.fault.lock().unwrap() = Fault::None;
    let patient = ["-q", "--tls-verify=false", &name, target];
    let output = scratch.run(&[verb, &patient[..]].concat());
    assert!(output.status.success(), "{what}: {}", stderr(&output));
    if *target != "bundle" {
        ok(scratch, &["verify", target]);
    }
}

#[test]
fn a_killed_pull_is_gone_on_with() {
    let scratch = Scratch::new("killed-pull");
    let mut fixture = Fixture::new(&scratch);
    for seed in 1..4 {
        let content = Item { data: noise(600_000, seed), ..file(&format!("noise{seed}"), "") };
        fixture.layer(Packing::Gzip, &archive(&[content]));
    }
    fixture.finish();
    let server = Faulty::start(&fixture);
    let name = server.name();
    server.slow.store(true, Ordering::Relaxed);
    let args = ["pull", "-q", "--tls-verify=false", &name, "oci:copy"];
    for _ in 0..4 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(args)
            .current_dir(scratch.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = server.sent.load(Ordering::Relaxed);
        while server.sent.load(Ordering::Relaxed) < before + 200_000 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert!(!scratch.join("copy/index.json").exists());
    }
    server.slow.store(false, Ordering::Relaxed);
    ok(&scratch, &args);
    ok(&scratch, &["verify", "oci:copy"]);
    let (ranges, sent) = (server.ranges.load(Ordering::Relaxed), server.sent.load(Ordering::Relaxed));
    assert!(ranges >= 3, "{ranges} blobs were gone on with, {sent} bytes of 1800000 sent");
}
