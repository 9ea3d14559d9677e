//! The state document that hooks read on their standard input.

use std::collections::BTreeMap;
use std::path::Path;

use crate::container_id::ContainerId;

/// All of it but the two members that change from hook to hook: laid out by the parent, finished by whoever runs them.
#[derive(Debug, Clone)]
pub(crate) struct HookState {
    head: String,
}

impl HookState {
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
        // The closing brace comes with the rest.
        head.pop();
        Self { head }
    }

    /// `pid` as the hook's own pid namespace numbers it; 0, of a container that has stopped, is left out.
    pub(crate) fn document(&self, status: &str, pid: i32) -> Vec<u8> {
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
        let value: serde_json::Value = serde_json::from_slice(&state.document("creating", 7)).unwrap();
        assert_eq!(value["bundle"], "/b\"c");
        assert_eq!((&value["status"], &value["pid"]), (&"creating".into(), &7.into()));
        assert!(value.get("annotations").is_none());
        let value: serde_json::Value = serde_json::from_slice(&state.document("stopped", 0)).unwrap();
        assert_eq!((&value["status"], value.get("pid")), (&"stopped".into(), None));
    }
}
