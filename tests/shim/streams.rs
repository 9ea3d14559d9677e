//! Streams: nothing is lost, nobody stands still, and an exit is told after what was written.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::stat::Mode;

use super::Shim;
use super::client::Create;
use super::support::wait_until;

fn fifo(shim: &Shim, name: &str) -> PathBuf {
    let path = shim.bundle.dir.join(name);
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    path
}

fn create_with_stdout(shim: &Shim, path: &str) -> Create {
    Create { stdout: path.to_owned(), stderr: String::new(), ..shim.create() }
}

fn read_from(path: &PathBuf) -> File {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap()
}

/// Reads until the writers are gone.
fn read_all(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_was_written_before_the_end_is_read_whole_by_who_attaches_after_it() {
    let Some(mut shim) = Shim::new(&["sh", "-c", "echo the last word"]) else { return };
    let path = fifo(&shim, "out");
    let named = shim.named();
    shim.client.call("Create", &create_with_stdout(&shim, &path.to_string_lossy())).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0);
    assert_eq!(read_all(&mut read_from(&path)), b"the last word\n");
}

#[test]
fn a_slow_reader_holds_the_writer_and_the_exit_is_told_when_all_is_read() {
    // More than the pipe and the fifo hold.
    let Some(mut shim) = Shim::new(&["sh", "-c", "head -c 3000000 /dev/zero; exit 5"]) else { return };
    let path = fifo(&shim, "out");
    let named = shim.named();
    shim.client.call("Create", &create_with_stdout(&shim, &path.to_string_lossy())).unwrap();
    let mut reader = read_from(&path);
    shim.client.call("Start", &named).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(shim.state().status, 2, "it waits for the reader");
    let reader = std::thread::spawn(move || read_all(&mut reader).len());
    assert_eq!(shim.wait(), 5);
    shim.client.call("Delete", &named).unwrap();
    assert_eq!(reader.join().unwrap(), 3_000_000);
}

#[test]
fn a_file_gets_the_output_of_both_streams() {
    let Some(mut shim) = Shim::new(&["sh", "-c", "echo one; echo two >&2"]) else { return };
    let path = shim.bundle.dir.join("logs/both");
    let named = shim.named();
    shim.client.call("Create", &create_with_stdout(&shim, &format!("file://{}", path.display()))).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0);
    let mut words: Vec<String> = std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    words.sort();
    assert_eq!(words, ["one", "two"]);
}

fn logger(shim: &Shim, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = shim.bundle.dir.join("logger");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("binary://{}", path.display())
}

#[test]
fn a_logger_gets_the_output() {
    let Some(mut shim) = Shim::new(&["sh", "-c", "echo to the logger"]) else { return };
    let log = shim.bundle.dir.join("log");
    let uri = logger(
        &shim,
        &format!(
            "exec 5>&-; cat <&3 >{0}.part; echo $CONTAINER_ID >>{0}.part; mv {0}.part {0}",
            log.display()
        ),
    );
    let named = shim.named();
    shim.client.call("Create", &create_with_stdout(&shim, &uri)).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0);
    shim.client.call("Delete", &named).unwrap();
    wait_until("the logger has written", || log.exists());
    assert_eq!(std::fs::read_to_string(log).unwrap(), format!("to the logger\n{}\n", shim.bundle.id));
}

#[test]
fn a_logger_that_dies_stops_nobody() {
    let Some(mut shim) = Shim::new(&["sh", "-c", "sleep 0.5; head -c 1000000 /dev/zero && exit 6"]) else {
        return;
    };
    let uri = logger(&shim, "exit 1");
    let named = shim.named();
    shim.client.call("Create", &create_with_stdout(&shim, &uri)).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 6, "neither SIGPIPE nor a full pipe");
}

#[test]
fn a_terminal_that_is_closed_and_opened_again_goes_on() {
    let script = "echo one; exec </dev/null >/dev/null 2>&1; sleep 0.5; exec >/dev/console; echo two";
    let Some(mut shim) = Shim::new(&["sh", "-c", script]) else { return };
    shim.bundle.patch(|config| config["process"]["terminal"] = true.into());
    let (path, named) = (fifo(&shim, "out"), shim.named());
    let create = Create { terminal: true, ..create_with_stdout(&shim, &path.to_string_lossy()) };
    shim.client.call("Create", &create).unwrap();
    let mut reader = read_from(&path);
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0);
    shim.client.call("Delete", &named).unwrap();
    assert_eq!(String::from_utf8(read_all(&mut reader)).unwrap(), "one\r\ntwo\r\n");
}
