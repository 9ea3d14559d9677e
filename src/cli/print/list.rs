//! `list`: a table, one line of JSON, or ids.

use std::time::SystemTime;

use super::{columns, owner};
use crate::error::Result;
use crate::error::printable::one_line;
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

/// runc's table, which scripts read.
pub(crate) fn table(listed: &[Listed], passwd: &str) -> String {
    columns::align(&rows(listed, passwd))
}

fn rows(listed: &[Listed], passwd: &str) -> Vec<[String; 6]> {
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
    std::iter::once(header).chain(listed.iter().map(row)).collect()
}

const ID: usize = 0;
const BUNDLE: usize = 3;
const CREATED: usize = 4;
/// Blanks between two columns of [`fitted`].
const GAP: usize = 2;
/// Ids and bundles are not made shorter than this.
const SHORTEST: usize = 12;

/// The table for a person who looks at a terminal of so many columns: ages instead of times, long ids and
/// bundles shortened in the middle.
pub(crate) fn fitted(listed: &[Listed], passwd: &str, width: usize, now: SystemTime) -> String {
    let mut rows = rows(listed, passwd);
    for row in &mut rows {
        *row = row.each_ref().map(|cell| one_line(cell).into_owned());
    }
    for row in rows.iter_mut().skip(1) {
        row[CREATED] = age(&row[CREATED], now);
    }
    let mut widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let whole = widths.iter().sum::<usize>() + GAP * (widths.len() - 1);
    for _ in width..whole {
        let longer = if widths[BUNDLE] >= widths[ID] { BUNDLE } else { ID };
        widths[longer] = widths[longer].saturating_sub(1).max(SHORTEST.min(widths[longer]));
    }
    let line = |row: [String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:width$}", shortened(cell, width)));
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned() + "\n"
    };
    rows.into_iter().map(line).collect()
}

/// The beginning and the end, which both tell containers apart.
pub(super) fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let end = (width - 1) / 2;
    let start: String = text.chars().take(width - 1 - end).collect();
    start + "…" + &text.chars().skip(length - end).collect::<String>()
}

/// `3 hours`: whole units, of the largest that there is one of. A time that cannot be read stays.
fn age(created: &str, now: SystemTime) -> String {
    let Ok(created) = humantime::parse_rfc3339(created) else { return created.to_owned() };
    let seconds = now.duration_since(created).map_or(0, |age| age.as_secs());
    let units = [
        ("year", 31_536_000),
        ("week", 604_800),
        ("day", 86_400),
        ("hour", 3600),
        ("minute", 60),
        ("second", 1),
    ];
    let (name, size) = units.into_iter().find(|(_, size)| seconds >= *size).unwrap_or(("second", 1));
    let count = seconds / size;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
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
    fn a_terminals_table_fits_and_says_ages() {
        let now = humantime::parse_rfc3339("2026-01-02T06:04:06Z").unwrap();
        let mut long = listed(&"0123456789abcdef".repeat(4), 12345, 0);
        long.state.bundle =
            format!("/run/containerd/io.containerd.runtime.v2.task/moby/{}", "f".repeat(64)).into();
        let list = [listed("one", 1, 7), long];
        let expected = "\
ID                     PID    STATUS   BUNDLE                 CREATED  OWNER
one                    1      running  /b                     3 hours  #7
0123456789…6789abcdef  12345  running  /run/conta…ffffffffff  3 hours  root
";
        let table = fitted(&list, PASSWD, 76, now);
        assert_eq!(table, expected);
        assert!(table.lines().all(|line| line.chars().count() <= 76), "{table}");
        // Where there is room, nothing is cut; where there is none, the start of everything is still there.
        let wide = fitted(&list, PASSWD, 300, now);
        assert!(wide.contains(&"0123456789abcdef".repeat(4)) && !wide.contains('…'), "{wide}");
        let narrow = fitted(&list, PASSWD, 10, now);
        assert!(narrow.contains("012345…bcdef  ") && narrow.contains("3 hours"), "{narrow}");
        let mut odd = listed("one", 1, 0);
        odd.state.bundle = "/ä".repeat(40).into();
        assert!(fitted(&[odd], PASSWD, 1, now).contains("  /ä/ä/ä…ä/ä/ä  "));
    }

    #[test]
    fn ages_are_in_whole_units() {
        let created = "2026-01-01T00:00:00.5Z";
        for (seconds, expected) in [
            (-5, "0 seconds"),
            (0, "0 seconds"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "1 minute"),
            (3600, "1 hour"),
            (86_399, "23 hours"),
            (3 * 86_400, "3 days"),
            (15 * 86_400, "2 weeks"),
            (400 * 86_400, "1 year"),
        ] {
            let time = humantime::parse_rfc3339(created).unwrap();
            let now = match u64::try_from(seconds) {
                Ok(seconds) => time + std::time::Duration::from_secs(seconds),
                Err(_) => time - std::time::Duration::from_secs(5),
            };
            assert_eq!(age(created, now), expected);
        }
        assert_eq!(age("yesterday", SystemTime::UNIX_EPOCH), "yesterday");
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
