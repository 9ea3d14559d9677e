//! Lists of CPUs or memory nodes as the kernel writes them: `0-3,5`.

use super::config_error::quote;

/// The largest CPU or node number accepted. No machine has more, and a mask of that size is harmless.
pub const LAST: u32 = 64 * 1024;

/// The ranges of `list`, first and last inclusive, in its order. Spaces around and empty elements do not matter;
/// an empty list has no range.
///
/// # Errors
/// A phrase that says what is wrong: no number, a range that ends before it starts, a number above [`LAST`].
pub fn ranges(list: &str) -> Result<Vec<(u32, u32)>, String> {
    list.split(',').map(str::trim).filter(|element| !element.is_empty()).map(range).collect()
}

fn range(element: &str) -> Result<(u32, u32), String> {
    let (first, last) = element.split_once('-').unwrap_or((element, element));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("invalid range: {element}"));
    }
    Ok((first, last))
}

fn number(text: &str) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{} is not a number", quote(text)));
    }
    match text.parse() {
        Ok(number) if number <= LAST => Ok(number),
        _ => Err(format!("values larger than {LAST} are not supported: {}", quote(text).trim_matches('"'))),
    }
}

pub(super) fn print(ranges: &[(u32, u32)]) -> String {
    let print = |&(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(print).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_ranges() {
        for (list, expected) in [
            ("", Ok(vec![])),
            (" , ", Ok(vec![])),
            ("0", Ok(vec![(0, 0)])),
            ("0-3, 5,7-7", Ok(vec![(0, 3), (5, 5), (7, 7)])),
            ("65536", Ok(vec![(65536, 65536)])),
            ("65537", Err("values larger than 65536 are not supported: 65537")),
            ("99999999999999", Err("values larger than 65536 are not supported: 99999999999999")),
            ("3-1", Err("invalid range: 3-1")),
            ("1-", Err("\"\" is not a number")),
            ("a", Err("\"a\" is not a number")),
            ("+1", Err("\"+1\" is not a number")),
        ] {
            assert_eq!(ranges(list), expected.map_err(str::to_owned), "{list}");
        }
    }
}
