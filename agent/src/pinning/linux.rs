//! Linux: `sched_setaffinity` for every thread that `/proc` lists.

use std::collections::BTreeSet;
use std::path::Path;

use bitfront_runtime::RuntimeIdentity;
use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_setaffinity};

use super::{Held, MEASURING_THREAD};
use crate::cores::{CoreChoice, Cores, CoresError};

pub(super) fn hold(choice: &CoreChoice, identity: &RuntimeIdentity) -> Result<Held, CoresError> {
    let (own, threads) = (gettid(), threads());
    let cores = cores(own, &threads)?;
    let chosen = match choice {
        CoreChoice::Named(named) => {
            cores.check(named, identity.threads)?;
            named.clone()
        }
        CoreChoice::Automatic | CoreChoice::Any => cores.best(identity.threads),
    };
    let allowed = cores.numbers();
    // More threads than cores: everything takes turns, and nobody has a core of its own.
    let others: Vec<u32> = match chosen.len() < identity.threads as usize {
        true => Vec::new(),
        false => (allowed.iter().copied())
            .filter(|core| !chosen.contains(core))
            .collect(),
    };
    sched_setaffinity(Some(own), &set(&chosen)).map_err(unsupported)?;
    let engine = format!("{}-", identity.name);
    for (thread, name) in threads.into_iter().filter(|(thread, _)| *thread != own) {
        if name == MEASURING_THREAD || name.starts_with(&engine) {
            // Half of the threads held would be another device: none is, then.
            place(thread, &chosen).or_else(|error| {
                place(own, &allowed).map_err(unsupported)?;
                Err(unsupported(error))
            })?;
        } else if !others.is_empty()
            && let Err(error) = place(thread, &others)
        {
            tracing::warn!("thread `{name}` stays on the measuring cores: {error}");
        }
    }
    Ok(Held {
        placement: cores.placement(&chosen),
        cores: chosen,
        others,
        allowed,
    })
}

pub(super) fn placement(choice: &CoreChoice, identity: &RuntimeIdentity) -> Option<String> {
    let cores = cores(gettid(), &threads()).ok()?;
    Some(match choice {
        CoreChoice::Named(named) => cores.placement(named),
        CoreChoice::Automatic | CoreChoice::Any => cores.placement(&cores.best(identity.threads)),
    })
}

pub(super) fn keep_off(held: &Held) {
    for (thread, name) in threads() {
        if let Err(error) = place(thread, &held.others) {
            tracing::warn!("thread `{name}` stays on the measuring cores: {error}");
        }
    }
}

pub(super) fn release(held: &Held) {
    let others: BTreeSet<u32> = held.others.iter().copied().collect();
    for (thread, name) in threads() {
        let is_kept_off = sched_getaffinity(Some(thread))
            .is_ok_and(|cores| !others.is_empty() && numbers(&cores) == others);
        if is_kept_off && let Err(error) = place(thread, &held.allowed) {
            tracing::debug!("thread `{name}` stays where it is: {error}");
        }
    }
}

/// Holds a thread; one that has ended since it was listed needs no core.
fn place(thread: Pid, cores: &[u32]) -> Result<(), Errno> {
    match sched_setaffinity(Some(thread), &set(cores)) {
        Err(Errno::SRCH) => Ok(()),
        placed => placed,
    }
}

/// The threads of this process with their names.
fn threads() -> Vec<(Pid, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let thread = Pid::from_raw(task.file_name().to_str()?.parse().ok()?)?;
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            Some((thread, name.trim().to_owned()))
        })
        .collect()
}

/// What the process may use: what any of its threads may, since an agent that ran in it before
/// may have left some of them on few cores.
fn cores(own: Pid, threads: &[(Pid, String)]) -> Result<Cores, CoresError> {
    let mut allowed = numbers(&sched_getaffinity(Some(own)).map_err(unsupported)?);
    for (thread, _) in threads {
        if let Ok(set) = sched_getaffinity(Some(*thread)) {
            allowed.extend(numbers(&set));
        }
    }
    let allowed: Vec<u32> = allowed.into_iter().collect();
    Ok(Cores::read(Path::new("/sys/devices/system/cpu"), &allowed))
}

fn numbers(set: &CpuSet) -> BTreeSet<u32> {
    let numbers = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core));
    numbers
        .filter_map(|core| u32::try_from(core).ok())
        .collect()
}

fn set(cores: &[u32]) -> CpuSet {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core as usize);
    }
    set
}

fn unsupported(error: Errno) -> CoresError {
    CoresError::Unsupported {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;
    use std::sync::mpsc;

    use bitfront_model::{Mark, NumericsClass};

    use super::super::Pinning;
    use super::*;

    fn cores_of(thread: Option<Pid>) -> Vec<u32> {
        numbers(&sched_getaffinity(thread).unwrap())
            .into_iter()
            .collect()
    }

    fn sorted(cores: &[u32]) -> Vec<u32> {
        let cores: BTreeSet<u32> = cores.iter().copied().collect();
        cores.into_iter().collect()
    }

    #[test]
    fn measuring_threads_are_held_and_the_others_kept_off() {
        let before = cores_of(None);
        let (stop, stopped) = mpsc::channel::<()>();
        let (say, told) = mpsc::channel();
        let engine = std::thread::Builder::new().name("scripted-0".to_owned());
        let engine = engine.spawn(move || {
            say.send(gettid()).unwrap();
            assert!(stopped.recv().is_err());
        });
        let engine_thread = told.recv().unwrap();
        let identity = RuntimeIdentity {
            name: "scripted".to_owned(),
            version: "1".to_owned(),
            numerics_class: NumericsClass("scripted/1".to_owned()),
            threads: 1,
            switches: [].into(),
            gpu: None,
            driver: None,
        };
        let measure = std::thread::Builder::new().name(MEASURING_THREAD.to_owned());
        let measured = measure.spawn(move || {
            let pinning = Pinning::hold(&CoreChoice::Automatic, &identity).unwrap();
            // A thread that is made later is where its maker is.
            let later = std::thread::spawn(|| cores_of(None)).join().unwrap();
            // So is a process, such as that of a cold start.
            let mut process = Command::new("sleep").arg("60").spawn().unwrap();
            let apart = cores_of(Some(Pid::from_child(&process)));
            process.kill().unwrap();
            process.wait().unwrap();
            (
                cores_of(None),
                later,
                apart,
                cores_of(Some(engine_thread)),
                pinning,
            )
        });
        let (own, later, apart, engines, pinning) = measured.unwrap().join().unwrap();
        assert_eq!(own, sorted(pinning.cores()));
        assert_eq!((&later, &apart, &engines), (&own, &own, &own));
        if before.len() > 1 {
            assert_eq!(pinning.mark(), None);
            let here = cores_of(None);
            assert!(
                here.iter().all(|core| !own.contains(core)),
                "{here:?} {own:?}"
            );
        } else {
            assert_eq!(pinning.mark(), Some(Mark::CoresShared));
        }
        pinning.release();
        assert_eq!(cores_of(None), before);
        drop(stop);
        engine.unwrap().join().unwrap();
    }
}
