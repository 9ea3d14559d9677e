//! Credentials of a registry stay with that registry: wherever redirects, upload locations, challenges, mirrors and token
//! servers lead. Each test has a registry, and another server that keeps what it is sent.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::registry::{Server, answer, certificates};
use crate::support::*;

const PLAIN: &str = "--tls-verify=false";
/// `user:secret` as Basic has it.
const BASIC: &str = "dXNlcjpzZWNyZXQ=";

/// A server that keeps all that it is sent.
pub(crate) struct Listener {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Listener {
    /// Answers each request with what `reply` makes of it.
    pub(crate) fn start(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0", |_| reply)
    }

    /// As `start`, on `address`, where the answers need the port.
    pub(crate) fn on<F: Fn(&str) -> String + Send + Sync + 'static>(
        address: &str,
        reply: impl FnOnce(u16) -> F,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, reply) = (Arc::clone(&requests), Arc::new(reply(port)));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                let (kept, reply) = (Arc::clone(&kept), Arc::clone(&reply));
                std::thread::spawn(move || {
                    let mut client = client.unwrap();
                    let Some(request) = whole_request(&mut client) else { return };
                    kept.lock().unwrap().push(request.clone());
                    let _ = client.write_all(reply(&request).as_bytes());
                });
            }
        });
        Self { port, requests, connections }
    }

    /// How many connections there were, of whatever is spoken.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// How often a request began like this.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.requests().iter().filter(|request| request.starts_with(start)).count()
    }

    /// Nothing that was sent here is a secret.
    fn knows_nothing(&self, what: &str) {
        for request in self.requests() {
            let lower = request.to_lowercase();
            for secret in ["authorization", "secret", &BASIC.to_lowercase(), "t0ken", "refresh"] {
                assert!(!lower.contains(secret), "{what}: {request}");
            }
        }
    }
}

/// Reads a request with its body; None for an attempt to speak TLS, or nothing.
fn whole_request(client: &mut std::net::TcpStream) -> Option<String> {
    let head = crate::registry::request(client)?;
    let length = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let begun = head.find("\r\n\r\n").map_or(0, |end| head.len() - end - 4);
    let mut rest = vec![0; length.saturating_sub(begun)];
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = client.read_exact(&mut rest);
    Some(head + &String::from_utf8_lossy(&rest))
}

pub(crate) fn header(request: &str, name: &str) -> Option<String> {
    request.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

pub(crate) fn path_of(request: &str) -> String {
    request.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn is_authorized(request: &str) -> bool {
    header(request, "authorization").is_some()
}

fn found_at(location: &str) -> String {
    answer("307 Temporary Redirect", &format!("location: {location}\r\n"), "")
}

fn basic_challenge() -> String {
    answer("401 Unauthorized", "www-authenticate: Basic realm=\"r\"\r\n", "")
}

fn bearer_challenge(realm: &str) -> String {
    answer("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n"), "")
}

/// The documents of `oci:image` by digest, with the manifest's own digest.
pub(crate) struct Served {
    blobs: std::path::PathBuf,
    pub(crate) manifest: String,
}

impl Served {
    pub(crate) fn new(scratch: &Scratch) -> Self {
        let mut fixture = Fixture::new(scratch);
        fixture.layer(Packing::Plain, &archive(&[file("a", "x")]));
        let manifest = fixture.finish()["digest"].as_str().unwrap()[7..].to_owned();
        Self { blobs: scratch.join("image/blobs/sha256"), manifest }
    }

    pub(crate) fn manifest(&self) -> String {
        let text = fs::read_to_string(self.blobs.join(&self.manifest)).unwrap();
        answer("200 OK", "content-type: application/vnd.oci.image.manifest.v1+json\r\n", &text)
    }

    /// The answer to a request for a blob or manifest.
    pub(crate) fn reply(&self, path: &str) -> String {
        if path.contains("/manifests/") {
            return self.manifest();
        }
        match path.rsplit_once("sha256:").and_then(|(_, hex)| fs::read_to_string(self.blobs.join(hex)).ok()) {
            Some(text) => answer("200 OK", "", &text),
            None => answer("404 Not Found", "", ""),
        }
    }
}

fn unpack(scratch: &Scratch, port: u16, more: &[&str]) -> std::process::Output {
    let name = format!("docker://127.0.0.1:{port}/test:v1");
    let args = ["unpack", "-q", PLAIN, "--retries", "0", "--timeout", "5", "--creds", "user:secret", &name];
    scratch.run(&[&args[..], more, &["bundle"]].concat())
}

#[test]
fn a_redirects_own_challenge_gets_no_credentials() {
    // What leads elsewhere, and how the other host asks for the password.
    for what in ["/blobs/", "/manifests/"] {
        for challenge in ["bearer", "basic", "none"] {
            let scratch = Scratch::new("redirect-challenge");
            let served = Arc::new(Served::new(&scratch));
            let other = Listener::on("127.0.0.1:0", |port| {
                move |request: &str| match challenge {
                    _ if path_of(request).starts_with("/token") => {
                        answer("200 OK", "", r#"{"token":"T0KEN"}"#)
                    }
                    "bearer" => bearer_challenge(&format!("http://127.0.0.1:{port}/token")),
                    "basic" => basic_challenge(),
                    _ => answer("401 Unauthorized", "", ""),
                }
            });
            let to = format!("http://127.0.0.1:{}/elsewhere?sig=S1GNATURE", other.port);
            let registry = Listener::start(move |request| match path_of(request) {
                _ if !is_authorized(request) => basic_challenge(),
                path if path.contains(what) => found_at(&to),
                path => served.reply(&path),
            });
            let output = unpack(&scratch, registry.port, &[]);
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{what} {challenge}: {error}");
            assert!(!other.requests().is_empty(), "{what} {challenge}: nothing was sent there");
            other.knows_nothing(&format!("{what} {challenge}"));
            let words = format!("127.0.0.1:{}, where the registry leads, answers 401", other.port);
            assert!(error.contains(&words), "{error}");
            assert!(!error.contains("S1GNATURE") && !error.contains("log in"), "{error}");
            assert!(registry.requests().iter().any(|request| request.contains(BASIC)));
        }
    }
}

#[test]
fn a_redirect_keeps_authorization_on_the_same_origin_and_nowhere_else() {
    let scratch = Scratch::new("redirect-same");
    let served = Arc::new(Served::new(&scratch));
    let other_served = Arc::clone(&served);
    let other = Listener::start(move |request| {
        let hex = path_of(request).rsplit_once('/').unwrap().1.to_owned();
        other_served.reply(&format!("sha256:{hex}"))
    });
    let port = other.port;
    let registry = Listener::start(move |request| {
        let path = path_of(request);
        if !is_authorized(request) {
            return basic_challenge();
        }
        match path.strip_prefix("/files/") {
            // The second hop leads to another host, the third of the manifest back to nobody.
            Some(hex) if hex == served.manifest => served.manifest(),
            Some(hex) => found_at(&format!("http://127.0.0.1:{port}/files/{hex}")),
            None if path.contains("/manifests/") => answer(
                "301 Moved Permanently",
                &format!("location: ../../../files/{}\r\n", served.manifest),
                "",
            ),
            None => found_at(&format!("/files/{}", path.rsplit_once(':').unwrap().1)),
        }
    });
    let output = unpack(&scratch, registry.port, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(names(&scratch.join("bundle/rootfs")), ["a"]);
    assert_eq!(other.requests().len(), 2);
    other.knows_nothing("second hop");
}

#[test]
fn an_upload_elsewhere_gets_no_credentials() {
    for location in
        ["http://127.0.0.1:PORT/up", "//127.0.0.1:PORT/up", "HTTP://127.0.0.1:PORT/up?a=b", "redirect"]
    {
        let scratch = Scratch::new("upload-elsewhere");
        Served::new(&scratch);
        let other = Listener::on("127.0.0.1:0", |port| {
            move |request: &str| match path_of(request).starts_with("/token") {
                true => answer("200 OK", "", r#"{"token":"T0KEN"}"#),
                false => bearer_challenge(&format!("http://127.0.0.1:{port}/token")),
            }
        });
        let to = location.replace("PORT", &other.port.to_string());
        let other_port = other.port;
        let registry = Listener::start(move |request| match request.split(' ').next().unwrap() {
            _ if !is_authorized(request) => basic_challenge(),
            "HEAD" => "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into(),
            "POST" if to == "redirect" => answer("202 Accepted", "location: /up\r\n", ""),
            "POST" => answer("202 Accepted", &format!("location: {to}\r\n"), ""),
            _ => found_at(&format!("http://127.0.0.1:{other_port}/up")),
        });
        let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
        let args = ["pull", "-q", PLAIN, "--retries", "0", "--creds", "user:secret", "oci:image", &name];
        let output = scratch.run(&args);
        assert_eq!(output.status.code(), Some(1), "{location}: {}", stderr(&output));
        assert!(other.count("PUT /up") > 0, "{location}: {:?} {}", other.requests(), stderr(&output));
        other.knows_nothing(location);
    }
}

#[test]
fn a_mirror_gets_no_credentials_that_were_given_for_the_registry() {
    let scratch = Scratch::new("mirror-credentials");
    let served = Arc::new(Served::new(&scratch));
    let mirror = Listener::start(|_| basic_challenge());
    let moved = Listener::start(|_| basic_challenge());
    let registry = Listener::start(move |request| match is_authorized(request) {
        true => served.reply(&path_of(request)),
        false => basic_challenge(),
    });
    let conf = format!(
        "[[registry]]\nlocation = \"127.0.0.1:{0}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{1}\"\ninsecure = true\n\
         [[registry]]\nprefix = \"moved.example\"\nlocation = \"127.0.0.1:{2}\"\ninsecure = true\n",
        registry.port, mirror.port, moved.port
    );
    fs::write(scratch.join("registries.conf"), conf).unwrap();
    let run = |name: &str, bundle: &str| {
        Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(["unpack", "--retries", "0", "--creds", "user:secret", name, bundle])
            .current_dir(scratch.path())
            .env("CONTAINERS_REGISTRIES_CONF", "registries.conf")
            .env("REGISTRY_AUTH_FILE", "none.json")
            .output()
            .unwrap()
    };
    let output = run(&format!("docker://127.0.0.1:{}/test:v1", registry.port), "bundle");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!mirror.requests().is_empty());
    mirror.knows_nothing("mirror");
    let output = run("docker://moved.example/test:v1", "other");
    assert!(!output.status.success() && !moved.requests().is_empty(), "{}", stderr(&output));
    moved.knows_nothing("another location");
    // What a file of credentials has for the mirror is for the mirror.
    let auths = json!({ "auths": { (format!("127.0.0.1:{}", mirror.port)): { "auth": "bTptaXJyb3I=" } } });
    fs::write(scratch.join("none.json"), auths.to_string()).unwrap();
    run(&format!("docker://127.0.0.1:{}/test:v1", registry.port), "again");
    assert!(mirror.requests().iter().any(|request| request.contains("bTptaXJyb3I=")));
}

#[test]
fn a_token_servers_redirect_gets_no_credentials() {
    // A password goes in a header, a refresh token in the body.
    for (auth, status) in [
        (json!({ "auth": BASIC }), "307 Temporary Redirect"),
        (json!({ "auth": BASIC }), "302 Found"),
        (json!({ "identitytoken": "refresh-secret" }), "307 Temporary Redirect"),
        (json!({ "identitytoken": "refresh-secret" }), "308 Permanent Redirect"),
        (json!({ "identitytoken": "refresh-secret" }), "302 Found"),
        (json!({ "identitytoken": "refresh-secret" }), "303 See Other"),
    ] {
        let scratch = Scratch::new("token-redirect");
        let other = Listener::start(|_| answer("200 OK", "", r#"{"token":"of another"}"#));
        let to = format!("location: http://127.0.0.1:{}/token\r\n", other.port);
        let tokens = Listener::start(move |_| answer(status, &to, ""));
        let realm = format!("http://127.0.0.1:{}/token?account=a", tokens.port);
        let registry = Listener::start(move |_| bearer_challenge(&realm));
        let auths = json!({ "auths": { (format!("127.0.0.1:{}", registry.port)): auth } });
        fs::write(scratch.join("auth.json"), auths.to_string()).unwrap();
        let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
        let output = scratch.run(&["inspect", PLAIN, "--retries", "0", "--authfile", "auth.json", &name]);
        assert!(!output.status.success(), "{status}");
        let asked = tokens.requests();
        assert!(asked.iter().all(|asked| asked.contains("account=a")), "{asked:?}");
        assert!(
            asked.iter().any(|asked| asked.contains(BASIC) || asked.contains("refresh-secret")),
            "{asked:?}"
        );
        other.knows_nothing(&format!("{auth} {status}"));
    }
}

#[test]
fn a_login_that_another_host_answers_is_none() {
    let scratch = Scratch::new("login-elsewhere");
    let other = Listener::start(|_| answer("200 OK", "", "{}"));
    let to = format!("http://127.0.0.1:{}/v2/", other.port);
    let registry = Listener::start(move |_| found_at(&to));
    let host = format!("127.0.0.1:{}", registry.port);
    let args = ["login", &host, "-u", "user", "-p", "secret", PLAIN, "--authfile", "auth.json"];
    let output = scratch.run(&args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("which is not for our credentials"), "{}", stderr(&output));
    assert_eq!(names(scratch.path()), [""; 0]);
    other.knows_nothing("login");
}

#[test]
fn credentials_of_a_registry_with_tls_do_not_go_over_plain_http() {
    let scratch = Scratch::new("realm-downgrade");
    small(&scratch);
    if !certificates(scratch.path()) {
        return;
    }
    let tokens = Listener::start(|_| answer("200 OK", "", r#"{"token":"T"}"#));
    let more = format!(
        "  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\nauth:\n  token:\n    realm: http://127.0.0.1:{1}/token\n    service: s\n    issuer: i\n    rootcertbundle: {0}/ca.crt",
        scratch.path().display(),
        tokens.port
    );
    let Some(server) = Server::start(&scratch, &more) else { return };
    let error = stderr(&scratch.run(&["inspect", PLAIN, "--creds", "user:secret", &server.name()]));
    assert!(error.contains("which is not https"), "{error}");
    assert_eq!(tokens.requests(), [""; 0]);
    // Without credentials there is nothing to lose.
    let error = stderr(&scratch.run(&["inspect", PLAIN, "--authfile", "none.json", &server.name()]));
    assert!(error.contains("answers 401"), "{error}");
    assert_eq!(tokens.count("GET /token?service=s"), 1);
    tokens.knows_nothing("no credentials");
    // Neither does a checked registry lead to plain HTTP.
    let error =
        stderr(&scratch.run(&["inspect", "--cert-dir", ".", "--authfile", "none.json", &server.name()]));
    assert!(error.contains("which is not https"), "{error}");
    assert_eq!(tokens.requests().len(), 1);
}

fn small(scratch: &Scratch) {
    crate::registry::small_image(scratch);
}

#[test]
fn secrets_are_not_in_messages() {
    let scratch = Scratch::new("secret-messages");
    Served::new(&scratch);
    let registry = Listener::on("127.0.0.1:0", |port| {
        move |request: &str| match request.split(' ').next().unwrap() {
            "HEAD" => "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".into(),
            "POST" => {
                let to = format!("location: http://me:s3cret@127.0.0.1:{port}/up?_state=s3cret\r\n");
                answer("202 Accepted", &to, "")
            }
            _ => answer("500 Internal Server Error", "", ""),
        }
    });
    let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
    let output = scratch.run(&["--debug", "pull", PLAIN, "--retries", "1", "oci:image", &name]);
    assert!(
        stderr(&output).contains("answers 500") && !stderr(&output).contains("s3cret"),
        "{}",
        stderr(&output)
    );
    let output = Command::new(env!("CARGO_BIN_EXE_tare-image"))
        .args(["inspect", "docker://registry.invalid/a:b"])
        .env("HTTPS_PROXY", "bad scheme://user:s3cret@proxy:1")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("is no address of a proxy"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("s3cret"), "{}", stderr(&output));
}
