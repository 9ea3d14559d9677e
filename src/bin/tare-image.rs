//! The program tare-image: turns container images into bundles, and bundles into images.

fn main() {
    let code = tare::cli::image::main(std::env::args_os().collect());
    std::process::exit(code);
}
