//! `docker://NAME`: a registry, by the OCI distribution specification 1.1, which is Docker's protocol too.
//!
//! A name leads through registries.conf(5) to one or more endpoints: mirrors first, the registry itself last.
//! A request carries the authorization that `auth` got for the user's credentials and trusts the certificates
//! that `tls` accepts; a blob whose connection breaks is continued at the same byte.
//!
//! The modules from the top down:

/// Checks credentials and keeps them.
pub(crate) mod login;
/// Removes them.
pub(crate) mod logout;
/// Sends an image.
mod push;
/// Reads images: `ImageSource` for registries.
mod pull;
/// Reads one blob over as many connections as it takes.
mod blob_reader;
/// Sends requests about one repository, with retries and authorization.
mod document;
mod endpoint;
/// Answers the challenge of a 401.
pub(crate) mod auth;
/// Sends requests and follows redirects; credentials go to one origin.
mod client;
/// URLs that servers name.
pub(crate) mod url;
/// Changes a file of credentials.
mod auth_change;
/// Finds credentials in files and credential helpers.
pub(crate) mod auth_file;
/// Runs credential helpers.
mod credential_helper;
/// Puts TLS on connections.
mod tls_connector;
/// Decides which certificates are trusted.
mod tls;
/// Finds the proxy for a host.
mod proxy;
/// Reads registries.conf.
mod registries_conf;
/// Parses names of images.
pub(crate) mod name;
/// The command line's settings for registries.
mod access;

pub(crate) use access::{Access, Credentials};
pub(crate) use name::parse_name;
pub(crate) use pull::Registry;
pub(crate) use push::PushTarget;
