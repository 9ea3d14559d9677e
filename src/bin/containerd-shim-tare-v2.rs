//! The program containerd-shim-tare-v2: containerd's shim for `tare`.

fn main() {
    let code = tare::cli::shim::main(std::env::args_os().collect());
    std::process::exit(code);
}
