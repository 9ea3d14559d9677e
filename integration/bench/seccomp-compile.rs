//! For `make bench`: how long a configuration's seccomp profile takes to become a program for the kernel.
//!
//!     seccomp-compile CONFIG
//!
//! One line: microseconds (the median of many times), and the instructions of the program. The first time counts as all
//! others do; a command compiles once, with cold caches, so it is told too: median, first, instructions.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use oci_spec::runtime::Arch;
use tare::testing::plan::seccomp::compile;

const TIMES: usize = 500;

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let config = tare::testing::spec::parse(&bytes).unwrap();
    let profile = config.linux().as_ref().unwrap().seccomp().as_ref().unwrap();
    let machine = if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };
    let mut length = 0;
    let mut once = || {
        let begin = Instant::now();
        length = black_box(compile(black_box(profile), machine, 0).unwrap()).program.len();
        begin.elapsed().as_secs_f64() * 1e6
    };
    let first = once();
    let mut times: Vec<f64> = (0..TIMES).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    println!("{:.1} {first:.1} {length}", times[TIMES / 2]);
}
