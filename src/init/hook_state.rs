//! `HookState` writes the state document that hooks read on their standard input (runtime.md, "State").

use std::collections::BTreeMap;
use std::path::Path;

use crate::container_id::ContainerId;

/// The document without status and pid, which change from hook to hook. The parent makes it, and the side
/// that runs the hooks completes it.
#[derive(Debug, Clone)]
pub(crate) struct HookState {
    head: String,
}

impl HookState {
    /// Writes the members that stay the same.
    pub(crate) fn new(
        version: &str,
        id: &ContainerId,
        bundle: &Path,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        let mut document = serde_json::json!({ "ociVersion": version, "id": id.as_str(), "bundle": bundle });
        if !annotations.is_empty() {
            document["annotations"] = serde_json::json!(annotations);
        }
        let mut head = document.to_string();
        // `document` adds the closing brace.
        head.pop();
        Self { head }
    }

    /// Completes the document. `pid` is the number in the hook's own pid namespace; 0, for a stopped
    /// container, is left out.
    pub(crate) fn to_json(&self, status: &str, pid: i32) -> Vec<u8> {
        let pid = if pid == 0 { String::new() } else { format!(",\"pid\":{pid}") };
        format!("{},\"status\":\"{status}\"{pid}}}", self.head).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_json_with_all_members() {
        let state =
            HookState::new("1.3.0", &ContainerId::parse("a").unwrap(), Path::new("/b\"c"), &BTreeMap::new());
        let value: serde_json::Value = serde_json::from_slice(&state.to_json("creating", 7)).unwrap();
        assert_eq!(value["bundle"], "/b\"c");
        assert_eq!((&value["status"], &value["pid"]), (&"creating".into(), &7.into()));
        assert!(value.get("annotations").is_none());
        let value: serde_json::Value = serde_json::from_slice(&state.to_json("stopped", 0)).unwrap();
        assert_eq!((&value["status"], value.get("pid")), (&"stopped".into(), None));
    }
}
