//! A small pool of threads that share out a list of work.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Kind, Result};
use crate::fail;

/// Does `work` for each item, up to `threads` at the same time, in the order of the list. After a failure no further
/// item is begun.
///
/// # Errors
///
/// The first failure, in the order of the threads; `Kind::Unsupported` where a thread panicked.
pub(crate) fn for_each<T: Sync>(
    items: &[T],
    threads: usize,
    work: &(dyn Fn(&T) -> Result<()> + Sync),
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item).inspect_err(|_| next.store(items.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(items.len())).map(|_| scope.spawn(worker)).collect();
        let panicked = |_| Err(fail!(Kind::Unsupported, "a thread broke down"));
        let mut results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked));
        results.try_for_each(|result| result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_nothing_more_is_begun() {
        let begun = AtomicUsize::new(0);
        let fails = |item: &u32| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 3 { Err(fail!(Kind::State, "three")) } else { Ok(()) }
        };
        assert_eq!(for_each(&[1, 2, 3, 4, 5], 1, &fails).unwrap_err().to_string(), "three");
        assert_eq!(begun.into_inner(), 3);
    }
}
