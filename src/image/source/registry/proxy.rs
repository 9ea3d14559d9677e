//! Finds the proxy for a host in the usual environment variables (HTTPS_PROXY, NO_PROXY, …), and gives it a deadline.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport};
use ureq::{Proxy, Timeout};

use super::url;
use crate::error::{Kind, Result};
use crate::fail;

/// The proxy for requests to `host[:port]`, if there is one and no exception is made.
///
/// HTTPS_PROXY comes first, because registries use HTTPS; plain HTTP is an exception that the user allowed.
pub(super) fn for_host(host: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>> {
    let first =
        |names: &[&str]| names.iter().find_map(|name| environment(name).filter(|value| !value.is_empty()));
    let found = first(&["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]);
    let Some(address) = found else { return Ok(None) };
    if is_excepted(host, &first(&["NO_PROXY", "no_proxy"]).unwrap_or_default()) {
        return Ok(None);
    }
    Proxy::new(&address)
        .map(Some)
        .map_err(|_| fail!(Kind::Usage, "proxy {:?}: is no address of a proxy", url::without_query(&address)))
}

/// NO_PROXY: names with everything below them, addresses, networks, `*` for all. Localhost never needs a
/// proxy.
fn is_excepted(host: &str, exceptions: &str) -> bool {
    // Names of hosts are the same in any case.
    let (host, exceptions) = (&*host.to_ascii_lowercase(), exceptions.to_ascii_lowercase());
    let port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let bare = port.map_or(host, |(bare, _)| bare).trim_matches(['[', ']']);
    let address = bare.parse::<IpAddr>().ok();
    if bare == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    exceptions.split(',').map(str::trim).filter(|exception| !exception.is_empty()).any(|exception| {
        let name = exception.trim_start_matches("*.").trim_start_matches('.');
        exception == "*"
            || host == exception
            || bare == name
            || address.is_some_and(|address| is_in(exception, address))
            || bare.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// Whether a network as `10.0.0.0/8` has the address in it.
fn is_in(network: &str, address: IpAddr) -> bool {
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse(), length.parse::<u32>()) else { return false };
    let (base, address, width) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => (u32::from(base).into(), u32::from(address).into(), 32),
        (IpAddr::V6(base), IpAddr::V6(address)) => (u128::from(base), u128::from(address), 128),
        _ => return false,
    };
    length == 0 || (length <= width && (base ^ address) >> (width - length) == 0)
}

/// How long a proxy may take to lead on; None without a proxy. The library gives it as long for each byte of its answer.
#[derive(Debug)]
pub(super) struct Deadline(pub(super) Option<Duration>);

impl<In: Transport> Connector<In> for Deadline {
    type Out = Either<In, Negotiation<In>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(inner) = chained else { return Ok(None) };
        Ok(Some(match (self.0, details.config.proxy()) {
            // That to the proxy itself: the library makes it without one.
            (Some(limit), None) => {
                Either::B(Negotiation { inner, until: Some(Instant::now() + limit), is_asked: false })
            }
            _ => Either::A(inner),
        }))
    }
}

/// A connection to a proxy, whose answer has a deadline.
#[derive(Debug)]
pub(super) struct Negotiation<T> {
    inner: T,
    /// None when it has answered, and leads on.
    until: Option<Instant>,
    /// Its answer is being read.
    is_asked: bool,
}

impl<T: Transport> Transport for Negotiation<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.is_asked {
            // What comes after its answer is for whom it leads to.
            self.until = None;
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            return Err(ureq::Error::Timeout(Timeout::Connect));
        }
        self.is_asked = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_names_and_what_is_below_them() {
        for (host, exceptions, expected) in [
            ("a.example:5000", "", false),
            ("a.example", "example", true),
            ("a.example", "A.Example", true),
            ("a.example:5000", ".example", true),
            ("badexample", "example", false),
            ("a.example", "b.example, *.example", true),
            ("a.example:5000", "a.example:5000", true),
            ("a.example", "*", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.7.0.1:5000", "10.0.0.0/8", true),
            ("11.7.0.1", "10.0.0.0/8", false),
            ("[fd00::1]:5000", "fd00::/8", true),
            ("10.7.0.1", "10.0.0.0/33,fd00::/8,/8,x/8", false),
            ("10.7.0.1", "0.0.0.0/0", true),
            ("127.0.0.1:5000", "", true),
            ("[::1]:5000", "", true),
            ("[::1]", "", true),
            ("localhost:1", "", true),
        ] {
            assert_eq!(is_excepted(host, exceptions), expected, "{host} {exceptions}");
        }
    }

    #[test]
    fn the_environment_names_a_proxy() {
        let environment = |known: &'static [(&str, &str)]| {
            move |name: &str| known.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let proxy = for_host("a.example", environment(&[("https_proxy", "http://p:3128")])).unwrap().unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("p", 3128));
        assert!(for_host("a.example", environment(&[])).unwrap().is_none());
        assert!(
            for_host("a.example", environment(&[("HTTP_PROXY", "http://p:1"), ("NO_PROXY", "example")]))
                .unwrap()
                .is_none()
        );
        assert!(for_host("a.example", environment(&[("HTTP_PROXY", "::bad::")])).is_err());
    }
}
