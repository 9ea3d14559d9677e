//! The heap of every binary of the crate: dlmalloc, whose first request to the kernel is enough for a whole command.
//!
//! musl's own allocator asks the kernel for every few pages and gives them back at once.

#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
