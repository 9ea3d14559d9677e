//! Decides which certificates are trusted: those of the system and of the registry's directory in certs.d
//! (containers-certs.d(5)).

use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{Context, Kind, Result};
use crate::fail;

/// The TLS settings for `host`, which is `registry` itself or a server that it leads to. The registry's authorities are
/// trusted for both; a certificate of ours is shown to the host that it is kept for, and to no other.
pub(super) fn tls_config(
    host: &str,
    registry: &str,
    insecure: bool,
    given: Option<&Path>,
) -> Result<TlsConfig> {
    let mut builder = TlsConfig::builder().disable_verification(insecure);
    let mut roots = Vec::new();
    for (dir, is_of_host) in directories(host, registry, given) {
        let Some(files) = list_files(&dir, given.is_some())? else { continue };
        for path in files.iter().filter(|path| has_extension(path, "crt")) {
            roots.append(&mut read_certificates(path)?);
        }
        for path in files.iter().filter(|path| is_of_host && has_extension(path, "cert")) {
            let key = read_key(&path.with_extension("key"))?;
            builder = builder.client_cert(Some(ClientCert::new_with_certs(&read_certificates(path)?, key)));
        }
    }
    if !insecure {
        roots.extend(system_roots());
        builder =
            builder.root_certs(if roots.is_empty() { RootCerts::WebPki } else { RootCerts::from(roots) });
    }
    Ok(builder.build())
}

/// Where certificates are, and whether those of ours there are for `host`.
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

/// What the distribution trusts; the set that is compiled in serves where there is none.
fn system_roots() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs().certs;
    found.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

/// The files of a directory; a missing one is an error only where it was named by hand.
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

fn read_certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let place = || format!("certificate {}", path.display());
    let text = std::fs::read(path).with_context(place)?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(fail!(Kind::Spec, "{error}")).with_context(place),
        }
    }
    match found.is_empty() {
        true => Err(fail!(Kind::Spec, "there is none in it")).with_context(place),
        false => Ok(found),
    }
}

fn read_key(path: &Path) -> Result<PrivateKey<'static>> {
    let place = || format!("key {}", path.display());
    let text = std::fs::read(path).with_context(place)?;
    PrivateKey::from_pem(&text).map_err(|error| fail!(Kind::Spec, "{error}")).with_context(place)
}
