//! `top`: a table of containers, for a screen or once.

use std::cmp::Ordering;

use super::list::shortened;
use crate::error::printable::one_line;
use crate::lifecycle::options::SortKey;
use crate::lifecycle::verbs::top::{Row, Usage};

const HEADER: [&str; 7] = ["ID", "STATUS", "PIDS", "CPU%", "MEMORY", "IO/s", "WAITED cpu mem io"];
const GAP: &str = "  ";
/// Ids are not made shorter than this.
const SHORTEST: usize = 12;

/// The table, in order, each line at most `width` wide.
pub(crate) fn lines(rows: &[Row], sort: SortKey, width: usize) -> Vec<String> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by(|one, other| order(sort, one, other).then_with(|| one.id.cmp(&other.id)));
    let cells: Vec<[String; 7]> =
        std::iter::once(HEADER.map(String::from)).chain(sorted.into_iter().map(cells)).collect();
    let mut widths: [usize; 7] =
        std::array::from_fn(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let rest: usize = widths[1..].iter().sum::<usize>() + GAP.len() * (widths.len() - 1);
    widths[0] = widths[0].min(width.saturating_sub(rest).max(SHORTEST));
    let line = |row: [String; 7]| {
        let cell = |(column, cell): (usize, &String)| match column {
            0 => format!("{:1$}", shortened(cell, widths[0]), widths[0]),
            1 => format!("{cell:0$}", widths[1]),
            _ => format!("{cell:>0$}", widths[column]),
        };
        let text = row.iter().enumerate().map(cell).collect::<Vec<_>>().join(GAP);
        text.trim_end().chars().take(width).collect()
    };
    cells.into_iter().map(line).collect()
}

/// The largest comes first, and by id the first.
fn order(sort: SortKey, one: &Row, other: &Row) -> Ordering {
    let number = |row: &Row| -> f64 {
        let Some(usage) = &row.usage else { return -1.0 };
        match sort {
            SortKey::Cpu => usage.cpu_percent.unwrap_or(0.0),
            SortKey::Memory => usage.memory as f64,
            SortKey::Pids => usage.pids as f64,
            SortKey::Io => usage.io_rate.unwrap_or(0.0),
            SortKey::Id => 0.0,
        }
    };
    match sort {
        SortKey::Id => one.id.cmp(&other.id),
        _ => number(other).total_cmp(&number(one)),
    }
}

fn cells(row: &Row) -> [String; 7] {
    let id = one_line(&row.id).into_owned();
    let Some(usage) = &row.usage else {
        let none = || String::from("-");
        return [id, row.status.to_owned(), none(), none(), none(), none(), none()];
    };
    [
        id,
        row.status.to_owned(),
        of_limit(&usage.pids.to_string(), usage.pids_limit.map(|limit| limit.to_string())),
        usage.cpu_percent.map_or_else(|| String::from("-"), |percent| format!("{percent:.1}")),
        of_limit(&bytes(usage.memory as f64), usage.memory_limit.map(|limit| bytes(limit as f64))),
        usage.io_rate.map_or_else(|| String::from("-"), bytes),
        pressure(usage),
    ]
}

fn of_limit(used: &str, limit: Option<String>) -> String {
    limit.map_or_else(|| used.to_owned(), |limit| format!("{used}/{limit}"))
}

fn pressure(usage: &Usage) -> String {
    match usage.pressure {
        Some([cpu, memory, io]) => format!("{cpu:.0}% {memory:.0}% {io:.0}%"),
        None => String::from("-"),
    }
}

/// `1.5M`: binary units.
fn bytes(number: f64) -> String {
    let (mut number, mut unit) = (number, 0);
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    while number >= 1023.95 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{number:.0}") } else { format!("{number:.1}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, cpu: f64, memory: u64) -> Row {
        let usage = Usage {
            cpu_percent: Some(cpu),
            memory,
            memory_limit: Some(1 << 30),
            pids: 3,
            pids_limit: None,
            io_rate: Some(2048.0),
            pressure: Some([1.0, 0.0, 12.4]),
        };
        Row { id: id.into(), status: "running", usage: Some(usage) }
    }

    #[test]
    fn the_largest_is_first_and_the_table_fits() {
        let mut rows = vec![row("b", 1.0, 5 << 20), row("a", 99.95, 1 << 20), row("c", 1.0, 6 << 20)];
        rows.push(Row { id: "d".into(), status: "stopped", usage: None });
        let expected = "\
ID  STATUS   PIDS   CPU%     MEMORY  IO/s  WAITED cpu mem io
a   running     3  100.0  1.0M/1.0G  2.0K          1% 0% 12%
b   running     3    1.0  5.0M/1.0G  2.0K          1% 0% 12%
c   running     3    1.0  6.0M/1.0G  2.0K          1% 0% 12%
d   stopped     -      -          -     -                  -";
        assert_eq!(lines(&rows, SortKey::Cpu, 200).join("\n"), expected);
        let first = |sort| lines(&rows, sort, 200)[1].chars().next().unwrap();
        assert_eq!([SortKey::Memory, SortKey::Id, SortKey::Pids].map(first), ['c', 'a', 'a']);
        rows.push(row(&"0123456789abcdef".repeat(4), 0.0, 0));
        for width in [0, 1, 20, 70, 80] {
            assert!(lines(&rows, SortKey::Cpu, width).iter().all(|line| line.chars().count() <= width));
        }
    }

    #[test]
    fn an_id_is_one_line_whatever_is_in_it() {
        let lines = lines(&[row("a\u{1b}[2J\nb", 0.0, 0)], SortKey::Cpu, 200);
        assert!(lines[1].starts_with("a\\u001b[2J\\u000ab"), "{lines:?}");
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(
            [0.0, 1023.0, 1024.0, 1048575.0, 1e30].map(bytes),
            ["0", "1023", "1.0K", "1.0M", "888178419700125.2P"]
        );
    }
}
