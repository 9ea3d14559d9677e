//! tare, the runtime.
#![no_main]

tare::main_function!(tare::cli::main);

#[cfg(feature = "tuning")]
tare::early_seal_entry!();
