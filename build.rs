//! Where the program starts: `sys::first` of the library, for `tare` alone.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if ["x86_64", "aarch64"].contains(&&*arch) {
        println!("cargo::rustc-link-arg-bin=tare=-Wl,--entry=tare_first");
    }
}
