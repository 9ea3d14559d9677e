//! Words of the command line, of configurations and of images.

use crate::cgroup::plan::devices::rule::Access;
use crate::container_id::ContainerId;
use crate::image::blob::digest;
use crate::image::bundle::config_overrides::Volume;
use crate::image::bundle::user;
use crate::image::document::platform::Platform;
use crate::image::source::reference::Reference;
use crate::image::source::registry::name::parse_name;
use crate::plan::mount_options::parse_options;
use crate::spec::cpu_list::CpuList;
use crate::spec::parse_capability;

/// What is taken for an id is one name in a directory, and nothing else.
pub(super) fn capability_and_ids(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(id) = ContainerId::parse(&text) {
        let id = id.as_str();
        assert!(id == text && !id.is_empty() && id.len() <= 1024 && id != "." && id != "..", "{id:?}");
        assert!(!id.contains(|c: char| c == '/' || c.is_control() || c.is_whitespace()), "{id:?}");
    }
    let _ = parse_capability(&text);
    let _ = Access::parse(&text);
    if let Ok(list) = CpuList::parse(&text) {
        let _ = format!("{list:?}");
    }
}

pub(super) fn mount_options(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let words: Vec<String> = text.split(',').map(str::to_owned).collect();
    for kind in ["bind", "tmpfs", "proc", "overlay"] {
        if let Err(index) = parse_options(&words, kind) {
            assert!(index < words.len());
        }
    }
}

/// A reference that was read is written and read again as the same one.
pub(super) fn references(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(reference) = Reference::parse(&text) {
        let written = reference.to_string();
        let again = Reference::parse(&written).map(|again| again.to_string());
        assert_eq!(again.ok(), Some(written));
    }
    if let Ok(name) = parse_name(&text) {
        let written = name.whole();
        assert_eq!(parse_name(&written).map(|again| again.whole()).ok(), Some(written));
    }
    if let Ok(digest) = digest::parse(&text) {
        let hex = digest.digest();
        assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}: not a name of a file");
    }
    let _ = Platform::parse(&text);
    let _ = Volume::parse(&text);
}

/// A user of numbers alone is those numbers, whatever passwd says (CVE-2024-40635).
pub(super) fn users(input: &[u8]) {
    let (text, files) = super::halves(input);
    let (passwd, group) = super::halves(files);
    let text = String::from_utf8_lossy(text);
    let found = user::resolve_in(&text, || Ok(passwd.to_vec()), || Ok(group.to_vec()));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.split(':').next().unwrap_or_default();
    if let (Ok(found), true) = (found, is_number(name)) {
        assert_eq!(name.parse(), Ok(found.uid), "{text:?}");
    }
}
