//! `TlsConnector`: TLS by rustls below the HTTP library, whose own connector takes no verifier of
//! certificates.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::error::{Error, Kind};
use crate::fail;

pub(super) const PLAIN_HTTP_HINT: &str = "plain HTTP is accepted with --tls-verify=false";

/// Puts TLS on connections for `https`, and leaves others as they are.
#[derive(Debug)]
pub(super) struct TlsConnector(pub(super) Arc<ClientConfig>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        // The brackets of an IPv6 address are the URL's alone.
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket).map_err(mark_hang_up)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

/// A connection with TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Returns the sentence for a certificate or protocol that TLS does not accept; `None` for other errors.
pub(super) fn to_error(error: &io::Error) -> Option<Error> {
    let inner = error.get_ref()?;
    Some(match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(reason) => fail!(Kind::Denied, "{}", certificate_text(reason))
            .with_hint("name the registry's authority with --cert-dir, or trust any with --tls-verify=false"),
        rustls::Error::InvalidMessage(_) => {
            fail!(Kind::Unsupported, "TLS is answered with something else, as by a server of plain HTTP")
                .with_hint(PLAIN_HTTP_HINT)
        }
        rustls::Error::AlertReceived(alert) if is_about_identity(*alert) => {
            fail!(Kind::Denied, "the server does not accept our certificate, or asks for one ({alert:?})")
                .with_hint("name a directory with client.cert and client.key with --cert-dir")
        }
        rustls::Error::AlertReceived(alert) => {
            fail!(Kind::Unsupported, "the server refuses TLS as it is asked for ({alert:?})")
        }
        other => fail!(Kind::Unsupported, "TLS: {other}"),
    })
}

/// Whether a server refuses the client's certificate, or the lack of one (RFC 8446, section 6.2).
fn is_about_identity(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

fn certificate_text(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => "the certificate is of no authority that is trusted".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate is for another name: {reason}")
        }
        CertificateError::Revoked => "the certificate has been revoked".into(),
        // The library's own words for these are its types.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the server's certificate is one of an authority, signed by itself: CA:TRUE".into()
        }
        other if format!("{other:?}").contains("Signature") => {
            "the certificate is not signed by the authority that it names".into()
        }
        other => format!("the certificate is not accepted: {other}"),
    }
}

const HANG_UP: &str = "hung up during the handshake";

/// Some servers of plain HTTP hang up as soon as they see TLS.
fn mark_hang_up(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            io::Error::new(io::ErrorKind::UnexpectedEof, HANG_UP)
        }
        _ => error,
    }
}

/// Whether a server hung up as soon as it saw TLS.
pub(super) fn is_hang_up(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.to_string() == HANG_UP)
}
