//! A table in columns: each is at least 12 wide and 3 blanks wider than its longest cell; the last one is
//! open.

use crate::error::printable::one_line;

const MIN_WIDTH: usize = 12;
const PADDING: usize = 3;

/// Aligns rows of cells as text.
pub(crate) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| one_line(cell).into_owned())).collect();
    let widths: Vec<usize> = (0..N).map(|column| width(rows.iter().map(|row| &row[column]))).collect();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths).take(N - 1) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[N - 1]);
        text.push('\n');
    }
    text
}

fn width<'a>(cells: impl Iterator<Item = &'a String>) -> usize {
    cells.map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(MIN_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 3]) -> [String; 3] {
        cells.map(String::from)
    }

    #[test]
    fn short_cells_fill_twelve_columns_and_long_ones_keep_three_blanks() {
        assert_eq!(align(&[row(["ID", "PID", "OWNER"])]), "ID          PID         OWNER\n");
        let table = align(&[row(["ID", "PID", "OWNER"]), row(["a-long-container-id", "1", "root"])]);
        assert_eq!(
            table,
            "ID                    PID         OWNER\na-long-container-id   1           root\n"
        );
    }

    #[test]
    fn a_cell_is_one_line_whatever_is_in_it() {
        assert_eq!(align(&[row(["a\nb", "\u{1b}[2J", "c"])]), "a\\u000ab    \\u001b[2J   c\n");
    }

    #[test]
    fn letters_count_and_not_bytes() {
        let table = align(&[row(["ä", "b", "c"])]);
        assert_eq!(table, "ä           b           c\n");
    }
}
