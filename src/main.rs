//! tare, the runtime.

fn main() {}
