//! Registries: Debian's docker-registry on 127.0.0.1, filled by skopeo, and a test server that gives wrong answers.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::*;

/// A running docker-registry, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts a registry with its data in `scratch`; `more` is added to its configuration.
    pub(crate) fn start(scratch: &Scratch, more: &str) -> Option<Self> {
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}\n",
            scratch.join("registry").display()
        );
        fs::write(scratch.join("registry.yml"), config).unwrap();
        let log = fs::File::create(scratch.join("registry.log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(scratch.join("registry.yml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let Ok(child) = child else {
            skip("needs docker-registry");
            return None;
        };
        let server = Self { child, port };
        let until = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(scratch.join("registry.log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// Pushes `oci:image` with skopeo.
    pub(crate) fn fill(&self, scratch: &Scratch, args: &[&str]) -> bool {
        let to = format!("docker://127.0.0.1:{}/team/test:v1", self.port);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "-q", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false"]);
        let Ok(output) = skopeo.args(args).args(["oci:image", &to]).current_dir(scratch.path()).output()
        else {
            skip("needs skopeo");
            return false;
        };
        assert!(output.status.success(), "{}", stderr(&output));
        true
    }

    pub(crate) fn name(&self) -> String {
        format!("docker://127.0.0.1:{}/team/test:v1", self.port)
    }
}

/// Returns bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Three layers of some megabytes.
pub(crate) fn large_image(scratch: &Scratch) -> String {
    let mut fixture = Fixture::new(scratch);
    for seed in 1..4 {
        let name = format!("noise{seed}");
        let item = Item { data: noise(2 << 20, seed), ..file(&name, "") };
        fixture.layer(Packing::Gzip, &archive(&[item]));
    }
    fixture.finish()["digest"].as_str().unwrap().to_owned()
}

pub(crate) fn small_image(scratch: &Scratch) {
    image(scratch, &[&[dir("d"), file("d/a", "one")], &[file("b", "two")]]);
}

pub(crate) fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_image_is_pulled_and_unpacked_from_a_registry() {
    let scratch = Scratch::new("registry");
    let digest = large_image(&scratch);
    let Some(server) = Server::start(&scratch, "") else { return };
    if !server.fill(&scratch, &[]) {
        return;
    }
    let expected = listing(&scratch.unpack());
    let name = server.name();
    let plain = "--tls-verify=false";
    ok(&scratch, &["unpack", "-q", plain, &name, "by-tag"]);
    assert_eq!(listing(&scratch.join("by-tag/rootfs")), expected);
    let by_digest = format!("{}@{digest}", name.strip_suffix(":v1").unwrap());
    assert_eq!(ok(&scratch, &["pull", plain, &by_digest, "oci:copy:x"]).trim(), digest);
    ok(&scratch, &["verify", "oci:copy"]);
    assert_eq!(ok(&scratch, &["list", plain, &name]), "v1\n");
    let about: Value = serde_json::from_str(&ok(&scratch, &["inspect", plain, &name])).unwrap();
    assert_eq!(about["digest"], digest.as_str());

    let error = stderr(&scratch.run(&["unpack", &name, "b"]));
    assert!(error.starts_with(&format!("tare-image: {name}: get manifests/v1 from 127.0.0.1:")), "{error}");
    let error = stderr(&scratch.run(&["unpack", plain, &name.replace(":v1", ":v2"), "b"]));
    assert!(error.contains("the registry answers 404 (not found): manifest unknown"), "{error}");
    assert!(!scratch.join("b").exists());
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_after_it() {
    let scratch = Scratch::new("mirror");
    small_image(&scratch);
    let Some(server) = Server::start(&scratch, "") else { return };
    if !server.fill(&scratch, &[]) {
        return;
    }
    let (mirror, dead) = (format!("127.0.0.1:{}", server.port), format!("127.0.0.1:{}", free_port()));
    let conf = format!(
        "[[registry]]\nprefix = \"example.org/a\"\nlocation = \"{mirror}/team\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{dead}/x\"\ninsecure = true\n\
         [[registry]]\nprefix = \"docker.io/library\"\nlocation = \"{mirror}/team\"\ninsecure = true\n\
         [[registry]]\nlocation = \"blocked.example\"\nblocked = true\n"
    );
    fs::write(scratch.join("registries.conf"), conf).unwrap();
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(args)
            .current_dir(scratch.path())
            .env("CONTAINERS_REGISTRIES_CONF", "registries.conf")
            .output()
            .unwrap()
    };
    let output = run(&["unpack", "--retries", "0", "docker://example.org/a/test:v1", "bundle"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("mirror {dead}/x/test: ")), "{}", stderr(&output));
    assert_eq!(names(&scratch.join("bundle/rootfs")), ["b", "d"]);
    // A short name is one of docker.io's own.
    let output = run(&["unpack", "-q", "docker://test:v1", "short"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = run(&["unpack", "docker://blocked.example/a/test:v1", "other"]);
    assert!(
        stderr(&output).contains("registry blocked.example is blocked in registries.conf"),
        "{}",
        stderr(&output)
    );
}

/// An htpasswd file: user `user`, password `secret`.
pub(crate) const HTPASSWD: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[test]
fn a_password_is_asked_for_and_kept() {
    let scratch = Scratch::new("htpasswd");
    small_image(&scratch);
    fs::write(scratch.join("htpasswd"), HTPASSWD).unwrap();
    let more =
        format!("auth:\n  htpasswd:\n    realm: test\n    path: {}", scratch.join("htpasswd").display());
    let Some(server) = Server::start(&scratch, &more) else { return };
    if !server.fill(&scratch, &["--dest-creds", "user:secret"]) {
        return;
    }
    let name = server.name();
    let host = format!("127.0.0.1:{}", server.port);
    let common = ["--tls-verify=false", "--authfile", "auth.json"];
    let unpack = |bundle: &str, more: &[&str]| {
        scratch.run(&[&["unpack", "-q", &name, bundle], &common[..], more].concat())
    };
    let error = stderr(&unpack("b", &[]));
    assert!(
        error.contains("the registry asks for a user and a password\nhint: log in with: tare-image login"),
        "{error}"
    );
    let error = stderr(&unpack("b", &["--creds", "user:wrong"]));
    assert!(error.contains("the registry answers 401 (unauthorized)"), "{error}");
    assert!(unpack("by-creds", &["--creds", "user:secret"]).status.success());

    let login = |password: &str| {
        scratch.run(&[&["login", &host, "-u", "user", "-p", password], &common[..]].concat())
    };
    assert!(!login("wrong").status.success());
    assert!(!scratch.join("auth.json").exists());
    fs::write(scratch.join("auth.json"), r#"{"auths":{"other":{"auth":"eDp5"}},"kept":1}"#).unwrap();
    let output = login("secret");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(unpack("by-login", &[]).status.success());
    let kept: Value = serde_json::from_slice(&fs::read(scratch.join("auth.json")).unwrap()).unwrap();
    assert_eq!((&kept["kept"], &kept["auths"]["other"]["auth"]), (&json!(1), &json!("eDp5")));
    assert_eq!(kept["auths"][&host]["auth"], "dXNlcjpzZWNyZXQ=");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(scratch.join("auth.json")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_a_registry_does_not_have_is_told_with_where_to_look() {
    let scratch = Scratch::new("missing-tag");
    small_image(&scratch);
    let Some(server) = Server::start(&scratch, "") else { return };
    if !server.fill(&scratch, &[]) {
        return;
    }
    let name = server.name();
    let repository = name.trim_start_matches("docker://").rsplit_once(':').map_or(name.as_str(), |it| it.0);
    let repository = if repository.contains('/') { repository } else { name.trim_start_matches("docker://") };
    let hint = format!("hint: `tare-image list docker://{repository}` lists the tags that are there");
    let run = |args: &[&str]| stderr(&scratch.run(&[args, &["--tls-verify=false"]].concat()));
    let missing = format!("docker://{repository}:nosuch");
    for verb in ["unpack", "pull"] {
        let error = run(&[verb, "-q", &missing, "oci:out"]);
        assert!(error.contains("404") && error.contains(&hint), "{verb}: {error}");
    }
    let digest = format!("docker://{repository}@sha256:{}", "0".repeat(64));
    assert!(run(&["inspect", &digest]).contains(&hint));
    let error = run(&["list", &format!("docker://127.0.0.1:{}/nobody/has/it", server.port)]);
    assert!(error.contains("hint: is nobody/has/it its whole name at 127.0.0.1:"), "{error}");
    // The bundle knows where it is from, and not that the way there was plain HTTP.
    assert_eq!(run(&["unpack", "-q", &name, "bundle"]), "");
    let error = stderr(&scratch.run(&["repack", "bundle", "oci:new"]));
    assert!(error.contains("plain HTTP is accepted with --tls-verify=false"), "{error}");
    assert!(error.contains("say with --base where the image is now"), "{error}");
}

#[test]
fn a_credential_helper_keeps_and_gives_what_login_was_told() {
    let scratch = Scratch::new("helper");
    small_image(&scratch);
    fs::write(scratch.join("htpasswd"), HTPASSWD).unwrap();
    let more =
        format!("auth:\n  htpasswd:\n    realm: test\n    path: {}", scratch.join("htpasswd").display());
    let Some(server) = Server::start(&scratch, &more) else { return };
    if !server.fill(&scratch, &["--dest-creds", "user:secret"]) {
        return;
    }
    let helper = scratch.join("docker-credential-test");
    let script = r#"#!/bin/sh
case $1 in
store) cat >"$0.kept" ;;
get) read -r server
    grep -q "\"ServerURL\":\"$server\"" "$0.kept" || { echo credentials not found in native keychain; exit 1; }
    cat "$0.kept" ;;
esac
"#;
    fs::write(&helper, script).unwrap();
    Command::new("chmod").arg("+x").arg(&helper).status().unwrap();
    let host = format!("127.0.0.1:{}", server.port);
    let file = json!({ "credHelpers": { &host: "test" } }).to_string();
    fs::write(scratch.join("auth.json"), &file).unwrap();
    let path = format!("{}:{}", scratch.path().display(), std::env::var("PATH").unwrap());
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(args)
            .arg("--tls-verify=false")
            .current_dir(scratch.path())
            .env("PATH", &path)
            .env("REGISTRY_AUTH_FILE", "auth.json")
            .output()
            .unwrap()
    };
    let unpack = ["unpack", "-q", &server.name(), "bundle"];
    assert!(stderr(&run(&unpack)).contains("the registry asks for a user and a password"));
    let output = run(&["login", &host, "-u", "user", "-p", "secret"]);
    assert!(stderr(&output).contains("credentials are in docker-credential-test"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(scratch.join("auth.json")).unwrap(), file);
    let output = run(&unpack);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Makes a certificate authority and a certificate for 127.0.0.1 with openssl.
pub(crate) fn certificates(dir: &Path) -> bool {
    let script = "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test-authority
        openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1
        printf 'subjectAltName=IP:127.0.0.1\\n' >ext
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile ext";
    let Ok(output) = Command::new("sh").arg("-c").arg(script).current_dir(dir).output() else { return false };
    if !output.status.success() {
        skip(&format!("needs openssl: {}", stderr(&output)));
    }
    output.status.success()
}

#[test]
fn a_certificate_is_checked() {
    let scratch = Scratch::new("tls");
    small_image(&scratch);
    if !certificates(scratch.path()) {
        return;
    }
    let (cert, key) = (scratch.join("server.crt"), scratch.join("server.key"));
    let more = format!("  tls:\n    certificate: {}\n    key: {}", cert.display(), key.display());
    let Some(server) = Server::start(&scratch, &more) else { return };
    if !server.fill(&scratch, &[]) {
        return;
    }
    let name = server.name();
    let error = stderr(&scratch.run(&["unpack", "-q", "--retries", "0", &name, "b"]));
    assert!(
        error.contains("certificate")
            && error.contains("hint: name the registry's authority with --cert-dir"),
        "{error}"
    );
    fs::create_dir(scratch.join("certs")).unwrap();
    fs::copy(scratch.join("ca.crt"), scratch.join("certs/ca.crt")).unwrap();
    ok(&scratch, &["unpack", "-q", "--cert-dir", "certs", &name, "trusted"]);
    ok(&scratch, &["unpack", "-q", "--tls-verify=false", &name, "unchecked"]);
    let error = stderr(&scratch.run(&["unpack", "-q", "--cert-dir", "missing", &name, "b"]));
    assert!(error.contains("read certificates in missing: no such file or directory"), "{error}");
}

/// Starts a proxy before `to` that cuts connection number N after as many bytes to the server or back as `limits` says.
/// Returns its port, and a counter of the connections it cut.
pub(crate) fn proxy(to: u16, limits: fn(u64) -> (u64, u64)) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let cuts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&cuts);
    std::thread::spawn(move || {
        for (number, client) in (0..).zip(listener.incoming()) {
            let client = client.unwrap();
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
            let (forth, back) = limits(number);
            pass(client.try_clone().unwrap(), server.try_clone().unwrap(), forth, Arc::clone(&counter));
            pass(server, client, back, Arc::clone(&counter));
        }
    });
    (port, cuts)
}

fn pass(mut from: TcpStream, mut to: TcpStream, limit: u64, counter: Arc<AtomicUsize>) {
    std::thread::spawn(move || {
        let passed = std::io::copy(&mut (&mut from).take(limit), &mut to).unwrap_or(0);
        if passed == limit {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = from.shutdown(std::net::Shutdown::Both);
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

/// Cuts each connection after some bytes of answer.
pub(crate) fn cutting_proxy(to: u16) -> (u16, Arc<AtomicUsize>) {
    proxy(to, |number| (u64::MAX, 20_000 + number * 7919 % 400_000))
}

#[test]
fn a_connection_that_is_cut_again_and_again_is_resumed() {
    let scratch = Scratch::new("cut");
    large_image(&scratch);
    let Some(server) = Server::start(&scratch, "") else { return };
    if !server.fill(&scratch, &[]) {
        return;
    }
    let expected = listing(&scratch.unpack());
    let (port, cuts) = cutting_proxy(server.port);
    let name = format!("docker://127.0.0.1:{port}/team/test:v1");
    ok(&scratch, &["unpack", "-q", "--tls-verify=false", &name, "cut"]);
    assert_eq!(listing(&scratch.join("cut/rootfs")), expected);
    let during = cuts.load(Ordering::Relaxed);
    assert!(during > 10, "{during} cuts");
    ok(&scratch, &["pull", "-q", "--tls-verify=false", &name, "oci:copy"]);
    ok(&scratch, &["verify", "oci:copy"]);
    assert!(cuts.load(Ordering::Relaxed) > during + 10);
}

/// Reads a whole request; None for an attempt to speak TLS, or nothing.
pub(crate) fn request(client: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
        if bytes[0] == 0x16 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Starts a server that answers each request with the next of `answers`, and repeats the last one.
fn scripted(answers: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut number = 0;
        for client in listener.incoming() {
            let mut client = client.unwrap();
            if request(&mut client).is_none() {
                continue;
            }
            let answer = answers.get(number).or_else(|| answers.last()).unwrap();
            number += 1;
            if answer == "hang" {
                std::thread::sleep(Duration::from_secs(30));
            }
            let _ = client.write_all(answer.as_bytes());
        }
    });
    port
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

#[test]
fn a_registry_that_refuses_or_fails_is_told_in_a_sentence() {
    let scratch = Scratch::new("refuses");
    let manifest = "content-type: application/vnd.oci.image.manifest.v1+json\r\n";
    for (answers, words) in [
        (
            vec![answer("404 Not Found", "", r#"{"errors":[{"code":"X","message":"no such thing"}]}"#)],
            "the registry answers 404 (not found): no such thing",
        ),
        (vec![answer("403 Forbidden", "", "<html>")], "the registry answers 403 (forbidden)\n"),
        (vec![answer("401 Unauthorized", "", "")], "authorization of unknown sort"),
        (
            vec![answer("401 Unauthorized", "www-authenticate: Bearer realm=\"ftp://x\"\r\n", "")],
            "ask ftp://x for a token",
        ),
        (vec![answer("500 Internal Server Error", "", "")], "the registry answers 500"),
        (vec![answer("429 Too Many Requests", "retry-after: 0\r\n", "")], "the registry answers 429"),
        (vec!["hang".into()], "the registry does not answer"),
        (vec![String::new()], "get manifests/v1 from 127.0.0.1:"),
        (vec!["no HTTP at all\r\n\r\n".into()], "get manifests/v1 from 127.0.0.1:"),
        (vec![answer("200 OK", "content-type: text/html\r\n", "<html>")], "is neither an image nor an index"),
        (vec![answer("200 OK", manifest, "{}")], "schemaVersion is not 2"),
        (
            vec![answer("200 OK", &format!("{manifest}docker-content-digest: sha256:{:064}\r\n", 1), "{}")],
            "content has not the digest",
        ),
        (
            vec![answer("200 OK", manifest, &format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20)))],
            "larger than 4194304 bytes",
        ),
        (vec![answer("302 Found", "location: /v2/x\r\n", "")], "redirect"),
    ] {
        let port = scripted(answers);
        let name = format!("docker://127.0.0.1:{port}/test:v1");
        let args =
            ["unpack", "-q", "--tls-verify=false", "--retries", "2", "--timeout", "1", &name, "bundle"];
        let start = Instant::now();
        let output = scratch.run(&args);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
        assert!(start.elapsed() < Duration::from_secs(15), "{words}");
        assert_eq!(names(scratch.path()), [""; 0]);
    }
}

#[test]
fn a_failure_that_passes_is_lived_through() {
    let scratch = Scratch::new("passes");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Plain, &archive(&[file("a", "x")])).finish();
    let index: Value = serde_json::from_slice(&fs::read(fixture.path.join("index.json")).unwrap()).unwrap();
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        String::from_utf8(fs::read(fixture.path.join("blobs/sha256").join(digest)).unwrap()).unwrap()
    };
    let text = blob(&index["manifests"][0]);
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let (config, layer) = (blob(&manifest["config"]), blob(&manifest["layers"][0]));
    let half = |body: &str| {
        answer("200 OK", "", body)[..answer("200 OK", "", body).len() - body.len() / 2].to_owned()
    };
    let rest = |body: &str| {
        let sent = body.len() - body.len() / 2;
        let range = format!("content-range: bytes {sent}-{}/{}\r\n", body.len() - 1, body.len());
        answer("206 Partial Content", &range, &body[sent..])
    };
    let port = scripted(vec![
        answer("503 Service Unavailable", "", ""),
        answer("429 Too Many Requests", "retry-after: 1\r\n", ""),
        answer("200 OK", "content-type: application/vnd.oci.image.manifest.v1+json\r\n", &text),
        String::new(),
        answer("200 OK", "", &config),
        half(&layer),
        answer("500 Internal Server Error", "", ""),
        rest(&layer),
    ]);
    let name = format!("docker://127.0.0.1:{port}/test:v1");
    ok(&scratch, &["unpack", "-q", "--tls-verify=false", &name, "bundle"]);
    assert_eq!(names(&scratch.join("bundle/rootfs")), ["a"]);
}

#[test]
fn a_token_is_fetched_where_the_challenge_says() {
    let scratch = Scratch::new("token");
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (send, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let Some(request) = request(&mut client) else { continue };
            let challenge = format!(
                "www-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\",scope=\"repository:test:pull\"\r\n"
            );
            let reply = if request.starts_with("GET /token") {
                answer("200 OK", "", r#"{"token":"T0KEN"}"#)
            } else if request.to_lowercase().contains("authorization: bearer t0ken") {
                answer("404 Not Found", "", r#"{"errors":[{"message":"reached"}]}"#)
            } else {
                answer("401 Unauthorized", &challenge, "")
            };
            send.send(request).unwrap();
            let _ = client.write_all(reply.as_bytes());
        }
    });
    let name = format!("docker://127.0.0.1:{port}/test:v1");
    let output = scratch.run(&["inspect", "--tls-verify=false", "--creds", "user:secret", &name]);
    assert!(stderr(&output).contains("404 (not found): reached"), "{}", stderr(&output));
    let asked = requests.iter().find(|request| request.starts_with("GET /token")).unwrap();
    assert!(asked.starts_with("GET /token?service=s&scope=repository%3Atest%3Apull "), "{asked}");
    assert!(asked.to_lowercase().contains("authorization: basic dxnlcjpzzwnyzxq="), "{asked}");
}

#[test]
fn a_proxy_is_used_where_the_environment_names_one() {
    let scratch = Scratch::new("proxy");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = send.send(request(&mut client).unwrap_or_default());
            let _ = client.write_all(answer("403 Forbidden", "", "").as_bytes());
        }
    });
    let run = |no_proxy: &str| {
        Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(["inspect", "--retries", "0", "docker://registry.invalid/a:b"])
            .current_dir(scratch.path())
            .env("HTTPS_PROXY", format!("http://127.0.0.1:{port}"))
            .env("NO_PROXY", no_proxy)
            .output()
            .unwrap()
    };
    let error = stderr(&run(""));
    assert!(error.contains(&format!("from registry.invalid by proxy 127.0.0.1:{port}: ")), "{error}");
    assert!(requests.try_recv().unwrap().starts_with("CONNECT registry.invalid:443 "));
    assert!(!run("invalid").status.success());
    assert!(requests.try_recv().is_err());
}

#[test]
fn a_configuration_that_cannot_be_looked_at_is_not_taken_for_none() {
    let scratch = Scratch::new("conf-closed");
    fs::create_dir_all(scratch.join("conf/containers/registries.conf.d")).unwrap();
    let blocked = "[[registry]]\nlocation = \"blocked.example\"\nblocked = true\n";
    fs::write(scratch.join("conf/containers/registries.conf.d/a.conf"), blocked).unwrap();
    let inspect = || {
        Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(["inspect", "--retries", "0", "--timeout", "2", "docker://blocked.example/a:v1"])
            .current_dir(scratch.path())
            .env("XDG_CONFIG_HOME", scratch.join("conf"))
            .output()
            .unwrap()
    };
    assert!(stderr(&inspect()).contains("is blocked"), "{}", stderr(&inspect()));
    // A loop of links: what it holds is not known.
    fs::rename(scratch.join("conf/containers/registries.conf.d"), scratch.join("away")).unwrap();
    std::os::unix::fs::symlink("registries.conf.d", scratch.join("conf/containers/registries.conf.d"))
        .unwrap();
    let error = stderr(&inspect());
    assert!(error.contains("registries.conf.d: ") && error.contains("symbolic links"), "{error}");
    fs::remove_file(scratch.join("conf/containers/registries.conf.d")).unwrap();
    std::os::unix::fs::symlink("registries.conf", scratch.join("conf/containers/registries.conf")).unwrap();
    let error = stderr(&inspect());
    assert!(error.contains("registries.conf: ") && error.contains("symbolic links"), "{error}");
}
