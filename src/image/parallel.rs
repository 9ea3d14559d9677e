//! A small pool of threads that work through a list together.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// Does both at the same time, `beside` in a thread of its own; where no thread can be had, `beside` comes first.
pub(crate) fn both<A, B: Send>(
    here: impl FnOnce() -> Result<A>,
    beside: impl FnOnce() -> Result<B> + Send,
) -> (Result<A>, Result<B>) {
    let broken = || Err(fail!(Kind::Unsupported, "a thread broke down"));
    let waiting = Mutex::new(Some(beside));
    let act = || {
        let beside = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        beside.map_or_else(broken, |beside| beside())
    };
    std::thread::scope(|scope| match std::thread::Builder::new().spawn_scoped(scope, act) {
        Ok(thread) => {
            let here = here();
            (here, thread.join().unwrap_or_else(|_| broken()))
        }
        Err(_) => {
            let beside = act();
            (here(), beside)
        }
    })
}

/// Calls `act` in a thread of its own, whose namespaces end with it.
pub(crate) fn in_thread<T: Send>(act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, act).context("start a thread")?;
        thread.join().unwrap_or_else(|_| Err(fail!(Kind::System(Errno::EIO), "a thread broke down")))
    })
}

/// Does `work` for each item, in the order of the list, up to `threads` at the same time. After a failure no
/// further item is begun. `size` returns how much of the disk an item needs.
///
/// # Errors
///
/// The failure that `root_cause` picks; `Kind::Unsupported` if a thread panicked.
pub(crate) fn for_each<T: Sync>(
    items: &[T],
    threads: usize,
    size: &dyn Fn(&T) -> u64,
    work: &(dyn Fn(&T) -> Result<()> + Sync),
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let worker = || {
        while let Some((number, item)) = take(items, &next) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                return failures.lock().unwrap_or_else(PoisonError::into_inner).push((number, error));
            }
        }
    };
    let panicked = std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        // Where no further thread can be had, those that are there do it all, or this one.
        let workers: Vec<_> = (0..threads.min(items.len())).map_while(start).collect();
        if workers.is_empty() {
            worker();
        }
        // All are joined, also after one that panicked: a scope panics itself for one that is not.
        workers.into_iter().map(|worker| worker.join().is_err()).filter(|panicked| *panicked).count() > 0
    });
    match root_cause(failures.into_inner().unwrap_or_else(PoisonError::into_inner), items, size) {
        Some(error) => Err(error),
        None if panicked => Err(fail!(Kind::Unsupported, "a thread broke down")),
        None => Ok(()),
    }
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    items.get(number).map(|item| (number, item))
}

/// Returns the failure of the earliest item. "Disk full" is returned only if nothing else failed, and then
/// for the largest item, the likely cause.
fn root_cause<T>(failures: Vec<(usize, Error)>, items: &[T], size: &dyn Fn(&T) -> u64) -> Option<Error> {
    let is_full = |error: &Error| matches!(error.errno(), Some(Errno::ENOSPC | Errno::EDQUOT));
    let key = |(number, error): &(usize, Error)| match is_full(error) {
        false => (false, Reverse(0), *number),
        true => (true, Reverse(items.get(*number).map_or(0, size)), *number),
    };
    failures.into_iter().min_by_key(key).map(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_breaks_down_is_an_error_of_its_own_part() {
        let (here, beside) = both(|| Ok(1), || Ok(2));
        assert_eq!((here.unwrap(), beside.unwrap()), (1, 2));
        let (here, beside) = both(|| Ok(1), || -> Result<()> { panic!("as it is meant to") });
        assert_eq!(here.unwrap(), 1);
        assert_eq!(beside.unwrap_err().to_string(), "a thread broke down");
    }

    #[test]
    fn after_a_failure_nothing_more_is_begun() {
        let begun = AtomicUsize::new(0);
        let fails = |item: &u32| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 3 { Err(fail!(Kind::State, "three")) } else { Ok(()) }
        };
        assert_eq!(for_each(&[1, 2, 3, 4, 5], 1, &|_| 0, &fails).unwrap_err().to_string(), "three");
        assert_eq!(begun.into_inner(), 3);
    }

    #[test]
    fn the_failure_that_is_told_does_not_depend_on_which_thread_is_first() {
        // Each thread has its item, and fails when all have begun; the later ones first, or the earlier ones.
        let told = |errors: [Error; 3], reversed: bool| {
            let begun = std::sync::Barrier::new(3);
            let items: Vec<_> = errors.into_iter().zip([10, 30, 20_u64]).enumerate().collect();
            let fails = |(number, (error, _)): &(usize, (Error, u64))| {
                begun.wait();
                let turn = if reversed { 2 - number } else { *number };
                std::thread::sleep(std::time::Duration::from_millis(50 * turn as u64));
                Err(error.clone().context(format!("item {number}")))
            };
            for_each(&items, 3, &|(_, (_, size))| *size, &fails).unwrap_err().to_string()
        };
        let full = || Error::from(Errno::ENOSPC);
        for reversed in [false, true] {
            let found = told([full(), full(), full()], reversed);
            assert_eq!(found, "item 1: no space left on device", "the largest");
            let found = told([full(), fail!(Kind::Spec, "b"), fail!(Kind::Spec, "c")], reversed);
            assert_eq!(found, "item 1: b", "the first that is no full disk");
            assert_eq!(told([fail!(Kind::Spec, "a"), full(), Errno::EIO.into()], reversed), "item 0: a");
        }
    }
}
