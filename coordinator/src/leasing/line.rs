//! Devices that wait for work, in lines.
//!
//! All devices that may measure the same tasks stand in one line. Whoever comes, and whatever is
//! queued, makes the line look once for as many tasks as there are devices in it: a queued task does
//! not make a thousand agents look into the store, of which all but one find nothing, and tasks that
//! are handed out together share a transaction.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bitfront_model::{Digest, NumericsClass};
use tokio::sync::{mpsc, oneshot};

use super::{Handed, Leasing};
use crate::error::ServiceError;
use crate::presence::KnownDevice;
use crate::store::{Claimant, StoreError};
use crate::wakeups::Listener;

/// Most tasks that are claimed together. The disk's share of a transaction is small then, and
/// other writes need not wait long for it.
const MOST_TOGETHER: usize = 512;

/// What a device in line is told in the end.
pub(super) type Answer = Result<Handed, ServiceError>;

/// What all devices in one line have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    numerics_class: NumericsClass,
    hardware_profile: Digest,
    can_probe: bool,
    can_score_swaps: bool,
}

/// A device in line.
struct Waiting {
    device: Arc<KnownDevice>,
    answer: oneshot::Sender<Answer>,
}

/// The lines, one for each kind of device that ever waited. There are as many as hardware profiles.
#[derive(Default)]
pub(super) struct Lines {
    /// Behind a std mutex, which is held for a lookup only.
    lines: Mutex<HashMap<Kind, mpsc::UnboundedSender<Waiting>>>,
}

impl Lines {
    /// A device stands in line. Whoever does not want to wait any more drops the receiver, and the
    /// device leaves the line.
    pub(super) fn stand(
        &self,
        leasing: &Arc<Leasing>,
        device: Arc<KnownDevice>,
    ) -> oneshot::Receiver<Answer> {
        let registration = &device.registration;
        let kind = Kind {
            numerics_class: registration.numerics_class.clone(),
            hardware_profile: device.profile,
            can_probe: registration.can_probe,
            can_score_swaps: registration.can_score_swaps,
        };
        let (answer, told) = oneshot::channel();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(kind).or_insert_with(|| {
            let (line, arrivals) = mpsc::unbounded_channel();
            // Listening begins before the first look, so nothing falls between the two.
            let work = leasing.world.wakeups.on_work();
            tokio::spawn(serve(Arc::downgrade(leasing), arrivals, work));
            line
        });
        // The line is served for as long as its sender is here.
        let _ = line.send(Waiting { device, answer });
        told
    }
}

/// Serves a line until nobody can come any more.
async fn serve(
    leasing: Weak<Leasing>,
    mut arrivals: mpsc::UnboundedReceiver<Waiting>,
    mut work: Listener,
) {
    let mut line = VecDeque::new();
    loop {
        if line.is_empty() {
            match arrivals.recv().await {
                Some(first) => line.push_back(first),
                None => return,
            }
        }
        while let Ok(next) = arrivals.try_recv() {
            line.push_back(next);
        }
        line.retain(|waiting: &Waiting| !waiting.answer.is_closed());
        let Some(leasing) = leasing.upgrade() else {
            return;
        };
        work.mark_unchanged();
        let may_be_more = look(&leasing, &mut line).await;
        drop(leasing);
        if may_be_more || line.is_empty() {
            continue;
        }
        tokio::select! {
            changed = work.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            next = arrivals.recv() => match next {
                Some(next) => line.push_back(next),
                None => return,
            }
        }
    }
}

/// Hands out what is queued to those who came first. True where there may be more.
async fn look(leasing: &Arc<Leasing>, line: &mut VecDeque<Waiting>) -> bool {
    let Some(first) = line.front() else {
        return false;
    };
    // A question comes first: it is asked once, and searches wait for it.
    match leasing.claim_question(&first.device).await {
        Ok(None) => {}
        Ok(Some(question)) => {
            hand_over(leasing, line.pop_front(), Ok(question));
            return true;
        }
        Err(error) => {
            hand_over(leasing, line.pop_front(), Err(error.into()));
            return true;
        }
    }
    // They are of one hardware profile, so the same ones are faster than each of them.
    let left_to_faster = leasing.left_to_faster(&first.device);
    let devices = line.iter().take(MOST_TOGETHER);
    let claimants: Vec<_> = devices
        .map(|waiting| leasing.claimant(&waiting.device, left_to_faster))
        .collect();
    let claimed = match claim(leasing, &claimants).await {
        Ok(claimed) => claimed,
        Err(error) => {
            // Others in line may have more luck, but this one has waited long enough to be told.
            hand_over(leasing, line.pop_front(), Err(error.into()));
            return true;
        }
    };
    let may_be_more = claimed.len() == claimants.len();
    for (claimed, claimant) in claimed.into_iter().zip(claimants) {
        let Some(waiting) = line.pop_front() else {
            break;
        };
        let leasing = leasing.clone();
        // What goes with a task is read while the others are handed out.
        tokio::spawn(async move {
            let profile = claimant.hardware_profile;
            let answer = leasing.made_ready(&claimed, profile).await;
            tell(&leasing, waiting, answer).await;
        });
    }
    may_be_more
}

async fn claim(
    leasing: &Leasing,
    claimants: &[Claimant],
) -> Result<Vec<crate::store::Claimed>, StoreError> {
    let world = &leasing.world;
    let claimed = world.store.claim_each(claimants, world.clock.now_ms());
    let claimed = claimed.await?;
    for (claimed, claimant) in claimed.iter().zip(claimants) {
        leasing.hold_for(claimed.token, claimant.device);
    }
    Ok(claimed)
}

fn hand_over(leasing: &Arc<Leasing>, waiting: Option<Waiting>, answer: Answer) {
    let Some(waiting) = waiting else {
        return;
    };
    let leasing = leasing.clone();
    tokio::spawn(async move { tell(&leasing, waiting, answer).await });
}

/// Tells a device. Where its agent's connection broke meanwhile, what was claimed is given back
/// instead of being held by nobody until the lease ends.
async fn tell(leasing: &Leasing, waiting: Waiting, answer: Answer) {
    if let Err(Ok(handed)) = waiting.answer.send(answer) {
        leasing.give_back_unheard(handed.token()).await;
    }
}
