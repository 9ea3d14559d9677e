//! What a registry answers, and what a file of credentials holds.

use crate::image::source::registry::auth::Challenge;
use crate::image::source::registry::auth_file::{AuthFile, kept, parse_secret};
use crate::image::source::registry::url;

/// A challenge is read or not; a URL that a server names leads to a host or is refused.
pub(super) fn answer(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = Challenge::strongest(text.lines());
    if let Ok(url) = url::parse(&text) {
        let scheme = url.scheme_str();
        assert!(matches!(scheme, Some("http" | "https")), "{text:?}: {scheme:?}");
        assert!(url.host().is_some_and(|host| !host.is_empty()), "{text:?}");
    }
}

/// No secret of the file is in the words about it.
pub(super) fn credentials(input: &[u8]) {
    let (first, key) = super::halves(input);
    let parsed = parse_secret::<AuthFile>(first);
    if let Ok(file) = parsed {
        let _ = kept(&file, &String::from_utf8_lossy(key));
    }
    // Something that would be seen anywhere in a message.
    let secret = "c2VjcmV0LXRoYXQtbm9ib2R5LXNlZXM";
    let text = String::from_utf8_lossy(first).replace("SECRET", secret);
    if let Err(error) = parse_secret::<AuthFile>(text.as_bytes()) {
        assert!(!error.to_string().contains(secret), "{error}");
    }
}
