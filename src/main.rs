//! tare, the runtime.
#![no_main]

tare::entry!(tare::cli::main);
tare::first!();
