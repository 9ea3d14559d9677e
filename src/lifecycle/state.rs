//! `state`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::options::Globals;
use crate::error::{Error, Kind, Result};

/// What `state` prints and hooks read, with runc's members in runc's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: &'static str,
    pub id: String,
    /// 0 when stopped.
    pub pid: i32,
    pub status: &'static str,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
}

pub fn state(_globals: &Globals, _id: &str) -> Result<State> {
    Err(Error::new(Kind::Unsupported, "state is not implemented yet"))
}
