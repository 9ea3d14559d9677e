//! Published ports, `-p`: parsed as Docker spells them, and reserved on the host as long as the container runs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// The most ports of one range: each is a rule of the firewall.
const MAX_RANGE: u16 = 1024;

/// A port of the host that leads to one of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    /// The address of the host; None for all.
    pub(crate) host_ip: Option<IpAddr>,
    /// 0 for one that the kernel chooses.
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    pub(crate) protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = self.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        write!(f, "{}->{}/{}", SocketAddr::new(ip, self.host_port), self.container_port, self.protocol.word())
    }
}

/// Parses `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, where HOST and CONTAINER may be ranges of one length.
pub(crate) fn parse(text: &str) -> Result<Vec<Port>> {
    parse_ports(text).map_err(|why| {
        fail!(Kind::Usage, "--publish {text:?}: {why}").with_hint(
            "[[IP:][HOSTPORT]:]CONTAINERPORT[/tcp|udp|sctp], for example 8080:80 or 127.0.0.1:53:53/udp",
        )
    })
}

fn parse_ports(text: &str) -> Result<Vec<Port>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(format!("{other:?} is no protocol")),
    };
    let (before, container) =
        ports.rsplit_once(':').map_or((None, ports), |(before, port)| (Some(before), port));
    let (ip, host) = match before {
        None => (None, ""),
        Some(before) => before.rsplit_once(':').map_or((None, before), |(ip, host)| (Some(ip), host)),
    };
    let host_ip = match ip {
        None | Some("") => None,
        Some(ip) => {
            let plain = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
            Some(plain.parse::<IpAddr>().map_err(|_| format!("{ip:?} is no address"))?)
        }
    };
    let (first, last) = range(container)?;
    let (host_first, host_last) = if host.is_empty() { (0, 0) } else { range(host)? };
    if first == 0 {
        return Err("a container has no port 0".into());
    }
    if host_first != 0 && host_last - host_first != last - first {
        return Err("the two ranges differ in length".into());
    }
    if last - first >= MAX_RANGE {
        return Err(format!("the range has more than {MAX_RANGE} ports"));
    }
    let host_port = |port: u16| if host_first == 0 { 0 } else { host_first + (port - first) };
    let port = |port| Port { host_ip, host_port: host_port(port), container_port: port, protocol };
    Ok((first..=last).map(port).collect())
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| format!("{text:?} is no port")),
        false => Err(format!("{text:?} is no port")),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("{text:?}: the range ends before it begins")) } else { Ok((first, last)) }
}

/// Sockets that hold ports of the host: nobody else gets a port whose packets go to a container.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    _tcp: Vec<TcpListener>,
    _udp: Vec<UdpSocket>,
}

/// Reserves the ports on the host, and replaces each port 0 by a free one.
///
/// # Errors
///
/// EADDRINUSE if somebody else has one of them.
pub(in crate::image::run) fn reserve(ports: &mut [Port]) -> Result<Reserved> {
    let mut reserved = Reserved::default();
    for port in ports {
        let address =
            SocketAddr::new(port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port.host_port);
        let place = || format!("--publish: port {address} of the host");
        match port.protocol {
            Protocol::Tcp => {
                let socket = TcpListener::bind(address).map_err(explain).with_context(place)?;
                port.host_port = socket.local_addr().with_context(place)?.port();
                reserved._tcp.push(socket);
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind(address).map_err(explain).with_context(place)?;
                port.host_port = socket.local_addr().with_context(place)?.port();
                reserved._udp.push(socket);
            }
            Protocol::Sctp if port.host_port == 0 => {
                return Err(fail!(Kind::Usage, "a port for sctp must be named")).with_context(place);
            }
            Protocol::Sctp => {}
        }
    }
    Ok(reserved)
}

fn explain(error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program or container has it: `ss -lp` names a program",
        std::io::ErrorKind::AddrNotAvailable => "the host has no such address: `ip addr` lists them",
        _ => return error.into(),
    };
    Error::from(error).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        parse(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ports_are_read_as_docker_spells_them() {
        for (text, expected) in [
            ("8080:80", "0.0.0.0:8080->80/tcp"),
            ("80", "0.0.0.0:0->80/tcp"),
            (":80", "0.0.0.0:0->80/tcp"),
            ("127.0.0.1:53:53/udp", "127.0.0.1:53->53/udp"),
            ("127.0.0.1::53/UDP", "127.0.0.1:0->53/udp"),
            ("[::1]:80:80", "[::1]:80->80/tcp"),
            ("::1:80:80/sctp", "[::1]:80->80/sctp"),
        ] {
            assert_eq!(shown(text), [expected], "{text}");
        }
        assert_eq!(shown("90-91:80-81"), ["0.0.0.0:90->80/tcp", "0.0.0.0:91->81/tcp"]);
        assert_eq!(shown("80-81").len(), 2);
    }

    #[test]
    fn what_names_no_ports_is_refused() {
        for bad in [
            "",
            ":",
            "a",
            "0",
            "8080:0",
            "65536",
            "8080:80/x",
            "1:2:3",
            "1-2:3",
            "2-1",
            "-1",
            "+1",
            "x:1:1",
            "1-2000",
            "80:80:80:80",
            "1:",
            "1-:2-",
            "1 :2",
            "8080:80/tcp/udp",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reserved_port_is_nobody_elses() {
        let mut ports = parse("127.0.0.1::80").unwrap();
        let reserved = reserve(&mut ports).unwrap();
        assert_ne!(ports[0].host_port, 0);
        assert!(reserve(&mut ports.clone()).unwrap_err().to_string().ends_with("address already in use"));
        drop(reserved);
        reserve(&mut ports).unwrap();
    }
}
