//! Ends a new process of a container at once when it gets no memory.
//!
//! The standard library would say so on standard error, and ask again for ever where a seccomp filter answers
//! EINTR: mmap and write may both be denied by then.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, Ordering};

use super::process::exit_now;

static ENDS: AtomicBool = AtomicBool::new(false);

/// The exit code of a process that gets no memory: that of one that failed before its program ran.
const FAILED: i32 = 255;

/// From here on this process ends when there is no memory.
pub fn end_without_memory() {
    ENDS.store(true, Ordering::Relaxed);
}

/// An allocator that never fails in such a process.
pub struct EndsWithoutMemory<A>(pub A);

impl<A> EndsWithoutMemory<A> {
    fn checked(&self, pointer: *mut u8) -> *mut u8 {
        if pointer.is_null() && ENDS.load(Ordering::Relaxed) {
            exit_now(FAILED)
        }
        pointer
    }
}

// SAFETY: every call is the inner allocator's, with the arguments and under the conditions that it was made
// with; what comes back is the inner one's pointer.
unsafe impl<A: GlobalAlloc> GlobalAlloc for EndsWithoutMemory<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.checked(unsafe { self.0.alloc(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.checked(unsafe { self.0.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        self.checked(unsafe { self.0.realloc(pointer, layout, size) })
    }
}

#[cfg(not(feature = "tuning"))]
#[global_allocator]
static HEAP: EndsWithoutMemory<std::alloc::System> = EndsWithoutMemory(std::alloc::System);
