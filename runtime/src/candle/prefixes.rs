//! Hidden states that plans with the same first layers share.
//!
//! The states after a part of the model depend on the windows and on the layers up to there, and
//! on nothing behind it. A plan that agrees with an earlier one so far goes on from the stored
//! states: the same numbers that it would have computed, bit by bit.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use bitfront_model::{Digest, Precision};

use super::{Arithmetic, Decoder};

/// How much of the scoring was had from stored states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrefixCounts {
    /// Stages of plans that were scored.
    pub stages: u64,
    /// Those of them that started from stored states.
    pub hits: u64,
    /// Parts, two for each block, of all these stages.
    pub parts: u64,
    /// Those of them that were not computed again.
    pub reused_parts: u64,
}

/// The states of every batch of windows after one part.
pub(crate) type Batches = Vec<Vec<f32>>;

/// Keeps hidden states up to a memory budget; those that were not used for the longest time leave
/// first.
pub(crate) struct PrefixStore {
    budget_bytes: u64,
    used_bytes: u64,
    clock: u64,
    entries: HashMap<Digest, Entry>,
    counts: PrefixCounts,
}

struct Entry {
    batches: Arc<Batches>,
    bytes: u64,
    /// Parts before these states.
    parts: usize,
    last_used: u64,
}

/// One plan's way through the model for the windows of one stage: what it starts from and what it
/// leaves behind.
pub(crate) struct Way {
    /// The key of the states after each part.
    keys: Vec<Digest>,
    /// Parts that need not be computed, and the states after them.
    start: Option<(usize, Arc<Batches>)>,
    /// States that are to be kept, by the number of parts before them.
    kept: HashMap<usize, Batches>,
}

impl PrefixStore {
    /// A store that holds up to `budget_bytes`; with 0 every plan is computed whole.
    pub(crate) fn new(budget_bytes: u64) -> Self {
        Self {
            budget_bytes,
            used_bytes: 0,
            clock: 0,
            entries: HashMap::new(),
            counts: PrefixCounts::default(),
        }
    }

    pub(crate) fn counts(&self) -> PrefixCounts {
        self.counts
    }

    /// Bytes of the states that are held.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Gives up all states.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.used_bytes = 0;
    }

    /// Finds where a plan may start, and makes room for what it will leave behind.
    ///
    /// `keys` are those of [`keys`]; `state_bytes` is the most that the states after one part take.
    ///
    /// A plan keeps its states after every part where half of the budget holds them, and after
    /// evenly spread parts where it does not: the other half is what leaves a parent's states in
    /// place while its children are scored.
    pub(crate) fn begin(&mut self, keys: Vec<Digest>, state_bytes: u64) -> Way {
        self.clock += 1;
        let mut start = None;
        for (index, key) in keys.iter().enumerate() {
            if let Some(entry) = self.entries.get_mut(key) {
                // The states before the deepest ones serve plans that part earlier.
                entry.last_used = self.clock;
                start = Some((index + 1, Arc::clone(&entry.batches)));
            }
        }
        let skipped = start.as_ref().map_or(0, |&(parts, _)| parts);
        self.counts.stages += 1;
        self.counts.hits += u64::from(start.is_some());
        self.counts.parts += keys.len() as u64;
        self.counts.reused_parts += skipped as u64;

        let room = self.budget_bytes.checked_div(state_bytes).unwrap_or(0);
        let kept = spread(keys.len(), room)
            .filter(|&parts| parts > skipped)
            .map(|parts| (parts, Batches::new()))
            .collect::<HashMap<_, _>>();
        self.make_room(kept.len() as u64 * state_bytes);
        Way { keys, start, kept }
    }

    /// Takes over what a plan that was scored to its end has left behind.
    pub(crate) fn finish(&mut self, way: Way) {
        for (parts, batches) in way.kept {
            let values = batches.iter().map(Vec::len).sum::<usize>();
            let entry = Entry {
                batches: Arc::new(batches),
                bytes: values as u64 * 4,
                parts,
                last_used: self.clock,
            };
            self.used_bytes += entry.bytes;
            if let Some(before) = self.entries.insert(way.keys[parts - 1], entry) {
                self.used_bytes -= before.bytes;
            }
        }
    }

    /// Lets states go until `bytes` more fit: of one plan's the deepest first, since fewer plans
    /// share them.
    fn make_room(&mut self, bytes: u64) {
        while self.used_bytes + bytes > self.budget_bytes {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| (entry.last_used, Reverse(entry.parts)))
                .map(|(key, _)| *key);
            let Some(entry) = oldest.and_then(|key| self.entries.remove(&key)) else {
                break;
            };
            self.used_bytes -= entry.bytes;
        }
    }
}

impl Way {
    /// The parts that need not be computed, and the states of every batch after them.
    pub(crate) fn start(&self) -> Option<(usize, Arc<Batches>)> {
        self.start.clone()
    }

    /// Hears the states of the next batch after `parts` parts.
    pub(crate) fn keep(&mut self, parts: usize, states: &[f32]) {
        if let Some(batches) = self.kept.get_mut(&parts) {
            batches.push(states.to_vec());
        }
    }
}

/// The numbers of parts, from one to `parts`, after which a plan's states are kept where there is
/// room for those of `room` parts.
fn spread(parts: usize, room: u64) -> impl Iterator<Item = usize> {
    let half = usize::try_from(room.div_ceil(2)).unwrap_or(usize::MAX);
    let count = half.min(parts);
    (1..=count).map(move |index| index * (parts + 1) / (count + 1))
}

/// The key of the hidden states after each part of a plan: equal keys mean equal states.
///
/// `what` names the windows and the weights that the plan's precisions are applied to.
pub(crate) fn keys(
    what: Digest,
    decoder: &Decoder,
    executed: &[Precision],
    arithmetic: Arithmetic,
) -> Vec<Digest> {
    let mut key = Digest::builder()
        .part("hidden states")
        .part(what.to_string())
        .part(format!("{arithmetic:?}"))
        .part(executed[decoder.embedding()].name());
    (0..decoder.parts())
        .map(|part| {
            for layer in decoder.layers_of_part(part) {
                key.add(executed[layer].name());
            }
            key.clone().finish()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 8;

    fn path(names: &str) -> Vec<Digest> {
        (1..=names.len())
            .map(|end| Digest::of(&names[..end]))
            .collect()
    }

    /// Scores a plan named by a letter for each part, and says how many parts it skipped.
    fn score(store: &mut PrefixStore, names: &str) -> usize {
        let mut way = store.begin(path(names), BYTES);
        let skipped = way.start().map_or(0, |(parts, _)| parts);
        for parts in skipped + 1..=names.len() {
            way.keep(parts, &[parts as f32, 0.0]);
        }
        store.finish(way);
        skipped
    }

    #[test]
    fn plans_start_where_they_part_from_earlier_ones() {
        let mut store = PrefixStore::new(100 * BYTES);
        assert_eq!(score(&mut store, "aaaa"), 0);
        assert_eq!(score(&mut store, "aaba"), 2);
        assert_eq!(score(&mut store, "aabb"), 3);
        assert_eq!(score(&mut store, "aaaa"), 4);
        assert_eq!(score(&mut store, "baaa"), 0);
        let counts = PrefixCounts {
            stages: 5,
            hits: 3,
            parts: 20,
            reused_parts: 9,
        };
        assert_eq!(store.counts(), counts);
    }

    #[test]
    fn the_budget_holds_and_the_oldest_states_leave_first() {
        let mut store = PrefixStore::new(8 * BYTES);
        for names in ["aaaa", "bbbb", "aaab", "cccc"] {
            score(&mut store, names);
            assert!(store.used_bytes() <= 8 * BYTES, "{}", store.used_bytes());
        }
        assert_eq!(score(&mut store, "aaaa"), 3, "used after b");
        assert_eq!(score(&mut store, "bbbb"), 0);
        store.clear();
        assert_eq!((store.used_bytes(), score(&mut store, "aaaa")), (0, 0));
    }

    #[test]
    fn without_room_nothing_is_kept_and_with_little_evenly_spread_states() {
        let mut store = PrefixStore::new(BYTES - 1);
        assert_eq!([(); 2].map(|()| score(&mut store, "aaaa")), [0, 0]);
        assert_eq!(store.used_bytes(), 0);
        assert_eq!(spread(12, 0).count(), 0);
        assert_eq!(spread(12, 1).collect::<Vec<_>>(), [6]);
        assert_eq!(spread(12, 6).collect::<Vec<_>>(), [3, 6, 9]);
        assert!(spread(12, 24).eq(1..=12));
        assert!(spread(12, u64::MAX).eq(1..=12));
    }
}
