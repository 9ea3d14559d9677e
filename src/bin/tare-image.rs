//! tare-image, the companion: from an image to a bundle.

fn main() {
    let code = tare::cli::image::main(std::env::args_os().collect());
    std::process::exit(code);
}
