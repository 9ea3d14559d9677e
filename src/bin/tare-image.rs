//! tare-image, the companion: from an image to a bundle.

/// As tare's.
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() {
    let code = tare::cli::image::main(std::env::args_os().collect());
    std::process::exit(code);
}
