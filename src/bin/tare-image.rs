//! The program tare-image: turns container images into bundles, and bundles into images.

/// As tare's.
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() {
    let code = tare::cli::image::main(std::env::args_os().collect());
    std::process::exit(code);
}
