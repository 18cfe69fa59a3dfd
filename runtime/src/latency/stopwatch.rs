//! Times what a thread does, without the time for which others kept it from its core.

use std::cell::Cell;
use std::fs::File;
use std::time::{Duration, Instant};

use super::paired::Taken;

/// Where Linux says for how long a thread was running, for how long it was ready to run but waited
/// for a core, and how often it ran (`Documentation/scheduler/sched-stats.rst`).
const SCHEDULE: &str = "/proc/thread-self/schedstat";

/// The kernel's clock and ours agree to some microseconds. Work that is shorter than this is timed
/// with its waiting: a turn has many such samples, and their median does without the few.
const CERTAIN: Duration = Duration::from_micros(100);

/// A stopwatch of the thread that makes it.
///
/// A sample during which another program had the core would be as long as that program pleased, and
/// more so the longer the sample is, which no comparison with an anchor cancels. The time of
/// waiting is therefore taken out. Nothing is where a platform does not tell it, and where others
/// than the thread itself work for it: several threads, or an accelerator.
pub(super) struct Stopwatch {
    schedule: Option<File>,
    waited: Cell<Duration>,
}

impl Stopwatch {
    /// A stopwatch for work that the thread does `alone`. Otherwise the others go on while this one
    /// waits, so that its waiting is not what the work was late by.
    pub(super) fn new(alone: bool) -> Self {
        Self {
            schedule: File::open(SCHEDULE).ok().filter(|_| alone),
            waited: Cell::default(),
        }
    }

    /// The result of some work of this thread, and how long it took.
    pub(super) fn time<T>(&self, work: impl FnOnce() -> T) -> (T, Taken) {
        let reading = Instant::now();
        let before = self.waiting();
        let start = Instant::now();
        let result = work();
        let elapsed = start.elapsed();
        let waited = self.waiting().saturating_sub(before);
        // What was waited for while the file was read is in no sample.
        let reading = reading.elapsed().saturating_sub(elapsed);
        let waited = waited.saturating_sub(reading);
        let counted = match elapsed.checked_sub(waited) {
            Some(left) if left >= CERTAIN => {
                self.waited.set(self.waited.get() + waited);
                left
            }
            _ => elapsed,
        };
        (result, Taken { counted, elapsed })
    }

    /// What was taken out so far.
    pub(super) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// For how long the thread has waited for a core since it began.
    fn waiting(&self) -> Duration {
        let waiting = self.schedule.as_ref().and_then(second_number);
        waiting.map(Duration::from_nanos).unwrap_or_default()
    }
}

/// The second number of the file's first line.
#[cfg(unix)]
fn second_number(file: &File) -> Option<u64> {
    use std::os::unix::fs::FileExt;
    // Three numbers of at most 20 digits.
    let mut line = [0; 64];
    let length = file.read_at(&mut line, 0).ok()?;
    let line = std::str::from_utf8(&line[..length]).ok()?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// There is no such file.
#[cfg(not(unix))]
fn second_number(_: &File) -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::hint::black_box;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// As with one thread, however many the tests compute with.
    fn watch() -> Stopwatch {
        Stopwatch {
            schedule: Some(File::open(SCHEDULE).unwrap()),
            waited: Cell::default(),
        }
    }

    fn spin(rounds: u64) {
        for round in 0..rounds {
            black_box(round);
        }
    }

    /// More busy threads than cores: this one has to wait for its turns.
    #[test]
    fn waiting_for_a_core_is_taken_out() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (stop, watch) = (AtomicBool::new(false), watch());
        std::thread::scope(|scope| {
            for _ in 0..2 * cores {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        spin(1000);
                    }
                });
            }
            let start = Instant::now();
            let mut taken = Duration::ZERO;
            while watch.waited().is_zero() && start.elapsed() < Duration::from_secs(20) {
                taken += watch.time(|| spin(1_000_000)).1.counted;
            }
            stop.store(true, Ordering::Relaxed);
            assert!(watch.waited() > Duration::ZERO, "waited for nothing");
            let whole = start.elapsed();
            assert!(taken + watch.waited() <= whole, "{taken:?} of {whole:?}");
        });
    }

    #[test]
    fn work_is_timed_and_its_result_kept() {
        let watch = watch();
        let (result, taken) = watch.time(|| {
            std::thread::sleep(Duration::from_millis(20));
            7
        });
        assert_eq!(result, 7);
        // Sleeping is not waiting for a core.
        assert!(taken.counted >= Duration::from_millis(15), "{taken:?}");
    }
}
