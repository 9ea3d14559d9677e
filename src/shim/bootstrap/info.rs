//! `-info`: what the runtime is and can do, as containerd 2 asks it.

use std::io::Read;

use prost::Message;

use crate::error::{Context, Result};
use crate::shim::runtime::command::Runtime;
use crate::shim::runtime::options;
use crate::shim::wire::bootstrap::{RuntimeInfo, RuntimeVersion};
use crate::shim::wire::types::Any;

/// The type's name under which containerd expects a runtime's features, as JSON.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Returns what is printed: a `RuntimeInfo`. A runtime that does not know its features is told without them.
pub(crate) fn run(version: &str, input: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(10 << 20).read_to_end(&mut bytes).context("reading standard input")?;
    let any = (!bytes.is_empty()).then(|| Any::decode(bytes.as_slice()).unwrap_or_default());
    let options = options::read(any.as_ref())?;
    let features = Runtime::new(options, "")?.features();
    let info = RuntimeInfo {
        name: "io.containerd.tare.v2".to_owned(),
        version: Some(RuntimeVersion { version: version.to_owned(), revision: String::new() }),
        options: any,
        features: features.ok().map(|value| Any { type_url: FEATURES.to_owned(), value }),
        annotations: Default::default(),
    };
    Ok(info.encode_to_vec())
}
