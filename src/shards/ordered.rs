//! Work in parallel, results in order, memory bounded: how shards are written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use crate::error::Result;

/// Calls `work(state, i)` for i in 0..n on `threads` threads, each with a state of its own, and `consume(i, result)`
/// on this thread, in order. No thread runs further ahead of `consume` than twice the number of threads, so memory
/// does not grow with n. The first error ends it.
pub(super) fn in_order<S, T: Send>(
    n: usize,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<T> + Sync,
    mut consume: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let window = 2 * threads;
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let done = (Mutex::new(0_usize), Condvar::new());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.min(n) {
            let sender = sender.clone();
            let (next, stopped, done, state, work) = (&next, &stopped, &done, &state, &work);
            scope.spawn(move || {
                let mut state = state();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if n <= i {
                        return;
                    }
                    let mut consumed = done.0.lock().unwrap_or_else(PoisonError::into_inner);
                    while consumed.saturating_add(window) <= i && !stopped.load(Ordering::Acquire) {
                        consumed = done.1.wait(consumed).unwrap_or_else(PoisonError::into_inner);
                    }
                    drop(consumed);
                    // The receiver is gone only when the work has stopped.
                    if stopped.load(Ordering::Acquire) || sender.send((i, work(&mut state, i))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let consumed = consume_in_order(&receiver, |i, result| {
            consume(i, result)?;
            *done.0.lock().unwrap_or_else(PoisonError::into_inner) = i + 1;
            done.1.notify_all();
            Ok(())
        });
        // Under the lock, so that no thread sleeps past it.
        let guard = done.0.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.store(true, Ordering::Release);
        done.1.notify_all();
        drop(guard);
        drop(receiver);
        consumed
    })
}

fn consume_in_order<T>(
    receiver: &mpsc::Receiver<(usize, Result<T>)>,
    mut consume: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for (i, result) in receiver {
        waiting.insert(i, result);
        while let Some(result) = waiting.remove(&next) {
            consume(next, result?)?;
            next += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_order_whatever_the_threads_do() {
        for threads in [1, 2, 3, 8] {
            let mut seen = Vec::new();
            in_order(
                100,
                threads,
                || (),
                |(), i| {
                    // Uneven work.
                    std::hint::black_box((0..(i * 7919) % 5000).sum::<usize>());
                    Ok(i * i)
                },
                |i, square| {
                    seen.push((i, square));
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(seen, (0..100).map(|i| (i, i * i)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_ends_the_work() {
        let fail = |i| Error::setting("test", format!("at {i}"));
        let work = |(): &mut (), i: usize| if i == 5 { Err(fail(i)) } else { Ok(i) };
        let mut last = None;
        let result = in_order(
            1000,
            3,
            || (),
            work,
            |i, _| {
                last = Some(i);
                Ok(())
            },
        );
        assert!(result.unwrap_err().to_string().contains("at 5"));
        assert_eq!(last, Some(4));
        let result =
            in_order(1000, 3, || (), |(), i| Ok(i), |i, _| if i == 7 { Err(fail(i)) } else { Ok(()) });
        assert!(result.unwrap_err().to_string().contains("at 7"));
    }
}
