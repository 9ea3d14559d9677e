//! `NotPlain`: why a layer gets no index.

/// The reason, of which "it" is the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotPlain(pub(crate) &'static str);
