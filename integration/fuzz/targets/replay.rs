//! Every input of integration/fuzz/corpus again, and some thousand changed ones: what was found once stays mended, without a
//! fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use super::TARGETS;

/// How many changed inputs each target gets; `TARE_FUZZ_INPUTS` says more, and `TARE_FUZZ_TARGET` names a target.
const CHANGED: usize = 150;
/// After how many of them they begin with an input of the corpus again.
const CHAIN: usize = 32;

fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(corpus).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn what_was_found_stays_mended() {
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "no inputs for {name}");
        for (path, bytes) in inputs {
            println!("{}", path.display());
            target(&bytes);
        }
    }
}

/// xorshift64*: the same on every host.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    /// Cuts, doubles or overwrites a part of the bytes.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 if bytes.len() > 1 => bytes.truncate(at),
                1 => {
                    let part: Vec<u8> = bytes[at..].iter().take(self.below(32)).copied().collect();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                _ => bytes.push(self.below(256) as u8),
            }
        }
    }
}

#[test]
fn changed_inputs_harm_nobody() {
    let mut dice = Dice(0x7a3e);
    let count = std::env::var("TARE_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(CHANGED);
    let only = std::env::var("TARE_FUZZ_TARGET").ok();
    for (name, target) in TARGETS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let inputs = inputs(name);
        let mut bytes = Vec::new();
        for round in 0..count {
            if count == CHANGED || round % CHAIN == 0 {
                bytes = inputs[round % inputs.len()].1.clone();
            }
            dice.change(&mut bytes);
            if count == CHANGED {
                println!("{name}: {}", bytes.escape_ascii());
            } else {
                // Too many to keep: the last one alone, where it can be read after a fall.
                let _ = fs::write(std::env::temp_dir().join(format!("tare-fuzz-input-{name}")), &bytes);
            }
            target(&bytes);
        }
    }
}
