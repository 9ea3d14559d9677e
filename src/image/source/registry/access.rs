//! The command line's settings for registries: TLS, credentials, retries and timeouts.

use std::path::PathBuf;
use std::time::Duration;

/// The command line's settings for registries.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// Whether certificates are checked and plain HTTP is refused; None if registries.conf decides.
    pub(crate) tls_verify: Option<bool>,
    /// A directory with `*.crt` (authorities), `*.cert` and `*.key` (ours).
    pub(crate) cert_dir: Option<PathBuf>,
    /// The one file of credentials to look at.
    pub(crate) auth_file: Option<PathBuf>,
    pub(crate) credentials: Option<Credentials>,
    /// How often a request is retried after a temporary failure.
    pub(crate) retries: u32,
    /// How long a server may be silent.
    pub(crate) timeout: Duration,
}

impl Access {
    /// Returns the settings for `host` if the user named the registry `named`: credentials given by hand are
    /// for the registry that was named, and not for its mirrors or for where registries.conf sends its
    /// images.
    pub(super) fn for_host(&self, host: &str, named: &str) -> Self {
        let credentials = self.credentials.clone().filter(|_| host.eq_ignore_ascii_case(named));
        Self { credentials, ..self.clone() }
    }
}

/// Credentials of a user for a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// A refresh token, which helpers give for the user `<token>`.
    Token(String),
}

/// Secrets are not for logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Parses `USER:PASSWORD`, the value of `--creds`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        Some(Self::Password { user: user.into(), password: password.into() })
    }
}
