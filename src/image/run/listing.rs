//! Lists the containers of a store.

use std::net::IpAddr;

use super::record::{self, Record};
use crate::error::Result;
use crate::image::store::Store;
use crate::log;

/// A container, running or ended.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) record: Record,
    pub(crate) status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    /// With this exit code, if it is known.
    Exited(Option<i32>),
}

impl Listed {
    /// The addresses that plugins have given it.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.record.attachment.as_ref().map(super::network::Attachment::addresses).unwrap_or_default()
    }
}

/// Lists the containers, the newest first. Those that killed processes have left were removed before.
pub(crate) fn list(store: &Store) -> Result<Vec<Listed>> {
    let mut all = Vec::new();
    for name in record::names(store)? {
        let record = match record::read(store, &name) {
            Err(error) => {
                log::warn(format_args!("container {name}: {error}"));
                continue;
            }
            // It is only being made, or just being removed.
            Ok(None) => continue,
            Ok(Some(record)) => record,
        };
        let status = record.exit.as_ref().map_or(Status::Running, |exit| Status::Exited(exit.code));
        all.push(Listed { record, status });
    }
    all.sort_by(|one, other| other.record.created.cmp(&one.record.created));
    Ok(all)
}
