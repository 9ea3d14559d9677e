//! Reads the formats that the kernel's statistics files have.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::model::{BlkioEntry, Psi, PsiLine};
use crate::cgroup::dir::CgroupDir;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::spec::cpu_list::CpuList;

/// Reads a file's text; `None` if this kernel does not have the file, or refuses it (PSI is switched off).
pub(super) fn text(dir: &CgroupDir, file: &str) -> Result<Option<String>> {
    match dir.read(file) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("read {}", dir.path.join(file).display())),
    }
}

/// Reads one number; `max` becomes the largest.
pub(super) fn number(dir: &CgroupDir, file: &str) -> Result<Option<u64>> {
    let Some(text) = text(dir, file)? else { return Ok(None) };
    let wrong = || fail!(Kind::Unsupported, "{}: not a number: {text:?}", dir.path.join(file).display());
    match text.trim() {
        "max" => Ok(Some(u64::MAX)),
        // Old kernels can print v1's memsw counters and the like as a negative number.
        digits => digits.parse().map(Some).map_err(|_| wrong()),
    }
}

pub(super) fn number_or_zero(dir: &CgroupDir, file: &str) -> Result<u64> {
    Ok(number(dir, file)?.unwrap_or(0))
}

/// Parses lines of `key value`.
pub(crate) fn keyed(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Parses the numbers of a list such as `0-3,7` (cpuset(7)); empty if the kernel writes something else.
pub(crate) fn cpu_numbers(text: &str) -> Vec<u16> {
    let numbers = CpuList::parse(text).unwrap_or_default();
    numbers.numbers().filter_map(|number| u16::try_from(number).ok()).collect()
}

/// Parses `8:0`.
pub(crate) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Parses v1's `8:0 Read 4096` or `8:0 4096`; the `Total` at the end is left out.
pub(crate) fn blkio(text: &str) -> Vec<BlkioEntry> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (op, value) = match words[..] {
            [_, op, value] => (op, value),
            [_, value] => ("", value),
            _ => return None,
        };
        let (major, minor) = device(words[0])?;
        Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// Reads a pressure file. Older kernels have no `full` for the processor.
pub(super) fn psi(dir: &CgroupDir, file: &str) -> Result<Option<Psi>> {
    Ok(text(dir, file)?.map(|text| parse_psi(&text)))
}

pub(crate) fn parse_psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let target = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        *target = psi_line(words);
    }
    psi
}

fn psi_line<'a>(words: impl Iterator<Item = &'a str>) -> PsiLine {
    let mut line = PsiLine::default();
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let average = value.parse().unwrap_or_default();
        match key {
            "avg10" => line.avg10 = average,
            "avg60" => line.avg60 = average,
            "avg300" => line.avg300 = average,
            "total" => line.total = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    line
}

/// Returns the huge page sizes of this host as control files spell them.
pub(super) fn page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut sizes: Vec<u64> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
        })
        .collect();
    sizes.sort_unstable();
    sizes.into_iter().map(page_size).collect()
}

fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        1_048_576.. => format!("{}GB", kilobytes >> 20),
        1024.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_sizes_are_spelled_out() {
        assert_eq!(cpu_numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert!(cpu_numbers("\n").is_empty());
        assert_eq!([64, 2048, 1_048_576].map(page_size), ["64KB", "2MB", "1GB"]);
    }

    #[test]
    fn block_lines_have_an_operation_or_none() {
        let entries = blkio("8:0 Read 1\n8:16 2\nTotal 3\n8:0 Total 4\n");
        let short: Vec<_> = entries.iter().map(|e| (e.major, e.minor, e.op.as_str(), e.value)).collect();
        assert_eq!(short, [(8, 0, "Read", 1), (8, 16, "", 2), (8, 0, "Total", 4)]);
    }

    #[test]
    fn pressure_without_a_full_line_is_zero_there() {
        let psi = parse_psi("some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n");
        assert_eq!((psi.some.avg10, psi.some.avg60, psi.some.total), (1.5, 0.25, 77));
        assert_eq!(psi.full, PsiLine::default());
    }
}
