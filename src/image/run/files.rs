//! The files of a container that are not its image's: /etc/hosts, /etc/hostname and /etc/resolv.conf, as
//! engines write them.

use std::net::IpAddr;
use std::path::Path;

use super::network::Network;
use crate::error::{Context, Result};
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::input_file::read_small_if_present;
use crate::log;

/// The names of the files in the container's directory; each is mounted in /etc.
pub(super) const NAMES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// The largest file of the host that is copied, in bytes.
const MAX_FILE: u64 = 1 << 20;

const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// Writes the files for a container with this host name and these addresses.
pub(super) fn write(dir: &Directory, network: &Network, hostname: &str, addresses: &[IpAddr]) -> Result<()> {
    let hosts = match network {
        Network::Host => read("/etc/hosts")?.unwrap_or_else(|| LOCALHOST.into()),
        _ => {
            let own = addresses.iter().map(|address| format!("{address}\t{hostname}\n"));
            [LOCALHOST.to_owned()].into_iter().chain(own).collect()
        }
    };
    let resolvers = match network {
        Network::Plugins(_) | Network::User(_) => reachable(&read_resolvers()?),
        _ => read("/etc/resolv.conf")?.unwrap_or_default(),
    };
    let texts = [hosts, format!("{hostname}\n"), resolvers];
    NAMES.iter().zip(texts).try_for_each(|(name, text)| dir.replace(name, text.as_bytes(), 0o644))
}

fn read(path: &str) -> Result<Option<String>> {
    let bytes = read_small_if_present(Path::new(path), MAX_FILE).context("copy a file of the host")?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The host's resolv.conf. systemd-resolved listens on the host's loopback device alone; the servers that it
/// asks are in a file of its own.
fn read_resolvers() -> Result<String> {
    let text = read("/etc/resolv.conf")?.unwrap_or_default();
    if servers(&text).all(|server| server == "127.0.0.53")
        && let Some(text) = read("/run/systemd/resolve/resolv.conf")?
    {
        return Ok(text);
    }
    Ok(text)
}

/// The addresses of the servers.
fn servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(server)
}

/// The address of the server that a line names.
fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

/// Leaves out the servers on the loopback device of the host, which the container does not reach.
fn reachable(text: &str) -> String {
    let is_loopback = |server: &str| {
        let address = server.split('%').next().unwrap_or(server);
        address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified())
    };
    let kept: String = text
        .lines()
        .filter(|line| !server(line).is_some_and(is_loopback))
        .map(|line| format!("{line}\n"))
        .collect();
    if servers(&kept).next().is_none() {
        log::warn(format_args!(
            "the host has no name server that the container can reach: names are not resolved in it"
        ));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_the_hosts_loopback_are_left_out() {
        let text = "# by hand\nsearch example.org\nnameserver 127.0.0.53\nnameserver\t::1\n nameserver 192.0.2.1\n\
            nameserver fe80::1%eth0\noptions edns0\nnameserver 0.0.0.0\nnameserver\n";
        let kept = reachable(text);
        assert_eq!(servers(&kept).collect::<Vec<_>>(), ["192.0.2.1", "fe80::1%eth0"]);
        assert!(kept.starts_with("# by hand\nsearch example.org\n nameserver 192.0.2.1\n"), "{kept}");
        assert!(kept.contains("options edns0\n"));
    }
}
