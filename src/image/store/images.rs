//! Images that were pulled into the store: their layers stay, used by a bundle or not, until they are let go.

use std::fs;

use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};

use super::session::Living;
use super::{Filled, Store};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    reference: String,
    manifest: Descriptor,
    layers: Vec<String>,
    /// The workplace of the process that pulls it.
    session: String,
}

impl Store {
    /// Notes that the image found at `reference` was pulled, in place of what was pulled from there before.
    pub fn keep(&self, reference: &str, manifest: &Descriptor, filled: &Filled) -> Result<()> {
        let pulled = Pulled {
            reference: reference.into(),
            manifest: manifest.clone(),
            layers: filled.layers.clone(),
            session: filled.session.name(),
        };
        let text = serde_json::to_vec(&pulled).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        let name = digest::of(reference.as_bytes());
        crate::image::copy::replace(&self.path.join("images").join(name.digest()), &text)
    }
}

/// The layers of pulled images. With `let_go`, those that are not just being pulled are forgotten instead; with `dry`
/// they are not.
pub fn layers(store: &Store, living: &[Living], let_go: bool, dry: bool) -> Result<Vec<String>> {
    let images = store.path.join("images");
    let place = || format!("{}", images.display());
    let mut layers = Vec::new();
    for entry in fs::read_dir(&images).with_context(place)? {
        let path = entry.with_context(place)?.path();
        let Ok(text) = fs::read(&path) else { continue };
        let pulled: Pulled =
            crate::image::document::manifest::parse(&text).with_context(|| format!("{}", path.display()))?;
        if !let_go || living.iter().any(|one| one.name == pulled.session) {
            layers.extend(pulled.layers);
        } else if !dry {
            super::take_away(&path)?;
        }
    }
    Ok(layers)
}
