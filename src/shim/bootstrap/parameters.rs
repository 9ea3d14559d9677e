//! What `start` finds on standard input: nothing, `Any(Options)` (containerd to 2.2), or `BootstrapParams` (from 2.3).

use prost::Message;

use crate::error::{Kind, Result};
use crate::fail;
use crate::shim::command_line::CommandLine;
use crate::shim::runtime::options::{self, Options};
use crate::shim::wire::bootstrap::BootstrapParams;
use crate::shim::wire::types::Any;

/// What the caller wants, and which answer it understands.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parameters {
    pub(super) options: Options,
    /// Where the sockets of shims are, if the caller says so.
    pub(super) socket_dir: Option<String>,
    pub(super) ttrpc_address: String,
    /// Whether the answer is a `BootstrapResult`.
    pub(super) new_protocol: bool,
}

/// The two messages have the same fields 1 and 2, a text and bytes: they are told apart by the id, which the newer one
/// repeats.
///
/// # Errors
/// Returns an error if it is neither, or has options of a type that is not known.
pub(super) fn read(input: &[u8], line: &CommandLine) -> Result<Parameters> {
    if input.is_empty() {
        return Ok(Parameters::default());
    }
    match BootstrapParams::decode(input) {
        Ok(parameters) if parameters.instance_id == line.id && parameters.namespace == line.namespace => {
            from_bootstrap(parameters)
        }
        _ => from_any(input),
    }
}

fn from_bootstrap(parameters: BootstrapParams) -> Result<Parameters> {
    let mut options = Options::default();
    for extension in parameters.extensions.iter().filter_map(|extension| extension.value.as_ref()) {
        // Extensions of other kinds are for other shims.
        if options::is_known(extension) {
            options = options::read(Some(extension))?;
        }
    }
    Ok(Parameters {
        options,
        socket_dir: parameters.socket_dir.filter(|dir| !dir.is_empty()),
        ttrpc_address: parameters.containerd_ttrpc_address,
        new_protocol: true,
    })
}

fn from_any(input: &[u8]) -> Result<Parameters> {
    let any = Any::decode(input).map_err(|error| {
        fail!(Kind::Usage, "standard input: neither options nor bootstrap parameters: {error}")
    })?;
    Ok(Parameters { options: options::read(Some(&any))?, ..Parameters::default() })
}
