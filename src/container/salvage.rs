//! Salvages what is known of a container whose record is torn: from the previous record, and from intact
//! members of the torn one.

use serde_json::Value;

use super::Record;
use crate::container_id::ContainerId;
use crate::spec::strict::{self, Spelling};

/// Salvages a record. `torn` is the record as it is found, `before` is the one that it replaced: for a
/// container that was never updated, the intent (see `Record::creator`), which names its group and its hooks.
/// Returns `None` if neither names anything through which processes can be found. A record of another
/// container than `id` is ignored.
pub(crate) fn salvage(id: &ContainerId, torn: &[u8], before: Option<&[u8]>) -> Option<Record> {
    let before: Option<Record> = before.and_then(|bytes| strict::from_slice(bytes, Spelling::Exact).ok());
    let before = before.filter(|record| record.id == *id);
    let torn = String::from_utf8_lossy(torn);
    let is_other = member(&torn, "id").is_some_and(|found| found != id.as_str());
    let torn = if is_other { "" } else { &*torn };
    // The text as a whole is not readable, but its members may be.
    let of = |name: &str| record_with(id, name, member(torn, name)?);
    let mut record = before.or_else(|| {
        member(torn, "id")?;
        let boot = of("boot").and_then(|record| record.boot);
        Some(Record { creator: of("creator")?.creator, boot, ..of("cgroup")? })
    })?;
    record.init = record.init.or_else(|| of("init")?.init);
    record.cgroup = of("cgroup").and_then(|found| found.cgroup).or(record.cgroup);
    let has_group = record.cgroup.as_ref().is_some_and(|group| !group.locations.is_empty());
    (has_group || record.init.is_some()).then_some(record)
}

/// Makes a record of which only one member is known. It is read like any other record, because a reader for
/// each single member would be another 100 KiB of code.
fn record_with(id: &ContainerId, name: &str, value: Value) -> Option<Record> {
    let mut members = serde_json::json!({
        "version": super::record::VERSION, "id": id, "bundle": "/", "rootfs": "/", "created": "",
        "creator": {"pid": 0, "start": 0}, "init": null, "cgroup": null, "namespaces": 0,
        "own_pid_namespace": false,
    });
    members.as_object_mut()?.insert(name.to_owned(), value);
    strict::from_slice(&serde_json::to_vec(&members).ok()?, Spelling::Exact).ok()
}

/// Returns the first member of that name. The pattern cannot be inside a string, because quotes are escaped
/// there.
fn member(text: &str, name: &str) -> Option<Value> {
    let (_, value) = text.split_once(&format!("\"{name}\":"))?;
    serde_json::Deserializer::from_slice(value.as_bytes()).into_iter().next()?.ok()
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
