//! The network of a user's container: `pasta` or `slirp4netns`, a program that carries what the container sends and
//! gets through sockets of its own, so that nothing of the host's network is changed. It ends with this process,
//! however that ends.

use std::fs::{File, OpenOptions};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::namespace;
use super::ports::{Port, Protocol};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::filesystem::directory::Directory;
use crate::image::parallel::in_thread;

/// The device of the kernel that both use.
const DEVICE: &str = "/dev/net/tun";
/// What the program prints, in the container's directory.
const LOG: &str = "network.log";
/// How long it may take until the container has a route.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// Becomes a program, beside a child that kills it when standard input ends: with this process, however that ends. A
/// signal for the parent's end is lost to a program that changes its credentials.
const WATCH: &str = r#"exec 3<&0 </dev/null; (read -r end <&3; kill -KILL $$) & exec 3<&-; exec "$@""#;

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Pasta,
    Slirp4netns,
}

impl Program {
    /// The one of this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::Pasta, Self::Slirp4netns].into_iter().find(|program| program.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    fn path(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(self.name())).find(|path| path.is_file())
    }
}

/// The program that is there and can work; or why there is none.
///
/// # Errors
///
/// Where that cannot be found out.
pub(crate) fn find() -> Result<std::result::Result<Program, &'static str>> {
    let Some(program) = [Program::Pasta, Program::Slirp4netns].into_iter().find(|one| one.path().is_some())
    else {
        return Ok(Err("there is neither pasta (package passt) nor slirp4netns"));
    };
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(Ok(program)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM) => Ok(Err("this user may not open /dev/net/tun")),
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => Ok(Err("there is no /dev/net/tun")),
            _ => Err(error).context(format!("open {DEVICE}")),
        },
    }
}

/// The program at work; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct UserNetwork(Child);

impl Drop for UserNetwork {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Makes a network namespace in the container's directory `dir`, at the path `path`, connects it, and waits until it
/// has a route.
pub(crate) fn connect(program: Program, dir: &Directory, path: &Path, ports: &[Port]) -> Result<UserNetwork> {
    namespace::make(dir)?;
    let place = || format!("network {}", program.name());
    let namespace = File::open(path).with_context(place)?;
    within(&namespace, open_low_ports).with_context(place)?;
    let log = dir.path_of(LOG);
    let output = File::options().write(true).create(true).truncate(true).mode(0o600).open(&log);
    let output = output.with_context(|| format!("make {}", log.display()))?;
    let missing = || fail!(Kind::NotFound, "there is no program {}", program.name());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCH, "sh"]).arg(program.path().ok_or_else(missing)?);
    match program {
        Program::Pasta => pasta(&mut command, path, ports).with_context(place)?,
        Program::Slirp4netns => slirp4netns(&mut command, path, ports).with_context(place)?,
    }
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    let mut network = UserNetwork(command.spawn().with_context(place)?);
    let until = Instant::now() + PATIENCE;
    while !has_route(&namespace).with_context(place)? {
        if let Some(status) = network.0.try_wait().with_context(place)? {
            return Err(fail!(Kind::Child, "{status}: {}", last_words(&log))).with_context(place);
        }
        if Instant::now() > until {
            let seconds = PATIENCE.as_secs();
            return Err(fail!(
                Kind::System(Errno::ETIMEDOUT),
                "the container has no route after {seconds} seconds"
            ))
            .with_context(place);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(network)
}

/// What the host listens on itself is not the container's to reach.
fn pasta(command: &mut Command, path: &Path, ports: &[Port]) -> Result<()> {
    command.args(["--config-net", "--netns-only", "--no-map-gw", "--quiet", "--foreground"]);
    for (option, protocol) in [("-t", Protocol::Tcp), ("-u", Protocol::Udp)] {
        let own: Vec<String> =
            ports.iter().filter(|port| port.protocol == protocol).map(port_of_pasta).collect();
        let own = if own.is_empty() { vec!["none".into()] } else { own };
        command.args(own.iter().flat_map(|port| [option, port]));
    }
    if ports.iter().any(|port| port.protocol == Protocol::Sctp) {
        return Err(fail!(Kind::Unsupported, "it publishes no ports of sctp"));
    }
    command.args(["-T", "none", "-U", "none", "--netns"]).arg(path);
    Ok(())
}

fn port_of_pasta(port: &Port) -> String {
    let ports = format!("{}:{}", port.host_port, port.container_port);
    match port.host_ip {
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => ports,
        Some(ip) => format!("{ip}/{ports}"),
        None => ports,
    }
}

fn slirp4netns(command: &mut Command, path: &Path, ports: &[Port]) -> Result<()> {
    if !ports.is_empty() {
        return Err(fail!(Kind::Unsupported, "ports are published for users by pasta alone")
            .with_hint("it is of the package passt"));
    }
    command.args(["--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"]);
    command.arg(path).arg("tap0");
    Ok(())
}

/// The container's root is of a user namespace below the one that the network belongs to: it has no capability for
/// ports below 1024 there. KERNEL(4.11).
fn open_low_ports() -> Result<()> {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    std::fs::write(path, "0").with_context(|| format!("write {path}"))
}

/// Whether the namespace has a default route.
fn has_route(namespace: &File) -> Result<bool> {
    within(namespace, || {
        let text = std::fs::read_to_string("/proc/thread-self/net/route").context("read its routes")?;
        Ok(text.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")))
    })
}

/// Calls `act` in the namespace, in a thread that ends there.
fn within<T: Send>(namespace: &File, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    in_thread(|| {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).context("enter the container's network")?;
        act()
    })
}

/// The last line that says something.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.contains("to syslog"));
    lines.next_back().unwrap_or("it has said nothing").chars().take(300).collect()
}

/// What users are told who ask for a network of root's.
pub(crate) fn not_for_users(name: &str) -> Error {
    fail!(Kind::Denied, "--network {name}: only root makes devices in the host's network")
        .with_hint("users have --network pasta, slirp4netns, none and host")
}
