//! Decides which certificates are trusted: those of the system and of the registry's directory in certs.d
//! (containers-certs.d(5)).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, SignatureScheme,
};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::filesystem::input_file::read_small;
use crate::image::limits::MAX_SETTINGS;

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The TLS settings for `host`, which is `registry` itself or a server that it redirects to. The registry's
/// authorities are trusted for both; a client certificate is sent only to the host that it is stored for.
pub(super) fn client_config(
    host: &str,
    registry: &str,
    insecure: bool,
    given: Option<&Path>,
) -> Result<ClientConfig> {
    let mut trusted = Vec::new();
    let mut identity: Option<Identity> = None;
    for (dir, is_of_host) in directories(host, registry, given) {
        let Some(files) = list_files(&dir, given.is_some())? else { continue };
        for path in files.iter().filter(|path| has_extension(path, "crt")) {
            trusted.append(&mut read_certificates(path)?);
        }
        if is_of_host {
            identity = read_identity(&files)?.or(identity);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match insecure {
        true => Arc::new(AnyCertificate(Arc::clone(&provider))),
        false => Arc::new(TrustedCertificates::new(trusted, &provider)?),
    };
    let wrong = |error: rustls::Error| fail!(Kind::Spec, "TLS: {error}");
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(wrong)?;
    let identity = identity.map(|identity| certified(identity, builder.crypto_provider())).transpose()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
        None => builder.with_no_client_auth(),
    })
}

/// The client certificate among these files, `NAME.cert`, with its key, `NAME.key`.
fn read_identity(files: &[PathBuf]) -> Result<Option<Identity>> {
    let last = files.iter().rfind(|path| has_extension(path, "cert"));
    last.map(|path| Ok((read_certificates(path)?, read_key(&path.with_extension("key"))?))).transpose()
}

/// The client certificate with its key. A certificate of version 1, as `openssl x509 -req` makes it, is for
/// the server to judge: whether the key belongs to it is not seen here.
fn certified((certificates, key): Identity, provider: &CryptoProvider) -> Result<SingleCertAndKey> {
    let wrong = |error: rustls::Error| fail!(Kind::Spec, "key of the client certificate: {error}");
    let key = provider.key_provider.load_private_key(key).map_err(wrong)?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(fail!(Kind::Spec, "the client certificate and its key do not belong together"))
        }
        _ => Ok(certified.into()),
    }
}

/// Accepts certificates that an authority has signed, and one that is trusted by itself: `openssl req -x509`
/// marks its certificates as an authority's, and people trust such a one directly for their registry.
#[derive(Debug)]
struct TrustedCertificates {
    authorities: Arc<WebPkiServerVerifier>,
    trusted: HashSet<CertificateDer<'static>>,
}

impl TrustedCertificates {
    fn new(mut trusted: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Self> {
        trusted.extend(system_certificates()?);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let authorities = verifier.build().map_err(|e| fail!(Kind::Spec, "trusted certificates: {e}"))?;
        Ok(Self { authorities, trusted: trusted.into_iter().collect() })
    }
}

/// Whether a certificate was refused because of its issuer or of what it may sign. Its validity period was
/// checked before.
fn is_about_authority(error: &rustls::Error) -> bool {
    use CertificateError::{Other, UnknownIssuer};
    matches!(error, rustls::Error::InvalidCertificate(UnknownIssuer | Other(_)))
}

impl ServerCertVerifier for TrustedCertificates {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match self.authorities.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(error) if is_about_authority(&error) && self.trusted.contains(certificate) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Accepts every certificate: --tls-verify=false.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Lists the directories of certificates, each with whether its client certificates are for `host`.
fn directories(host: &str, registry: &str, given: Option<&Path>) -> Vec<(PathBuf, bool)> {
    if let Some(dir) = given {
        return vec![(dir.to_owned(), host == registry)];
    }
    let bases = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
    let of = |host: &str, is_of_host: bool| bases.map(|base| (Path::new(base).join(host), is_of_host));
    let mut all = of(host, true).to_vec();
    if host != registry {
        all.extend(of(registry, false));
    }
    all
}

/// Loads the authorities that the distribution trusts, or that the variables SSL_CERT_FILE and SSL_CERT_DIR
/// name; a named file that cannot be read is an error. If there are none at all, the compiled-in set is used.
fn system_certificates() -> Result<Vec<CertificateDer<'static>>> {
    check_named_certificates()?;
    let found = rustls_native_certs::load_native_certs();
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|name| std::env::var_os(name).is_some());
    match (named, found.errors.first()) {
        (Some(name), Some(error)) if found.certs.is_empty() => {
            Err(fail!(Kind::Usage, "read the certificates of {name}: {error}"))
        }
        _ => Ok(found.certs),
    }
}

/// The library that reads them would wait for a pipe, and for the end of a device.
fn check_named_certificates() -> Result<()> {
    let named = |name: &'static str| std::env::var_os(name).map(|path| (name, PathBuf::from(path)));
    if let Some((name, path)) = named("SSL_CERT_FILE").filter(|(_, path)| path.exists()) {
        read_small(&path, MAX_SETTINGS).with_context(|| format!("read the certificates of {name}"))?;
    }
    let Some((name, dirs)) = named("SSL_CERT_DIR") else { return Ok(()) };
    for dir in std::env::split_paths(&dirs) {
        for entry in
            std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().exists())
        {
            if !entry.path().is_dir() {
                read_small(&entry.path(), MAX_SETTINGS)
                    .with_context(|| format!("read the certificates of {name}"))?;
            }
        }
    }
    Ok(())
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

/// The files of a directory; a missing directory is an error only if the user named it.
fn list_files(dir: &Path, named: bool) -> Result<Option<Vec<PathBuf>>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            Ok(Some(files))
        }
        Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read certificates in {}", dir.display())),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let place = || format!("certificate {}", path.display());
    let text = read_small(path, MAX_SETTINGS).with_context(place)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| fail!(Kind::Spec, "{error}")).with_context(place)?;
    match found.is_empty() {
        true => Err(fail!(Kind::Spec, "there is none in it")).with_context(place),
        false => Ok(found),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let place = || format!("key {}", path.display());
    let text = read_small(path, MAX_SETTINGS).with_context(place)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| fail!(Kind::Spec, "{error}")).with_context(place)
}
