//! What the linker is told for the feature `tuning` (src/sys/tuning); without the feature, nothing.
#![allow(clippy::print_stdout)]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_TUNING").is_none() {
        return;
    }
    if let Err(reason) = check_tuning() {
        println!(
            "cargo::error=the feature `tuning` {reason}; integration/cargo passes what it needs, and without it tare works the same"
        );
        return;
    }
    link();
}

/// Refuses the feature where it would not be sound, with the reason.
fn check_tuning() -> Result<(), &'static str> {
    if variable("CARGO_CFG_TARGET_OS") != "linux"
        || !["x86_64", "aarch64", "riscv64"].contains(&&*variable("CARGO_CFG_TARGET_ARCH"))
    {
        return Err("has its first instructions for Linux on x86_64, aarch64 and riscv64 only");
    }
    if !variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static") {
        // The dynamic linker runs before the entry that the linker is told of.
        return Err("needs a static binary (-C target-feature=+crt-static)");
    }
    if codegen_option("relocation-model").as_deref() != Some("static") {
        // A static position-independent program relocates itself, and what runs before that must not need it.
        return Err("needs a binary of fixed addresses (-C relocation-model=static)");
    }
    Ok(())
}

fn link() {
    let root = variable("CARGO_MANIFEST_DIR");
    let no_unwinding = format!("{root}/src/sys/tuning/no_unwinding.ld");
    let order = format!("{root}/integration/layout/order.ld");
    println!("cargo::rerun-if-changed={no_unwinding}");
    println!("cargo::rerun-if-changed={order}");
    println!("cargo::rustc-link-arg-bin=tare=-Wl,--entry=tare_entry");
    // A panic unwinds in the other profiles.
    if variable("PROFILE") == "release" {
        println!("cargo::rustc-link-arg-bins=-T{no_unwinding}");
        println!("cargo::rustc-link-arg-bin=tare=-T{order}");
    }
}

/// The last `-C NAME=VALUE` of the flags for rustc.
fn codegen_option(name: &str) -> Option<String> {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let mut words = flags.split('\x1f');
    let mut value = None;
    while let Some(word) = words.next() {
        let option = match word {
            "-C" | "--codegen" => words.next().unwrap_or_default(),
            _ => word.strip_prefix("-C").or_else(|| word.strip_prefix("--codegen=")).unwrap_or_default(),
        };
        if let Some((_, found)) =
            option.split_once('=').filter(|(option, _)| option.replace('_', "-") == name)
        {
            value = Some(found.to_owned());
        }
    }
    value
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
