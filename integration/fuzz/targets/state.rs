//! The record of a container, as a crash or somebody else may have left it.

use crate::container::Record;
use crate::container::salvage::salvage;
use crate::container_id::ContainerId;
use crate::spec::strict::{self, Spelling};

pub(super) fn state(input: &[u8]) {
    let (torn, before) = super::halves(input);
    let id = ContainerId::parse("fuzz").unwrap();
    for before in [None, Some(before)] {
        if let Some(record) = salvage(&id, torn, before) {
            assert_eq!(record.id, id, "a record of another container");
        }
    }
    let record: Result<Record, _> = strict::from_slice(torn, Spelling::Exact);
    if let Ok(record) = record {
        let written = serde_json::to_vec(&record).unwrap();
        let again: Record = strict::from_slice(&written, Spelling::Exact).unwrap();
        assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    }
}
