//! `ps`: the pids of a container as JSON, or the lines of the host's own `ps` for them.

use crate::error::{Context, Kind, Result};
use crate::fail;

/// Prints one line; `null` if there are none.
pub(crate) fn json(pids: &[i32]) -> Result<String> {
    let text = if pids.is_empty() { String::from("null") } else { super::compact(pids)? };
    Ok(text + "\n")
}

/// Runs the host's `ps` with `arguments` (default `-ef`): its header and the lines of `pids`.
pub(crate) fn table(pids: &[i32], arguments: &[String]) -> Result<String> {
    let default = [String::from("-ef")];
    let arguments = if arguments.is_empty() { &default[..] } else { arguments };
    let output = std::process::Command::new("ps").args(arguments).output().context("run ps")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        return Err(fail!(Kind::Unsupported, "ps {}: {}: {stderr}", arguments.join(" "), output.status));
    }
    select(&String::from_utf8_lossy(&output.stdout), pids)
}

/// Returns the header of the output of `ps`, and the lines whose PID column is one of `pids`.
fn select(printed: &str, pids: &[i32]) -> Result<String> {
    let mut lines = printed.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = header.split_whitespace().position(|name| name == "PID") else {
        return Err(fail!(Kind::Unsupported, "ps: no column PID in its output: {header:?}"));
    };
    let mut text = format!("{header}\n");
    for line in lines.filter(|line| pid_of(line, column).is_some_and(|pid| pids.contains(&pid))) {
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

fn pid_of(line: &str, column: usize) -> Option<i32> {
    line.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 04:00 ?        00:00:01 /sbin/init 42
me            42       1  0 04:00 ?        00:00:00 sleep 1
";

    #[test]
    fn lines_are_chosen_by_the_column_under_pid() {
        let chosen = select(PRINTED, &[42]).unwrap();
        let lines: Vec<_> = chosen.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("UID") && lines[1].starts_with("me"), "{chosen}");
        assert_eq!(select(PRINTED, &[]).unwrap().lines().count(), 1);
    }

    #[test]
    fn output_without_that_column_is_an_error() {
        let error = select("CMD\nsleep\n", &[1]).unwrap_err();
        assert!(error.to_string().contains("PID"), "{error}");
    }

    #[test]
    fn json_is_one_line_and_null_when_empty() {
        assert_eq!(json(&[]).unwrap(), "null\n");
        assert_eq!(json(&[1, 22]).unwrap(), "[1,22]\n");
    }
}
