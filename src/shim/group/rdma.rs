//! The use of remote direct memory access in a group, which runc's figures do not have.

use std::fs;
use std::path::Path;

use crate::shim::wire::rdma::{RdmaEntry, RdmaStat};

/// Reads it from a group's directory. A file that is missing leaves an empty list, as with containerd's own shim.
pub(super) fn read(dir: &Path) -> RdmaStat {
    let entries = |file| entries(&fs::read_to_string(dir.join(file)).unwrap_or_default());
    RdmaStat { current: entries("rdma.current"), limit: entries("rdma.max") }
}

/// The lines of such a file, as `mlx4_0 hca_handle=2 hca_object=max`.
fn entries(text: &str) -> Vec<RdmaEntry> {
    let number = |words: &[&str], name: &str| {
        let value = words.iter().find_map(|word| word.split_once('=').filter(|(found, _)| *found == name));
        match value.map_or("", |(_, value)| value) {
            "max" => u32::MAX,
            digits => digits.parse().unwrap_or(0),
        }
    };
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let words: Vec<_> = rest.split_whitespace().collect();
        Some(RdmaEntry {
            device: device.to_owned(),
            hca_handles: number(&words, "hca_handle"),
            hca_objects: number(&words, "hca_object"),
        })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_its_two_numbers() {
        let found = entries("mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_object=max hca_handle=3 \n\n");
        let seen: Vec<_> =
            found.iter().map(|it| (it.device.as_str(), it.hca_handles, it.hca_objects)).collect();
        assert_eq!(seen, [("mlx4_0", 2, 2000), ("ocrdma1", 3, u32::MAX)]);
    }
}
