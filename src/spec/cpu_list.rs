//! Lists of CPUs or memory nodes as the kernel writes them: `0-3,5` (cpuset(7), "List format"). This is their
//! only parser: for `execCPUAffinity`, memory policies, cpusets, cgroup files, and systemd's masks.

use std::fmt::{self, Display, Formatter};

use super::config_error::quote;
use crate::kernel::scheduling::Mask;

/// The largest CPU or node number accepted. No machine has more, and a mask of that size is harmless.
const MAX_NUMBER: u32 = 64 * 1024;
/// Every number ten times over.
const MOST_NUMBERS: u64 = 10 * (MAX_NUMBER as u64 + 1);

/// A parsed list: its ranges in order. It is printed in the same format, without spaces and empty elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CpuList(Vec<(u32, u32)>);

impl CpuList {
    /// Parses `list`. Spaces around elements and empty elements are ignored; an empty list has no range.
    ///
    /// # Errors
    /// A phrase that says what is wrong: no number, a range that ends before it starts, a number above
    /// 65536, or more numbers than there are: a short list of ranges that are repeated would keep us busy for hours.
    pub(crate) fn parse(list: &str) -> Result<Self, String> {
        let elements = list.split(',').map(str::trim).filter(|element| !element.is_empty());
        let list = Self(elements.map(parse_range).collect::<Result<_, _>>()?);
        match list.count() > MOST_NUMBERS {
            true => Err(format!("more than {MOST_NUMBERS} numbers, so some are given again and again")),
            false => Ok(list),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many numbers the list has. Repeated numbers are counted each time.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Returns each CPU or node, in the order of the list.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    /// Returns the list as bits; empty for an empty list.
    pub(crate) fn to_mask(&self) -> Mask {
        let words = self.0.iter().map(|&(_, last)| last as usize / 64 + 1).max().unwrap_or(0);
        let mut mask = vec![0; words];
        self.numbers().for_each(|number| mask[number as usize / 64] |= 1 << (number % 64));
        mask
    }
}

impl Display for CpuList {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn parse_range(element: &str) -> Result<(u32, u32), String> {
    let (first, last) = element.split_once('-').unwrap_or((element, element));
    if element.starts_with('-') || element.ends_with('-') {
        return Err(format!("half a range: {}", quote(element)));
    }
    let (first, last) = (parse_number(first)?, parse_number(last)?);
    if first > last {
        return Err(format!("invalid range: {element}"));
    }
    Ok((first, last))
}

fn parse_number(text: &str) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{} is not a number", quote(text)));
    }
    match text.parse() {
        Ok(number) if number <= MAX_NUMBER => Ok(number),
        _ => Err(format!(
            "values larger than {MAX_NUMBER} are not supported: {}",
            quote(text).trim_matches('"')
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_repeats_itself_only_so_often() {
        assert_eq!(CpuList::parse(&"0-65535,".repeat(10)).map(|list| list.count()), Ok(655_360));
        assert!(CpuList::parse(&"0-65535,".repeat(11)).is_err());
    }

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
            ("1-", Err("half a range: \"1-\"")),
            ("a", Err("\"a\" is not a number")),
            ("+1", Err("\"+1\" is not a number")),
        ] {
            assert_eq!(CpuList::parse(list), expected.map(CpuList).map_err(str::to_owned), "{list}");
        }
    }

    #[test]
    fn a_list_is_printed_without_spaces_and_becomes_bits() {
        let list = CpuList::parse(" 0-2, ,64,").unwrap();
        assert_eq!(list.to_string(), "0-2,64");
        assert_eq!(list.to_mask(), [0b111, 1]);
        assert_eq!(list.numbers().collect::<Vec<_>>(), [0, 1, 2, 64]);
        assert!(CpuList::parse("").unwrap().to_mask().is_empty());
    }
}
