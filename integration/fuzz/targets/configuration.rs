//! config.json, and the documents that `exec` and `update` read.

use crate::container_id::ContainerId;
use crate::host::Facts;
use crate::plan::{Request, plan_container};
use crate::spec;

/// A configuration is refused or planned, the same way each time; what `tare check` finds and what `create`
/// refuses agree.
pub(super) fn configuration(bytes: &[u8]) {
    let parsed = spec::parse(bytes);
    let examined = spec::examine(bytes);
    assert_eq!(
        parsed.is_err(),
        !examined.errors.is_empty(),
        "create says {parsed:?}, check says {:?}",
        examined.errors
    );
    let _ = spec::parse_alone(bytes);
    let Ok(spec) = parsed else { return };
    let id = ContainerId::parse("fuzz").unwrap();
    let planned = || plan_container(&spec, &Facts::default(), &Request::new(&id, "/bundle".into()));
    match (planned(), planned()) {
        (Ok(one), Ok(other)) => assert_eq!(one.to_string(), other.to_string()),
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        (one, other) => panic!("planned twice: {:?}, {:?}", one.is_ok(), other.is_ok()),
    }
}

pub(super) fn process(bytes: &[u8]) {
    if let Ok((process, _)) = spec::parse_process(bytes) {
        spec::check_process(&process).unwrap();
    }
}

pub(super) fn resources(bytes: &[u8]) {
    let _ = spec::parse_resources(bytes);
}
