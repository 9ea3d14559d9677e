//! Mappings of user and group ids between a user namespace and the host (user_namespaces(7)).

use serde::{Deserialize, Serialize};

use crate::error::{Kind, Result};
use crate::fail;

/// A mapping of the ids of a container to ids of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMapping {
    pub(crate) uids: Vec<IdRange>,
    pub(crate) gids: Vec<IdRange>,
}

/// `size` ids, which start at `inner` in the container and at `host` on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdRange {
    pub(crate) inner: u32,
    pub(crate) host: u32,
    pub(crate) size: u32,
}

impl IdMapping {
    /// The ids of the host that these ids of the container are mapped to.
    ///
    /// # Errors
    ///
    /// `Kind::Unsupported` for an id outside the mapping.
    pub(crate) fn to_host(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        Ok((to_host(&self.uids, uid, "user")?, to_host(&self.gids, gid, "group")?))
    }

    /// The ids of the container that are mapped to these ids of the host. An id outside the mapping is
    /// returned as it is.
    pub(crate) fn to_container(&self, uid: u32, gid: u32) -> (u32, u32) {
        (to_container(&self.uids, uid), to_container(&self.gids, gid))
    }

    /// Whether the container has the user id `id`.
    pub(crate) fn has_uid(&self, id: u32) -> bool {
        has(&self.uids, id)
    }

    /// Whether the container has the group id `id`.
    pub(crate) fn has_gid(&self, id: u32) -> bool {
        has(&self.gids, id)
    }

    /// Returns the mapping for a namespace nested in the mapped one: every id to itself.
    pub(crate) fn nested(&self) -> Self {
        let nested = |ranges: &[IdRange]| {
            let to_itself =
                |range: &IdRange| IdRange { inner: range.inner, host: range.inner, size: range.size };
            ranges.iter().map(to_itself).collect()
        };
        Self { uids: nested(&self.uids), gids: nested(&self.gids) }
    }
}

fn has(ranges: &[IdRange], id: u32) -> bool {
    ranges.iter().any(|range| id >= range.inner && id - range.inner < range.size)
}

fn to_host(ranges: &[IdRange], id: u32, what: &str) -> Result<u32> {
    let range = ranges.iter().find(|range| id >= range.inner && id - range.inner < range.size);
    let range = range.ok_or_else(|| {
        let last = ranges.iter().map(|range| range.inner + (range.size - 1)).max().unwrap_or(0);
        fail!(Kind::Unsupported, "the image has {what} id {id}, the mapping goes to {last}")
    })?;
    Ok(range.host + (id - range.inner))
}

fn to_container(ranges: &[IdRange], id: u32) -> u32 {
    let range = ranges.iter().find(|range| id >= range.host && id - range.host < range.size);
    range.map_or(id, |range| range.inner + (id - range.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_there_and_back() {
        let ranges =
            vec![IdRange { inner: 0, host: 1000, size: 1 }, IdRange { inner: 1, host: 100_000, size: 65536 }];
        let mapping = IdMapping { uids: ranges.clone(), gids: ranges };
        assert_eq!(mapping.to_host(0, 5).unwrap(), (1000, 100_004));
        assert_eq!(mapping.to_container(1000, 100_004), (0, 5));
        let error = mapping.to_host(65537, 0).unwrap_err().to_string();
        assert_eq!(error, "the image has user id 65537, the mapping goes to 65536");
    }
}
