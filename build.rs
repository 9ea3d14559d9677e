//! What the linker is told: where `tare` starts (`sys::first` of the library), what a release leaves out, and which of
//! its functions lie side by side (integration/layout).
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/no_unwinding.ld");
    println!("cargo::rerun-if-changed=src/order.ld");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    if ["x86_64", "aarch64"].contains(&&*of("CARGO_CFG_TARGET_ARCH")) {
        println!("cargo::rustc-link-arg-bin=tare=-Wl,--entry=tare_first");
    }
    if of("PROFILE") == "release" {
        let sources = of("CARGO_MANIFEST_DIR") + "/src";
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{sources}/no_unwinding.ld");
        println!("cargo::rustc-link-arg-bin=tare=-Wl,-T,{sources}/order.ld");
    }
}
