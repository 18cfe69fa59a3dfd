//! Which timings were taken beside the same turns of the anchor.

use std::collections::HashSet;

use bitfront_model::Paired;

/// The anchor's samples of timings, once for all companions of a lease, with how many these are.
///
/// Companions are timed in the same blocks. Each has those in which neither it nor the anchor moved,
/// up to the one it was done by. So of the shorter of two companions' turns most are among the
/// longer one's, down to the nanosecond, and not all. Turns of two leases may be equal where the
/// clock is coarse.
pub(super) fn leases<'a>(timings: impl IntoIterator<Item = &'a Paired>) -> Vec<(&'a [u64], usize)> {
    let mut leases: Vec<(&[u64], usize)> = Vec::new();
    let mut known: Vec<HashSet<&[u64]>> = Vec::new();
    for paired in timings {
        let samples = paired.anchor_samples_ns.as_slice();
        let turns: HashSet<_> = turns(paired).collect();
        let is_shared = |known: &HashSet<&[u64]>| {
            let shared = turns.intersection(known).count();
            2 * shared > turns.len().min(known.len())
        };
        match known.iter().position(is_shared) {
            Some(lease) => {
                known[lease].extend(turns);
                leases[lease].1 += 1;
            }
            None if turns.is_empty() => {}
            None => {
                known.push(turns);
                leases.push((samples, 1));
            }
        }
    }
    leases
}

fn turns(paired: &Paired) -> impl Iterator<Item = &[u64]> {
    let samples_per_turn = paired.anchor_samples_per_block.max(1) as usize;
    paired.anchor_samples_ns.chunks(samples_per_turn)
}

#[cfg(test)]
mod tests {
    use bitfront_model::{AnchorTime, Digest, Interval, Paired};

    use super::leases;

    /// A timing beside these samples of the anchor, with so many in a turn.
    fn beside(samples_per_turn: u32, samples: &[u64]) -> Paired {
        let interval = Interval {
            low: 1.0,
            high: 1.0,
            confidence: 0.95,
        };
        Paired {
            anchor: Digest::of("anchor"),
            ratio: 1.0,
            ratio_interval: interval,
            samples_per_block: samples_per_turn,
            anchor_samples_ns: samples.to_vec(),
            anchor_samples_per_block: samples_per_turn,
            discarded_blocks: 0,
            waited_ns: 0,
            reference: AnchorTime {
                workload: "prefill@8".parse().unwrap(),
                median_ns: 1.0,
                interval,
            },
            noisy: false,
        }
    }

    #[test]
    fn companions_count_once_although_each_has_blocks_of_its_own() {
        let turns: Vec<u64> = (0..40).map(|turn| 4_500_000 + 7_919 * turn).collect();
        let without = |dropped: usize, end: usize| {
            let kept = turns.iter().take(end).enumerate();
            let kept = kept.filter(|&(turn, _)| turn != dropped);
            beside(1, &kept.map(|(_, &sample)| sample).collect::<Vec<_>>())
        };
        let companions = [without(3, 12), without(7, 40), without(40, 40)];
        let later: Vec<u64> = turns.iter().map(|sample| sample + 11).collect();
        let other = beside(1, &later);
        let found = leases([&companions[0], &other, &companions[1], &companions[2]]);
        let expected = [
            (companions[0].anchor_samples_ns.as_slice(), 3),
            (later.as_slice(), 1),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn some_equal_turns_make_no_companions_and_none_make_no_lease() {
        let (one, other) = ([100, 200, 300, 400], [100, 250, 350, 400]);
        let timings = [beside(1, &one), beside(1, &other), beside(1, &[])];
        assert_eq!(leases(&timings), [(&one[..], 1), (&other[..], 1)]);
        assert_eq!(leases([]), []);
    }

    #[test]
    fn short_samples_of_a_coarse_clock_make_no_companions() {
        // Every sample of one lease is among those of the other, and no turn.
        let one: Vec<u64> = (0..120).map(|sample| 100 + sample % 7).collect();
        let other: Vec<u64> = (0..120).map(|sample| 100 + sample % 5).collect();
        let timings = [beside(10, &one), beside(10, &other)];
        assert_eq!(leases(&timings).len(), 2);
    }
}
