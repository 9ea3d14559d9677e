//! What registries and token servers of different makers answer, each as the specifications allow it.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::credentials::{Listener, Served, header, path_of};
use crate::registry::answer;
use crate::skip::skip;
use crate::support::*;

const PLAIN: &str = "--tls-verify=false";

fn pull(scratch: &Scratch, from: &str, to: &str) -> String {
    let output = scratch.run(&["pull", "-q", PLAIN, "--retries", "2", "--timeout", "5", from, to]);
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output)
}

fn empty(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: 0\r\n\r\n")
}

/// What a tag names is asked for, and nothing that the store has; a registry on this machine that may speak plain HTTP is
/// not asked first whether it speaks TLS.
#[test]
fn a_known_image_takes_one_request_on_one_connection() {
    let scratch = Scratch::new("one-request");
    let served = Served::new(&scratch);
    let registry = Listener::start(move |request| served.reply(&path_of(request)));
    let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
    let asked = |args: &[&str]| {
        let before = (registry.requests().len(), registry.connections());
        let common = [PLAIN, "--retries", "0", "--store", "store", "--overlay=files", &name];
        let output = scratch.run(&[&args[..1], &["-q"], &common, &args[1..]].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        (registry.requests().len() - before.0, registry.connections() - before.1)
    };
    // The manifest, the configuration, the layer. This server closes each connection.
    assert_eq!(asked(&["pull"]), (3, 3));
    assert_eq!(asked(&["pull"]), (1, 1));
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    // The store knows it as a pulled image, and then by a bundle alone.
    assert_eq!(asked(&["unpack", "first"]), (1, 1));
    fs::remove_dir_all(scratch.join("store/images")).unwrap();
    assert_eq!(asked(&["unpack", "second"]), (1, 1));
    assert!(registry.requests().last().unwrap().starts_with("GET /v2/test/manifests/v1 "));
    let config = |bundle: &str| fs::read(scratch.join(bundle).join("config.json")).unwrap();
    assert_eq!(config("first"), config("second"));
    // What is not what its digest says is asked for.
    for entry in fs::read_dir(scratch.join("store/bundles")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let other = text.replace("linux", "Linux");
        assert_ne!(text, other);
        fs::write(&path, other).unwrap();
    }
    assert_eq!(asked(&["unpack", "third"]), (2, 2));
    assert_eq!(config("first"), config("third"));
    for bundle in ["first", "second", "third"] {
        assert!(scratch.run(&["remove", bundle]).status.success());
    }
}

#[test]
fn an_upload_goes_where_a_relative_location_says() {
    for (location, expected) in [
        ("uuid-1?_state=a%3D", "/v2/a/b/blobs/uploads/uuid-1?_state=a%3D&digest=sha256:"),
        ("./uuid-1", "/v2/a/b/blobs/uploads/uuid-1?digest=sha256:"),
        ("../up", "/v2/a/b/blobs/up?digest=sha256:"),
        ("/up", "/up?digest=sha256:"),
        ("?id=5", "/v2/a/b/blobs/uploads/?id=5&digest=sha256:"),
        ("HTTP://127.0.0.1:PORT/up", "/up?digest=sha256:"),
        ("//127.0.0.1:PORT/up", "/up?digest=sha256:"),
    ] {
        let scratch = Scratch::new("location");
        Served::new(&scratch);
        let registry = Listener::on("127.0.0.1:0", |port| {
            let to = location.replace("PORT", &port.to_string());
            move |request: &str| match request.split(' ').next().unwrap() {
                "HEAD" => empty("404 Not Found", ""),
                "POST" => empty("202 Accepted", &format!("Location: {to}\r\n")),
                _ => empty("201 Created", ""),
            }
        });
        pull(&scratch, "oci:image", &format!("docker://127.0.0.1:{}/a/b:v1", registry.port));
        let requests = registry.requests();
        let put = requests.iter().find(|request| request.starts_with("PUT")).unwrap();
        assert!(path_of(put).starts_with(expected), "{location}: {put}");
    }
    for bad in ["ftp://127.0.0.1/x", "http://", "", "http://a b/"] {
        let scratch = Scratch::new("location-bad");
        Served::new(&scratch);
        let to = format!("location: {bad}\r\n");
        let registry = Listener::start(move |request| match request.split(' ').next().unwrap() {
            "HEAD" => empty("404 Not Found", ""),
            "POST" if bad.is_empty() => empty("202 Accepted", ""),
            "POST" => empty("202 Accepted", &to),
            _ => empty("500 Internal Server Error", ""),
        });
        let name = format!("docker://127.0.0.1:{}/a/b:v1", registry.port);
        let error = stderr(&scratch.run(&["pull", "-q", PLAIN, "--retries", "0", "oci:image", &name]));
        assert!(error.contains("where a blob goes"), "{bad}: {error}");
        assert_eq!(registry.count("PUT"), 0);
    }
}

#[test]
fn a_blob_that_may_not_be_mounted_is_uploaded() {
    for refusal in
        ["401 Unauthorized", "403 Forbidden", "404 Not Found", "400 Bad Request", "500 Internal Server Error"]
    {
        let scratch = Scratch::new("mount-refused");
        let served = Arc::new(Served::new(&scratch));
        let registry = Listener::start(move |request| {
            let path = path_of(request);
            match request.split(' ').next().unwrap() {
                "GET" => served.reply(&path),
                "HEAD" => empty("404 Not Found", ""),
                "POST" if path.contains("mount=") => empty(refusal, ""),
                "POST" => empty("202 Accepted", "location: /up\r\n"),
                _ => empty("201 Created", ""),
            }
        });
        let name = |repository: &str| format!("docker://127.0.0.1:{}/{repository}:v1", registry.port);
        pull(&scratch, &name("from"), &name("to"));
        assert_eq!(registry.count("POST /v2/to/blobs/uploads/?mount=sha256:"), 2, "{refusal}");
        assert_eq!(registry.count("PUT /up?digest=sha256:"), 2, "{refusal}");
        assert_eq!(registry.count("PUT /v2/to/manifests/v1"), 1, "{refusal}");
    }
}

#[test]
fn a_token_server_that_is_busy_is_asked_again() {
    for busy in ["429 Too Many Requests", "503 Service Unavailable", "500 Internal Server Error"] {
        let scratch = Scratch::new("token-busy");
        let served = Arc::new(Served::new(&scratch));
        let asked = AtomicUsize::new(0);
        let registry = Listener::on("127.0.0.1:0", |port| {
            move |request: &str| match header(request, "authorization") {
                _ if path_of(request).starts_with("/token") => match asked.fetch_add(1, Ordering::Relaxed) {
                    0 | 1 => empty(busy, "retry-after: 0\r\n"),
                    _ => answer("200 OK", "", r#"{"token":"T"}"#),
                },
                Some(_) => served.reply(&path_of(request)),
                None => {
                    let realm =
                        format!("www-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\"\r\n");
                    empty("401 Unauthorized", &realm)
                }
            }
        });
        let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
        pull(&scratch, &name, "oci:copy");
        assert_eq!(registry.count("GET /token"), 3, "{busy}");
        // Busy for ever is told as that, and not as a refusal.
        let busy_for_ever = Listener::on("127.0.0.1:0", |port| {
            move |request: &str| match path_of(request).starts_with("/token") {
                true => empty(busy, "retry-after: 0\r\n"),
                false => {
                    let realm =
                        format!("www-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\"\r\n");
                    empty("401 Unauthorized", &realm)
                }
            }
        });
        let name = format!("docker://127.0.0.1:{}/test:v1", busy_for_ever.port);
        let error = stderr(&scratch.run(&["inspect", PLAIN, "--retries", "1", &name]));
        assert!(
            error.contains(&format!("the token server answers {}", &busy[..3])) && !error.contains("log in"),
            "{error}"
        );
        assert_eq!(busy_for_ever.count("GET /token"), 2);
    }
}

#[test]
fn a_token_stands_under_either_name() {
    for (body, token) in [
        (r#"{"token":"","access_token":"A"}"#, Some("Bearer A")),
        (r#"{"token":"T","access_token":""}"#, Some("Bearer T")),
        (r#"{"token":"T","access_token":"A"}"#, Some("Bearer T")),
        (r#"{"token":null,"access_token":"A"}"#, Some("Bearer A")),
        (r#"{"access_token":"A","expires_in":"60"}"#, Some("Bearer A")),
        (r#"{"token":"","access_token":""}"#, None),
        ("{}", None),
    ] {
        let scratch = Scratch::new("token-names");
        let served = Arc::new(Served::new(&scratch));
        let registry = Listener::on("127.0.0.1:0", |port| {
            move |request: &str| match header(request, "authorization") {
                _ if path_of(request).starts_with("/token") => answer("200 OK", "", body),
                Some(_) => served.reply(&path_of(request)),
                None => {
                    let realm =
                        format!("www-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\"\r\n");
                    empty("401 Unauthorized", &realm)
                }
            }
        });
        let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
        let output = scratch.run(&["pull", "-q", PLAIN, &name, "oci:copy"]);
        assert_eq!(output.status.success(), token.is_some(), "{body}: {}", stderr(&output));
        let sent = registry.requests().iter().filter_map(|request| header(request, "authorization")).next();
        assert_eq!(sent.as_deref(), token, "{body}");
    }
}

#[test]
fn a_content_type_counts_in_any_case() {
    for content_type in [
        "Application/Vnd.OCI.Image.Manifest.V1+JSON",
        "APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON; charset=utf-8",
        "Application/JSON",
        "Application/Octet-Stream",
    ] {
        let scratch = Scratch::new("content-type");
        let served = Arc::new(Served::new(&scratch));
        let manifest = served.manifest();
        let body = manifest.split_once("\r\n\r\n").unwrap().1.to_owned();
        let registry = Listener::start(move |request| match path_of(request) {
            path if path.contains("/manifests/") => {
                answer("200 OK", &format!("Content-Type: {content_type}\r\n"), &body)
            }
            path => served.reply(&path),
        });
        pull(&scratch, &format!("docker://127.0.0.1:{}/test:v1", registry.port), "oci:copy");
        let index = fs::read_to_string(scratch.join("copy/index.json")).unwrap();
        assert!(index.contains("application/vnd.oci.image.manifest.v1+json"), "{content_type}: {index}");
    }
}

#[test]
fn a_registry_may_have_an_ipv6_address() {
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("needs IPv6");
    }
    let scratch = Scratch::new("ipv6");
    let served = Arc::new(Served::new(&scratch));
    // The blobs are led to by an IPv6 literal too.
    let registry = Listener::on("[::1]:0", |port| {
        move |request: &str| match path_of(request) {
            path if header(request, "authorization").is_none() && !path.starts_with("/token") => {
                assert!(header(request, "host").unwrap().starts_with("[::1]:"), "{path}");
                empty(
                    "401 Unauthorized",
                    &format!("www-authenticate: Bearer realm=\"http://[::1]:{port}/token\"\r\n"),
                )
            }
            path if path.starts_with("/token") => answer("200 OK", "", r#"{"token":"T"}"#),
            path if path.starts_with("/v2/test/blobs/") => {
                let hex = path.rsplit_once(':').unwrap().1;
                empty("307 Temporary Redirect", &format!("location: http://[::1]:{port}/x/sha256:{hex}\r\n"))
            }
            path => served.reply(&path),
        }
    });
    let host = format!("[::1]:{}", registry.port);
    let auths = serde_json::json!({ "auths": { (host.as_str()): { "auth": "dXNlcjpzZWNyZXQ=" } } });
    fs::write(scratch.join("auth.json"), auths.to_string()).unwrap();
    let name = format!("docker://{host}/test:v1");
    let output = scratch.run(&["pull", "-q", PLAIN, "--authfile", "auth.json", &name, "oci:copy"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let token = registry.requests().into_iter().find(|request| request.starts_with("GET /token")).unwrap();
    assert!(token.contains("dXNlcjpzZWNyZXQ="), "{token}");
}

/// A server that sends these headers, and then a blank from time to time.
fn slow(status: &str, start: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: 100000\r\n{start}\r\n");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, head) = (client.unwrap(), head.clone());
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let _ = client.read(&mut [0; 8192]);
                let _ = client.write_all(head.as_bytes());
                while client.write_all(b" ").is_ok() {
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
            });
        }
    });
    port
}

#[test]
fn a_document_that_comes_byte_by_byte_is_not_waited_for() {
    let scratch = Scratch::new("slow-document");
    for (status, words) in [("200 OK", "more than 1 seconds for a document"), ("500 Oh", "answers 500")] {
        let port = slow(status, "content-type: application/vnd.oci.image.manifest.v1+json\r\n");
        let name = format!("docker://127.0.0.1:{port}/test:v1");
        for verb in ["inspect", "list"] {
            let began = std::time::Instant::now();
            let output = std::process::Command::new("timeout")
                .args([
                    "20",
                    env!("CARGO_BIN_EXE_tare-image"),
                    verb,
                    PLAIN,
                    "--retries",
                    "0",
                    "--timeout",
                    "1",
                ])
                .arg(&name)
                .current_dir(scratch.path())
                .output()
                .unwrap();
            let error = stderr(&output);
            assert!(error.contains(words), "{status} {verb}: {error} after {:?}", began.elapsed());
        }
    }
    // A token server is no better than a registry.
    let token = slow("200 OK", "content-type: application/json\r\n");
    let registry = Listener::start(move |_| {
        let realm = format!("www-authenticate: Bearer realm=\"http://127.0.0.1:{token}/token\"\r\n");
        empty("401 Unauthorized", &realm)
    });
    let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
    let output = std::process::Command::new("timeout")
        .args([
            "20",
            env!("CARGO_BIN_EXE_tare-image"),
            "inspect",
            PLAIN,
            "--retries",
            "0",
            "--timeout",
            "1",
            &name,
        ])
        .output()
        .unwrap();
    assert!(stderr(&output).contains("more than 1 seconds for a document"), "{}", stderr(&output));
}
