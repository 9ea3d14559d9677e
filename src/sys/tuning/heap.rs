//! The heap of every binary of the crate: dlmalloc. Its first request to the kernel is enough for a whole
//! command, while musl's own allocator requests a few pages at a time and returns them at once.

use crate::sys::heap_end::EndsWithoutMemory;

#[global_allocator]
static HEAP: EndsWithoutMemory<dlmalloc::GlobalDlmalloc> = EndsWithoutMemory(dlmalloc::GlobalDlmalloc);
