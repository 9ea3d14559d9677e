//! A peer that answers as it is told.

use super::*;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// A peer that says `words`, each after it has heard something, and then hangs up or stays silent.
fn peer(name: &str, words: Vec<Vec<u8>>, stays: bool) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tare-bus-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for word in words {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&word);
        }
        if stays {
            std::thread::sleep(Duration::from_secs(5));
        }
    });
    path
}

const WELCOME: &[u8] = b"DATA\r\nOK 0123\r\n";
const METHOD: Method<'_> = Method { destination: "a.b", path: "/a", interface: "a.b", name: "C" };

fn call(name: &str, words: Vec<Vec<u8>>, stays: bool) -> Result<Reply> {
    let path = peer(name, words, stays);
    let bus = Bus::connect(&path, false, Duration::from_millis(200));
    std::fs::remove_file(&path).unwrap();
    bus.and_then(|mut bus| bus.call(METHOD, &("x", 5_u32)))
}

/// An answer to the first call, with a body of the given signature.
fn message(kind: u8, body: &[u8], signature: &str) -> Vec<u8> {
    answer(1, kind, body, signature)
}

/// What a peer answers to the call of this number; `kind` 2 returns, 3 refuses.
pub(crate) fn answer(serial: u32, kind: u8, body: &[u8], signature: &str) -> Vec<u8> {
    let fields = vec![
        (REPLY_SERIAL, Variant::from(serial)),
        (ERROR_NAME, Variant::from("a.b.Failed")),
        (SENDER, Variant::from(":1.0")),
        (SIGNATURE, Variant::Signature(signature.try_into().unwrap())),
    ];
    bytes_of(kind, fields, body)
}

/// A signal of somebody, with a text as its body.
fn signal(interface: &str, sender: &str, text: &str) -> Vec<u8> {
    let body = to_bytes(Wire::new(LE, 0), &text).unwrap();
    let fields = vec![
        (PATH, Variant::ObjectPath(ObjectPath::try_from("/a").unwrap())),
        (INTERFACE, Variant::from(interface)),
        (MEMBER, Variant::from("Done")),
        (SENDER, Variant::from(sender)),
        (SIGNATURE, Variant::Signature("s".try_into().unwrap())),
    ];
    bytes_of(SIGNAL, fields, &body)
}

fn bytes_of(kind: u8, fields: Vec<(u8, Variant<'_>)>, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32;
    let mut bytes = to_bytes(Wire::new(LE, 0), &(b'l', kind, 0_u8, 1_u8, length, 9_u32, fields))
        .unwrap()
        .bytes()
        .to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn an_answer_is_read() {
    let body = to_bytes(Wire::new(LE, 0), &"hello").unwrap();
    let words = vec![WELCOME.to_vec(), message(METHOD_RETURN, &body, "s")];
    let answer = call("answer", words, true).unwrap().or_error().unwrap();
    assert_eq!(answer.read::<String>().unwrap(), "hello");
    assert!(answer.read::<(u32, zbus::OwnedObjectPath)>().is_err());
}

/// Connects to a bus at which somebody answers, after `before` and followed by `after`.
fn awaiting(name: &str, before: Vec<u8>, after: Vec<u8>) -> (Bus, Result<Reply>) {
    let hello = answer(1, METHOD_RETURN, b"", "");
    let called = [before, answer(2, METHOD_RETURN, b"", ""), after].concat();
    let path = peer(name, vec![WELCOME.to_vec(), hello, called], true);
    let mut bus = Bus::connect(&path, true, Duration::from_secs(2)).unwrap();
    std::fs::remove_file(&path).unwrap();
    bus.await_signal(Method { name: "Done", ..METHOD });
    let answer = bus.call(METHOD, &"x");
    (bus, answer)
}

#[test]
fn a_signal_is_believed_only_if_it_is_of_who_answers() {
    let strangers = |text| [signal("a.b", ":1.6", text), signal("x.y", ":1.0", text)].concat();
    let after = [strangers("later"), signal("a.b", ":1.0", "theirs")].concat();
    let (mut bus, answer) = awaiting("strangers", strangers("before"), after);
    answer.unwrap().or_error().unwrap();
    assert_eq!(bus.signal().unwrap().read::<String>().unwrap(), "theirs");
}

#[test]
fn what_strangers_send_without_end_is_not_kept() {
    let text = "x".repeat(LARGEST_SIGNAL);
    let before = [signal("x.y", ":1.6", &text), signal("a.b", ":1.6", &text)].concat().repeat(20);
    let (bus, answer) = awaiting("flood", before, Vec::new());
    answer.unwrap().or_error().unwrap();
    assert!(bus.signals.is_empty(), "{} are kept", bus.signals.len());
}

#[test]
fn who_sends_without_end_is_left_in_time() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    std::thread::spawn(move || while theirs.write_all(&signal("x.y", ":1.6", "x").repeat(64)).is_ok() {});
    let end = Instant::now() + Duration::from_millis(100);
    let (signals, awaited, owner) = (Default::default(), Some(METHOD), String::new());
    let mut bus = Bus { stream: ours, end, serial: 0, signals, awaited, owner, routed: true };
    assert_eq!(bus.signal().unwrap_err().to_string(), "no answer in time");
}

#[test]
fn a_refusal_is_told_in_its_own_words() {
    let body = to_bytes(Wire::new(LE, 0), &"No such thing.").unwrap();
    let words = vec![WELCOME.to_vec(), message(ERROR, &body, "s")];
    let error = call("refusal", words, true).unwrap().or_error().unwrap_err();
    assert_eq!(error.to_string(), "No such thing (Failed)");
}

#[test]
fn a_peer_that_fails_us_is_left_in_time() {
    let huge = [b"l\x02\0\x01".as_slice(), &[0xff; 12]].concat();
    for (name, words, stays, want) in [
        ("silent", vec![], true, "no answer in time"),
        ("gone", vec![], false, "connect to "),
        ("closed", vec![b"DATA\r\n".to_vec()], false, "closed the connection"),
        ("rejects", vec![b"REJECTED EXTERNAL\r\n".to_vec()], true, "does not let us in"),
        ("mute", vec![WELCOME.to_vec()], true, "no answer in time"),
        ("cut", vec![WELCOME.to_vec(), b"l\x02\0\x01\0".to_vec()], false, "closed the connection"),
        ("huge", vec![WELCOME.to_vec(), huge], true, "not a D-Bus message"),
        ("noise", vec![WELCOME.to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec()], true, "not a D-Bus message"),
        (
            "torn",
            vec![WELCOME.to_vec(), message(METHOD_RETURN, b"", "s")[..40].to_vec()],
            false,
            "closed the connection",
        ),
    ] {
        let start = Instant::now();
        let error = match call(name, words, stays) {
            Err(error) => error.to_string(),
            Ok(answer) => panic!("{name}: {answer:?}"),
        };
        assert!(error.contains(want), "{name}: {error}");
        assert!(start.elapsed() < Duration::from_secs(2), "{name}");
    }
    let error = Bus::connect(Path::new("/nowhere"), false, Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.to_string(), "connect to /nowhere: no such file or directory");
}
