//! tare, the runtime.
#![no_main]

/// The C library's own asks the kernel for every few pages, and gives them back at once.
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

tare::entry!(tare::cli::main);
tare::first!();
