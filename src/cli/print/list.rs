//! `list`: a table, one line of JSON, or ids.

use super::{columns, owner};
use crate::error::Result;
use crate::lifecycle::verbs::list::Listed;
use crate::lifecycle::verbs::state::State;

pub(crate) fn ids(listed: &[Listed]) -> String {
    listed.iter().map(|one| format!("{}\n", one.state.id)).collect()
}

/// Prints one line; `null` if the list is empty, as Go writes a nil slice.
pub(crate) fn json(listed: Vec<Listed>, passwd: &str) -> Result<String> {
    if listed.is_empty() {
        return Ok(String::from("null\n"));
    }
    let states: Vec<State> = listed
        .into_iter()
        .map(|Listed { state, uid }| State { owner: owner::name(passwd, uid), ..state })
        .collect();
    Ok(super::compact(&states)? + "\n")
}

pub(crate) fn table(listed: &[Listed], passwd: &str) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let row = |Listed { state, uid }: &Listed| {
        [
            state.id.to_string(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            owner::name(passwd, *uid),
        ]
    };
    let rows: Vec<_> = std::iter::once(header).chain(listed.iter().map(row)).collect();
    columns::align(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_id::ContainerId;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n";

    fn listed(id: &str, pid: i32, uid: u32) -> Listed {
        let state = State {
            oci_version: "1.3.0",
            id: ContainerId::parse(id).unwrap(),
            pid,
            status: if pid == 0 { "stopped" } else { "running" },
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: String::from("2026-01-02T03:04:05.123456789Z"),
            annotations: [(String::from("a"), String::from("1"))].into(),
            owner: String::new(),
        };
        Listed { state, uid }
    }

    #[test]
    fn the_table_is_runcs() {
        let header = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
        assert_eq!(table(&[], PASSWD), header);
        let expected = "\
ID          PID         STATUS      BUNDLE      CREATED                          OWNER
one         12345       running     /b          2026-01-02T03:04:05.123456789Z   root
two         0           stopped     /b          2026-01-02T03:04:05.123456789Z   #7
";
        assert_eq!(table(&[listed("one", 12345, 0), listed("two", 0, 7)], PASSWD), expected);
    }

    #[test]
    fn json_is_one_line_with_owners_and_null_when_empty() {
        assert_eq!(json(vec![], PASSWD).unwrap(), "null\n");
        let expected = "[{\"ociVersion\":\"1.3.0\",\"id\":\"one\",\"pid\":1,\"status\":\"running\",\
            \"bundle\":\"/b\",\"rootfs\":\"/b/rootfs\",\"created\":\"2026-01-02T03:04:05.123456789Z\",\
            \"annotations\":{\"a\":\"1\"},\"owner\":\"root\"}]\n";
        assert_eq!(json(vec![listed("one", 1, 0)], PASSWD).unwrap(), expected);
    }

    #[test]
    fn quiet_is_one_id_a_line() {
        assert_eq!(ids(&[]), "");
        assert_eq!(ids(&[listed("one", 1, 0), listed("two", 0, 0)]), "one\ntwo\n");
    }

    #[test]
    fn a_state_is_indented_by_two_and_ends_without_a_newline() {
        let mut one = listed("one", 1, 0).state;
        one.annotations.clear();
        let text = super::super::state::json(&one).unwrap();
        assert!(text.starts_with("{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": \"one\","), "{text}");
        assert!(text.ends_with("\"owner\": \"\"\n}") && !text.contains("annotations"), "{text}");
    }
}
