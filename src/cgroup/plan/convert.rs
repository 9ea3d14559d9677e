//! Converts values of the v1 interface, which the configuration uses, to v2 (runtime-spec, config-linux).

use crate::error::{Error, Kind, Result};
use crate::fail;

/// The kernel's default period for quotas, in microseconds.
pub(super) const DEFAULT_CFS_PERIOD_US: u64 = 100_000;

/// `cpu.shares` (2 to 262144, 1024 by default) as `cpu.weight` (1 to 10000, 100 by default).
///
/// Three points lie on the curve: the two ends and the default. The older straight line turned 1024 into 39,
/// so that a container with default shares got less than a process outside.
pub(super) fn shares_to_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log2 = (shares as f64).log2();
            let exponent = (log2 * log2 + 125.0 * log2) / 612.0 - 7.0 / 34.0;
            // Integral results can be slightly too large or too small; ceil must not round them up.
            let weight = (10_f64.powf(exponent) - 1e-6).ceil();
            weight as u64
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight).saturating_sub(10) * 9999 / 990
}

/// Returns processor time per second as systemd counts it: microseconds, in steps of 10 ms. `None` if it does
/// not fit.
pub(super) fn quota_per_second(quota: u64, period: u64) -> Option<u64> {
    let exact = (u128::from(quota) * 1_000_000).div_ceil(u128::from(period));
    u64::try_from(exact.div_ceil(10_000) * 10_000).ok()
}

/// `memory.swap.max` for a memory limit and a memory-plus-swap limit; 0 is "not asked for", -1 "no limit".
pub(super) fn swap_max(memory: i64, memory_and_swap: i64, pointer: &str) -> Result<Option<SwapMax>> {
    match (memory, memory_and_swap) {
        // Memory has no limit and swap is not mentioned: neither has one, as in v1.
        (-1, 0) | (_, -1) => Ok(Some(SwapMax::Unlimited)),
        (_, 0) => Ok(None),
        (0 | -1, _) => Err(invalid_resource(pointer, "unable to set swap limit without memory limit")),
        (memory, both) if both < memory => {
            Err(invalid_resource(pointer, "memory+swap limit should be >= memory limit"))
        }
        (memory, both) => Ok(Some(SwapMax::Bytes(both - memory))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SwapMax {
    Unlimited,
    Bytes(i64),
}

fn invalid_resource(pointer: &str, what: &str) -> Error {
    fail!(Kind::Spec, "{pointer}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_on_the_curve() {
        for (shares, weight) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 2),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(shares_to_weight(shares), weight, "{shares}");
        }
        let all: Vec<u64> = (2..=18).map(|power| shares_to_weight(1 << power)).collect();
        assert!(all.is_sorted());
    }

    #[test]
    fn block_weights_span_both_ranges() {
        assert_eq!([10, 500, 1000, 1].map(io_weight), [1, 4950, 10_000, 1]);
    }

    #[test]
    fn swap_is_what_is_left_after_memory() {
        for (memory, both, want) in [
            (0, 0, None),
            (-1, 0, Some(SwapMax::Unlimited)),
            (100, -1, Some(SwapMax::Unlimited)),
            (0, -1, Some(SwapMax::Unlimited)),
            (100, 0, None),
            (100, 100, Some(SwapMax::Bytes(0))),
            (100, 150, Some(SwapMax::Bytes(50))),
        ] {
            assert_eq!(swap_max(memory, both, "/p").unwrap(), want, "{memory} {both}");
        }
        for (memory, both, text) in [
            (0, 5, "/p: unable to set swap limit without memory limit"),
            (-1, 5, "/p: unable to set swap limit without memory limit"),
            (10, 5, "/p: memory+swap limit should be >= memory limit"),
        ] {
            assert_eq!(swap_max(memory, both, "/p").unwrap_err().to_string(), text);
        }
    }
}
