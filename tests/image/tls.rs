//! Which servers are trusted, and what is said of those that are not, or that speak no TLS.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::credentials::{Listener, Served};
use crate::registry::{Server, certificates, small_image};
use crate::skip::skip;
use crate::support::*;

/// Runs a script with openssl in `dir`; false, and a skipped test, where there is none.
fn openssl(dir: &Path, script: &str) -> bool {
    let Ok(output) = Command::new("sh").arg("-ec").arg(script).current_dir(dir).output() else {
        skip("needs sh");
        return false;
    };
    if !output.status.success() {
        skip(&format!("needs openssl: {}", stderr(&output)));
    }
    output.status.success()
}

/// As people do it for a registry of their own: the certificate says CA:TRUE.
fn self_signed(dir: &Path, name: &str, san: &str) -> bool {
    openssl(
        dir,
        &format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.crt -days 2 -subj /CN=registry -addext subjectAltName={san}"
        ),
    )
}

/// A registry with `oci:image` and this certificate.
fn server(scratch: &Scratch, name: &str) -> Option<Server> {
    let (certificate, key) = (scratch.join(&format!("{name}.crt")), scratch.join(&format!("{name}.key")));
    let more = format!("  tls:\n    certificate: {}\n    key: {}", certificate.display(), key.display());
    let server = Server::start(scratch, &more)?;
    server.fill(scratch, &[]).then_some(server)
}

/// Asks for the image where only the certificates of `trusted` are trusted, named by --cert-dir and by SSL_CERT_FILE.
fn inspect(scratch: &Scratch, server: &Server, trusted: &str) -> [Output; 2] {
    let dir = scratch.join("certs");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    fs::copy(scratch.join(trusted), dir.join("a.crt")).unwrap();
    let run = |args: &[&str], variable: &str| {
        Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(["inspect", "--retries", "0"])
            .args(args)
            .arg(server.name())
            .env(variable, dir.join("a.crt"))
            .current_dir(scratch.path())
            .output()
            .unwrap()
    };
    [run(&["--cert-dir", "certs"], "UNUSED"), run(&[], "SSL_CERT_FILE")]
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
    let scratch = Scratch::new("self-signed");
    small_image(&scratch);
    let dir = scratch.path();
    if !self_signed(dir, "own", "IP:127.0.0.1") || !self_signed(dir, "other", "IP:127.0.0.1") {
        return;
    }
    let Some(server) = server(&scratch, "own") else { return };
    for output in inspect(&scratch, &server, "own.crt") {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    // One of the same name that was not named is not.
    for output in inspect(&scratch, &server, "other.crt") {
        assert!(
            stderr(&output).contains("hint: name the registry's authority with --cert-dir"),
            "{}",
            stderr(&output)
        );
        assert!(!output.status.success());
    }
}

#[test]
fn a_servers_own_certificate_is_trusted_without_its_authority() {
    let scratch = Scratch::new("own-certificate");
    small_image(&scratch);
    if !certificates(scratch.path()) {
        return;
    }
    let Some(server) = server(&scratch, "server") else { return };
    for trusted in ["server.crt", "ca.crt"] {
        for output in inspect(&scratch, &server, trusted) {
            assert!(output.status.success(), "{trusted}: {}", stderr(&output));
        }
    }
}

#[test]
fn a_named_certificate_is_still_of_one_host_and_one_time() {
    let scratch = Scratch::new("named-wrong");
    small_image(&scratch);
    let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n\
        [p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=CA:TRUE\n";
    fs::write(scratch.join("ca.cnf"), config).unwrap();
    let expired = ": >index.txt; echo 01 >serial
        openssl req -new -newkey rsa:2048 -nodes -keyout expired.key -out expired.csr -subj /CN=registry
        openssl ca -batch -notext -config ca.cnf -extensions e -selfsign -keyfile expired.key -in expired.csr \
            -out expired.crt -startdate 20200101000000Z -enddate 20210101000000Z";
    let elsewhere = "IP:127.0.0.2,DNS:registry";
    if !openssl(scratch.path(), expired) || !self_signed(scratch.path(), "elsewhere", elsewhere) {
        return;
    }
    for (name, words) in [("elsewhere", "not valid for name"), ("expired", "has expired")] {
        let (certificate, key) = (scratch.join(&format!("{name}.crt")), scratch.join(&format!("{name}.key")));
        let more = format!("  tls:\n    certificate: {}\n    key: {}", certificate.display(), key.display());
        let Some(server) = Server::start(&scratch, &more) else { return };
        for output in inspect(&scratch, &server, &format!("{name}.crt")) {
            assert!(
                !output.status.success() && stderr(&output).contains(words),
                "{name}: {}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn a_named_file_of_certificates_is_there() {
    let scratch = Scratch::new("named-missing");
    let output = Command::new(env!("CARGO_BIN_EXE_tare-image"))
        .args(["inspect", "docker://registry.invalid/a:b"])
        .env("SSL_CERT_FILE", scratch.join("missing.crt"))
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("read the certificates of SSL_CERT_FILE"), "{}", stderr(&output));
}

#[test]
fn plain_http_where_tls_was_tried_is_told_at_once() {
    let scratch = Scratch::new("plain-http");
    Served::new(&scratch);
    let ours = Listener::start(|_| String::new());
    let theirs = Server::start(&scratch, "");
    // A server that answers the first record of TLS in plain text, and one that hangs up; the second is asked again.
    for (port, retries, words) in [
        (theirs.as_ref().map(|server| server.port), "5", "as by a server of plain HTTP"),
        (Some(ours.port), "0", "hangs up when it is spoken to in TLS"),
    ] {
        let Some(port) = port else { continue };
        let name = format!("docker://127.0.0.1:{port}/test:v1");
        for args in [
            &["inspect", "--retries", retries, &name][..],
            &["pull", "-q", "--retries", retries, "oci:image", &name],
            &[
                "login",
                "--retries",
                retries,
                &format!("127.0.0.1:{port}"),
                "-u",
                "u",
                "-p",
                "p",
                "--authfile",
                "a.json",
            ],
        ] {
            let begin = Instant::now();
            let error = stderr(&scratch.run(args));
            assert!(error.contains(words), "{error}");
            assert!(error.contains("hint: plain HTTP is accepted with --tls-verify=false"), "{error}");
            assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        }
    }
}
