//! Calls of the runtime, and what it answered.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Bundle, timeout, wait_until};

/// Seconds; longer than anything a runtime does here.
const LONGEST: u64 = 30;

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The exit code; minus the signal's number where one ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// The message of the only line on standard error.
    #[track_caller]
    pub(crate) fn message(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.contains("level=error")).collect();
        assert_eq!(lines.len(), 1, "not one error: {self:?}");
        let (_, quoted) = lines[0].split_once(" msg=").unwrap();
        // A single word stands without quotes.
        serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned())
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It failed with this code, and says this.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &str) -> Self {
        let told = self.told().contains(words);
        assert!(self.code == code && told, "not code {code} and {words:?}: {self:?}");
        self
    }

    /// Standard error, without the quoting of log records.
    pub(crate) fn told(&self) -> String {
        self.stderr.replace("\\\"", "\"")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output by line.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// A call that goes on.
pub(crate) struct Running {
    pub child: Child,
    stdout: File,
    stderr: File,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        // Files and no pipes: a container's process keeps them open.
        let (stdout, stderr) = (unnamed_file(), unnamed_file());
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")), stdout, stderr }
    }

    /// What it has said on standard output so far.
    pub(crate) fn said(&self) -> String {
        text(&self.stdout)
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Answer {
        let end = Instant::now() + timeout(LONGEST);
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("hangs: stdout {:?}, stderr {:?}", text(&self.stdout), text(&self.stderr));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(4));
        };
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let code = status.code().unwrap_or_else(|| -signal.unwrap_or(0));
        Answer { code, stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }
}

fn unnamed_file() -> File {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600);
    options.open(std::env::temp_dir()).unwrap()
}

fn text(file: &File) -> String {
    let mut bytes = Vec::new();
    // Opened anew: whoever writes shares our position.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for its end.
#[track_caller]
pub(crate) fn wait_for(command: &mut Command) -> Answer {
    Running::start(command).wait()
}

impl Bundle {
    /// The runtime in the bundle directory, with nothing on standard input.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.state_root()).args(&self.globals).args(args);
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub(crate) fn tare(&self, args: &[&str]) -> Answer {
        wait_for(&mut self.command(args))
    }

    /// The same by a shell, which may do something first: `"$@"` is the call.
    #[track_caller]
    pub(crate) fn tare_by(&self, script: &str, args: &[&str]) -> Answer {
        let call = self.command(args);
        let mut shell = Command::new("/bin/bash");
        shell.args(["-c", script, "bash"]).arg(call.get_program()).args(call.get_args());
        shell.current_dir(&self.dir).stdin(Stdio::null());
        wait_for(&mut shell)
    }

    #[track_caller]
    pub(crate) fn run(&self) -> Answer {
        self.tare(&["run", &self.id])
    }

    /// What the container's process prints; it must end well.
    #[track_caller]
    pub(crate) fn output(&self) -> String {
        self.run().ok().stdout
    }

    /// What a script prints as the container's process.
    #[track_caller]
    pub(crate) fn output_of(&mut self, script: &str) -> String {
        self.script(script).output()
    }

    #[track_caller]
    pub(crate) fn create(&self) -> Answer {
        self.tare(&["create", &self.id])
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Answer {
        self.tare(&["start", &self.id])
    }

    /// Created and started, with a process that stays.
    #[track_caller]
    pub(crate) fn up(&mut self) -> &mut Self {
        self.args(&["sleep", "1000"]);
        self.create().ok();
        self.start().ok();
        self
    }

    #[track_caller]
    pub(crate) fn exec(&self, args: &[&str]) -> Answer {
        self.tare(&[&["exec", &self.id], args].concat())
    }

    #[track_caller]
    pub(crate) fn kill(&self, signal: &str) -> Answer {
        self.tare(&["kill", &self.id, signal])
    }

    #[track_caller]
    pub(crate) fn delete(&self) -> Answer {
        self.tare(&["delete", &self.id])
    }

    #[track_caller]
    pub(crate) fn delete_force(&self) -> Answer {
        self.tare(&["delete", "--force", &self.id])
    }

    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        self.tare(&["state", &self.id]).ok().json()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// The container's first process, as the host numbers it.
    #[track_caller]
    pub(crate) fn pid(&self) -> String {
        self.state()["pid"].to_string()
    }

    pub(crate) fn wait_until_stopped(&self) {
        wait_until("the container stops", || self.status() == "stopped");
    }
}
