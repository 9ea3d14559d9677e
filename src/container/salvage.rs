//! Salvages what is known of a container whose record is torn: from the record before it, and from whole
//! members of the torn one.

use serde::de::DeserializeOwned;

use super::Record;
use crate::container_id::ContainerId;
use crate::spec::strict::{self, Spelling};

/// Salvages a record. `torn` is the record as it is found, `before` is the one that it replaced: for a
/// container that was never updated, the intent (see `Record::creator`), which names its group and its hooks.
/// Returns `None` if neither names anything through which processes can be found. A record of another
/// container than `id` is ignored.
pub(super) fn salvage(id: &ContainerId, torn: &[u8], before: Option<&[u8]>) -> Option<Record> {
    let before: Option<Record> = before.and_then(|bytes| strict::from_slice(bytes, Spelling::Exact).ok());
    let before = before.filter(|record| record.id == *id);
    let torn = String::from_utf8_lossy(torn);
    let is_other = member::<String>(&torn, "id").is_some_and(|name| name != id.as_str());
    let torn = if is_other { "" } else { &*torn };
    let mut record = before.or_else(|| {
        // The text as a whole is not readable, but its members may be.
        let mut members = serde_json::Map::new();
        for name in ["id", "creator", "cgroup"] {
            members.insert(name.into(), member(torn, name)?);
        }
        members.insert("boot".into(), member(torn, "boot").unwrap_or_default());
        let fixed = serde_json::json!({
            "version": super::record::VERSION, "bundle": "/", "rootfs": "/", "created": "", "init": null,
            "namespaces": 0, "own_pid_namespace": false,
        });
        members.extend(fixed.as_object().cloned()?);
        serde_json::from_value(members.into()).ok()
    })?;
    record.init = record.init.or_else(|| member(torn, "init").flatten());
    record.cgroup = member(torn, "cgroup").flatten().or(record.cgroup);
    let has_group = record.cgroup.as_ref().is_some_and(|group| !group.locations.is_empty());
    (has_group || record.init.is_some()).then_some(record)
}

/// Returns the first member of that name. The pattern cannot be inside a string, because quotes are escaped
/// there.
fn member<T: DeserializeOwned>(text: &str, name: &str) -> Option<T> {
    let (_, value) = text.split_once(&format!("\"{name}\":"))?;
    serde_json::Deserializer::from_str(value).into_iter().next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::ProcessIdentity;

    const WHOLE: &str = r#"{"version":1,"id":"x","bundle":"/b","rootfs":"/b/r","created":"",
        "creator":{"pid":1,"start":5},"init":{"pid":7,"start":70},
        "cgroup":{"driver":"cgroupfs","mode":"v2","places":[]},"namespaces":0,"own_pid_namespace":true}"#;

    fn salvage(torn: &[u8], before: Option<&[u8]>) -> Option<Record> {
        super::salvage(&ContainerId::parse("x").unwrap(), torn, before)
    }

    #[test]
    fn a_record_of_another_container_says_nothing() {
        let other = WHOLE.replace("\"id\":\"x\"", "\"id\":\"y\"");
        assert!(salvage(other.as_bytes(), None).is_none());
        assert!(salvage(b"", Some(other.as_bytes())).is_none());
        assert!(salvage(other.as_bytes(), Some(WHOLE.as_bytes())).is_some());
    }

    #[test]
    fn whole_members_of_a_torn_record_are_known() {
        let torn = &WHOLE[..WHOLE.find("\"namespaces\"").unwrap()];
        let known = salvage(torn.as_bytes(), None).unwrap();
        assert_eq!(known.init, Some(ProcessIdentity { pid: 7, start: 70 }));
        // Without the group, processes cannot be found.
        assert!(salvage(&WHOLE.as_bytes()[..WHOLE.find("\"init\"").unwrap()], None).is_none());
        assert!(salvage(b"", None).is_none());
        assert!(salvage(b"", Some(b"{")).is_none());
    }

    #[test]
    fn the_record_before_it_names_what_the_torn_one_does_not() {
        let known = salvage(&WHOLE.as_bytes()[..WHOLE.find("\"cgroup\"").unwrap()], Some(WHOLE.as_bytes()));
        assert_eq!(known.unwrap().init, Some(ProcessIdentity { pid: 7, start: 70 }));
        assert_eq!(salvage(b"\0\0", Some(WHOLE.as_bytes())).unwrap().bundle, std::path::Path::new("/b"));
    }
}
