//! Files of credentials, certificates and settings that are no such files, helpers that misbehave, and lists without end:
//! each is told in time, and no error has a secret in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::credentials::{Listener, Served, header, path_of};
use crate::registry::{Server, answer, certificates};
use crate::skip::skip;
use crate::support::*;

/// What must be in no message.
const SECRET: &str = "hunter2";

/// Runs tare-image with the helpers in `bin`, and with these variables; it must end by itself, soon.
fn run(scratch: &Scratch, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let path = format!("{}:{}", scratch.join("bin").display(), std::env::var("PATH").unwrap());
    let began = Instant::now();
    let output = Command::new("timeout")
        .args(["-s", "KILL", "40", env!("CARGO_BIN_EXE_tare-image")])
        .args(args)
        .env("PATH", path)
        .env("HOME", scratch.path())
        .envs(variables.iter().copied())
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{args:?}: hangs: {}", stderr(&output));
    assert!(!stderr(&output).contains(SECRET), "{args:?}: {}", stderr(&output));
    output
}

fn helper(scratch: &Scratch, name: &str, script: &str) {
    fs::create_dir_all(scratch.join("bin")).unwrap();
    let path = scratch.join("bin").join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A registry that wants user:secret.
fn registry(scratch: &Scratch) -> Listener {
    let served = Served::new(scratch);
    Listener::start(move |request| match header(request, "authorization") {
        Some(_) if path_of(request) == "/v2/" => answer("200 OK", "", "{}"),
        Some(_) => served.reply(&path_of(request)),
        None => answer("401 Unauthorized", "www-authenticate: Basic realm=\"r\"\r\n", ""),
    })
}

fn inspect(scratch: &Scratch, port: u16, file: &str, variables: &[(&str, &str)]) -> Output {
    let name = format!("docker://127.0.0.1:{port}/test:v1");
    let args =
        ["inspect", "--tls-verify=false", "--retries", "0", "--timeout", "3", "--authfile", file, &name];
    run(scratch, &args, variables)
}

/// What a file must not be, by the name of the file it makes.
fn no_files(scratch: &Scratch) -> Vec<&'static str> {
    mkfifo(&scratch.join("fifo"), Mode::S_IRWXU).unwrap();
    symlink("fifo", scratch.join("link-to-fifo")).unwrap();
    fs::create_dir(scratch.join("directory")).unwrap();
    symlink("/dev/zero", scratch.join("zero")).unwrap();
    symlink("/proc/self/pagemap", scratch.join("pagemap")).unwrap();
    fs::File::create(scratch.join("huge")).unwrap().set_len(1 << 40).unwrap();
    vec!["fifo", "link-to-fifo", "directory", "zero", "pagemap", "huge"]
}

#[test]
fn what_is_no_file_of_credentials_is_told_and_not_waited_for() {
    let scratch = Scratch::new("no-auth-file");
    let server = registry(&scratch);
    for file in no_files(&scratch) {
        let output = inspect(&scratch, server.port, file, &[]);
        let error = stderr(&output);
        assert!(
            !output.status.success() && error.contains(&format!("read credentials in {file}: ")),
            "{error}"
        );
        // A pagemap is read in units of eight bytes, and an odd limit ends it.
        let told = ["not a regular file", "larger than 16777216 bytes", "read pagemap: invalid argument"];
        let told = told.iter().any(|words| error.contains(words));
        assert!(told, "{file}: {error}");
        let login = ["login", "--tls-verify=false", "-u", "user", "-p", "secret", "--authfile", file];
        let output = run(&scratch, &[&login[..], &[&format!("127.0.0.1:{}", server.port)]].concat(), &[]);
        assert!(!output.status.success(), "{file}");
    }
    assert!(!names(scratch.path()).iter().any(|name| name.contains("partial") || name.contains("tare-")));
}

#[test]
fn what_is_no_file_of_settings_is_told_and_not_waited_for() {
    let scratch = Scratch::new("no-settings");
    let server = registry(&scratch);
    let name = format!("docker://127.0.0.1:{}/test:v1", server.port);
    for file in no_files(&scratch) {
        let inspect = ["inspect", "--retries", "0", "--timeout", "3"];
        let certificates = scratch.join("certs");
        for (certificate, words) in
            [("a.crt", "certificate certs/a.crt: "), ("a.cert", "certificate certs/a.cert: ")]
        {
            let _ = fs::remove_dir_all(&certificates);
            fs::create_dir(&certificates).unwrap();
            symlink(Path::new("..").join(file), certificates.join(certificate)).unwrap();
            let output = run(&scratch, &[&inspect[..], &["--cert-dir", "certs", &name]].concat(), &[]);
            assert!(
                stderr(&output).contains(words) && !output.status.success(),
                "{file}: {}",
                stderr(&output)
            );
        }
        for variable in ["CONTAINERS_REGISTRIES_CONF", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            let value = if variable == "SSL_CERT_DIR" { "certs" } else { file };
            // Whatever of it is a directory or huge: it ends.
            let output = run(&scratch, &[&inspect[..], &[&name]].concat(), &[(variable, value)]);
            assert!(!output.status.success(), "{variable} {file}");
        }
    }
}

#[test]
fn an_empty_name_of_a_helper_is_none() {
    let scratch = Scratch::new("no-helper");
    let server = registry(&scratch);
    let host = format!("127.0.0.1:{}", server.port);
    let auths = format!(r#""auths":{{"{host}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}"#);
    for more in [
        r#""credsStore":"""#.to_owned(),
        r#""credsStore":null"#.to_owned(),
        format!(r#""credHelpers":{{"{host}":""}}"#),
        format!(r#""credHelpers":{{"{host}":null}},"credsStore":"""#),
        r#""credHelpers":null"#.to_owned(),
    ] {
        fs::write(scratch.join("auth.json"), format!("{{{auths},{more}}}")).unwrap();
        let output = inspect(&scratch, server.port, "auth.json", &[]);
        assert!(output.status.success(), "{more}: {}", stderr(&output));
        // New credentials go to the file.
        let login =
            ["login", "--tls-verify=false", "-u", "user", "-p", "secret", "--authfile", "auth.json", &host];
        let output = run(&scratch, &login, &[]);
        assert!(stderr(&output).contains("credentials are in auth.json"), "{more}: {}", stderr(&output));
    }
}

#[test]
fn a_helper_may_do_what_it_likes() {
    let scratch = Scratch::new("bad-helper");
    let server = registry(&scratch);
    helper(&scratch, "good", r#"echo '{"Username":"user","Secret":"hunter2"}'"#);
    // Its child keeps the pipe open.
    helper(&scratch, "hangs", "sleep 20 & sleep 20");
    helper(&scratch, "closes", "exec >&-; exec sleep 20");
    helper(&scratch, "floods", "exec yes");
    helper(&scratch, "none", "echo credentials not found in native keychain; exit 1");
    helper(&scratch, "fails", "echo the keychain is locked; exit 1");
    helper(&scratch, "leaks", r#"echo '{"Username":"user","Secret":"hunter2"}'; exit 1"#);
    helper(&scratch, "wrong", r#"echo '{"Username":["hunter2"],"Secret":"hunter2"}'"#);
    helper(&scratch, "word", r#"echo '"hunter2"'"#);
    helper(&scratch, "silent", "");
    for (name, words) in [
        ("good", ""),
        ("hangs", "it has not answered in 3 seconds"),
        ("closes", "it has not answered in 3 seconds"),
        ("floods", "it prints more than 1048576 bytes"),
        ("none", "asks for a user and a password"),
        ("fails", "docker-credential-fails: it failed: the keychain is locked"),
        ("leaks", "docker-credential-leaks: it failed\n"),
        ("wrong", "a value of the wrong type"),
        ("word", "a value of the wrong type"),
        ("silent", "answer of docker-credential-silent: "),
        ("missing", "docker-credential-missing: no such file"),
        ("../../bin/sh", "is no name of a program"),
        ("..", "is no name of a program"),
        ("a b", "is no name of a program"),
        ("a\\u0000b", "is no name of a program"),
    ] {
        for file in [
            format!(r#"{{"credsStore":"{name}"}}"#),
            format!(r#"{{"credHelpers":{{"127.0.0.1:{}":"{name}"}}}}"#, server.port),
        ] {
            fs::write(scratch.join("auth.json"), file).unwrap();
            let output = inspect(&scratch, server.port, "auth.json", &[]);
            assert_eq!(output.status.success(), words.is_empty(), "{name}: {}", stderr(&output));
            assert!(stderr(&output).contains(words), "{name}: {}", stderr(&output));
        }
    }
}

#[test]
fn no_error_about_a_file_of_credentials_has_a_secret_in_it() {
    let scratch = Scratch::new("secret-errors");
    let server = registry(&scratch);
    let host = format!("127.0.0.1:{}", server.port);
    for text in [
        format!(r#"{{"auths":{{"{host}":"hunter2"}}}}"#),
        format!(r#"{{"auths":{{"{host}":{{"auth":["hunter2"]}}}}}}"#),
        format!(r#"{{"auths":{{"{host}":{{"auth":"hunter2"}}}}}}"#),
        r#"{"auths":"hunter2"}"#.to_owned(),
        r#""hunter2""#.to_owned(),
        "hunter2".to_owned(),
        r#"{"hunter2"#.to_owned(),
    ] {
        fs::write(scratch.join("auth.json"), &text).unwrap();
        let output = inspect(&scratch, server.port, "auth.json", &[]);
        assert!(
            !output.status.success() && stderr(&output).contains("auth.json: "),
            "{text}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_list_of_tags_has_an_end() {
    let scratch = Scratch::new("endless-tags");
    let list = |reply: Box<dyn Fn(usize) -> (String, String) + Send + Sync>| {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let server = Listener::start(move |_| {
            let (link, tags) = reply(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            let link = if link.is_empty() { link } else { format!("link: {link}\r\n") };
            answer("200 OK", &link, &format!("{{\"tags\":{tags}}}"))
        });
        let name = format!("docker://127.0.0.1:{}/test", server.port);
        let output = run(&scratch, &["list", "--tls-verify=false", "--retries", "0", &name], &[]);
        (output, server.requests().len())
    };
    let page = |number: usize| format!("</v2/test/tags/list?last={number}>; rel=\"next\"");
    let (output, _) = list(Box::new(move |number| match number {
        0 => ("<https://elsewhere.invalid/x?last=1>; rel=\"next\"".into(), r#"["a","b"]"#.into()),
        1 => ("</v2/test/tags/list?last=next>; rel=\"prev\"".into(), r#"["c"]"#.into()),
        _ => (String::new(), "[]".into()),
    }));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\nb\nc\n", "{}", stderr(&output));
    // The same page for ever; the same tags under ever new links; empty pages for ever; new tags for ever.
    for (reply, words) in [
        (
            Box::new(move |_| (page(1), r#"["a"]"#.into())) as Box<dyn Fn(usize) -> _ + Send + Sync>,
            "in a circle",
        ),
        (Box::new(move |at| (page(at), r#"["a","b"]"#.into())), "in a circle"),
        (Box::new(move |at| (page(at), "null".into())), "more than 1000 pages"),
        (Box::new(move |at| (page(at), format!("[\"t{at}\"]"))), "more than 1000 pages"),
        (
            Box::new(move |at| (page(at), format!("[\"{at}{}\"]", "x".repeat(3 << 20)))),
            "more than 67108864 bytes",
        ),
    ] {
        let (output, requests) = list(reply);
        assert!(!output.status.success() && stderr(&output).contains(words), "{words}: {}", stderr(&output));
        assert!(requests <= 1001, "{requests}");
    }
}

#[test]
fn a_client_certificate_is_shown_to_the_registry_that_asks_for_one() {
    let scratch = Scratch::new("client-certificate");
    image(&scratch, &[&[file("a", "x")]]);
    if !certificates(scratch.path()) {
        return;
    }
    let script = "set -e
        openssl req -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /CN=client
        openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out old.cert -days 2
        openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.cert -days 2 -extfile ext
        openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.cert -days 2 -subj /CN=other";
    let made = Command::new("sh").arg("-c").arg(script).current_dir(scratch.path()).output().unwrap();
    if !made.status.success() {
        return skip(&format!("needs openssl: {}", stderr(&made)));
    }
    let path = |name: &str| scratch.join(name).display().to_string();
    let more = format!(
        "  tls:\n    certificate: {}\n    key: {}\n    clientcas:\n      - {}",
        path("server.crt"),
        path("server.key"),
        path("ca.crt")
    );
    let Some(server) = Server::start(&scratch, &more) else { return };
    let certs = scratch.join("certs");
    let inspect = |files: &[(&str, &str)]| {
        let _ = fs::remove_dir_all(&certs);
        fs::create_dir(&certs).unwrap();
        for (from, to) in [&[("ca.crt", "ca.crt")], files].concat() {
            fs::copy(scratch.join(from), certs.join(to)).unwrap();
        }
        let to = ["inspect", "--retries", "0", "--timeout", "5", "--cert-dir", "certs", &server.name()];
        stderr(&run(&scratch, &to, &[]))
    };
    // It is let in: the registry knows no such image. One certificate is of version 1, as openssl makes it.
    for certificate in ["client.cert", "old.cert"] {
        let error = inspect(&[(certificate, "client.cert"), ("client.key", "client.key")]);
        assert!(error.contains("answers 404 (not found)"), "{certificate}: {error}");
    }
    fs::write(scratch.join("text"), "no key").unwrap();
    let hint = "hint: name a directory with client.cert and client.key with --cert-dir";
    for (files, words) in [
        (&[][..], hint),
        (&[("other.cert", "client.cert"), ("other.key", "client.key")], hint),
        (&[("client.cert", "client.cert")], "key certs/client.key: open certs/client.key: no such file"),
        (&[("client.key", "client.key")], hint),
        (
            &[("client.cert", "client.cert"), ("other.key", "client.key")],
            "the client certificate and its key do not belong together",
        ),
        (&[("client.cert", "client.cert"), ("text", "client.key")], "key certs/client.key: "),
        (&[("text", "client.cert"), ("client.key", "client.key")], "certificate certs/client.cert: "),
    ] {
        let error = inspect(files);
        assert!(error.contains(words), "{files:?}: {error}");
        assert!(error.lines().count() <= 2, "{files:?}: {error}");
    }
}
