//! What a search learns from its siblings: the searches over its subject with the same genes that
//! share as it does. A joint search over several devices is one search a device, so that each keeps
//! its own binding, budget and pace; they are joint in that each learns from what the others
//! measure.
//!
//! How much a plan loses holds everywhere, since devices differ in that far less than plans do. How
//! long it takes holds where the hardware profile and the workloads are the same. So a genome may
//! be heard of several times, from several siblings: whenever something comes to be known of it.
//!
//! What is heard is a function of the siblings' stored measurements in their stored order, so a
//! restart hears the same in the same order.

use std::collections::{BTreeMap, BTreeSet};

use bitfront_model::{Objective, Plan, SearchRequest, SharedPlans};
use bitfront_search::event::{Event, Shared};
use bitfront_search::space::Genome;

use crate::evaluation::Figures;
use crate::space::SearchSpace;
use crate::store::{Binding, ScoreOutcome, SharedScore, Store, StoreError, StoredSearch};

/// What one search hears of its siblings, as far as it has listened.
pub(crate) struct Siblings {
    search: i64,
    request: SearchRequest,
    binding: Binding,
    space: SearchSpace,
    /// The others over its subject; nothing of one whose genes are others.
    known: BTreeMap<i64, Option<Sibling>>,
    /// What was heard of each genome.
    genomes: BTreeMap<Genome, Known>,
    last_measurement: i64,
    /// What siblings know since later, in milliseconds since 1970, is not heard.
    until_ms: Option<i64>,
}

/// What was heard of a genome.
#[derive(Debug, Default)]
struct Known {
    has_quality: bool,
    is_reused: bool,
    /// The sibling's candidate whose time counts.
    timed: Option<i64>,
}

impl Known {
    /// Whether a quality is new. One that the store takes over counts in place of one of another
    /// numerics class.
    fn takes_quality(&mut self, is_reused: bool) -> bool {
        let is_new = !self.has_quality || (is_reused && !self.is_reused);
        self.has_quality = true;
        self.is_reused |= is_reused;
        is_new
    }

    /// Whether a time is new. The second one of a candidate counts in place of its first, as it
    /// does in the sibling itself; what other siblings timed says no more than that.
    fn takes_time(&mut self, candidate: i64) -> bool {
        *self.timed.get_or_insert(candidate) == candidate
    }
}

/// What holds of all that one sibling measures.
#[derive(Debug, Clone, Copy)]
struct Sibling {
    /// Its times are those of the same hardware under the same workloads.
    times_hold: bool,
    /// It is of the same numerics class, so the store takes its qualities over.
    is_reused: bool,
}

/// One thing that a sibling measured of a genome, a quality or a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    /// The sibling.
    pub(crate) search: i64,
    genome: Genome,
    /// Its own alone.
    figures: Figures,
    is_reused: bool,
}

impl Siblings {
    /// Before anything was heard. `space` is that of the bound search.
    pub(crate) fn new(search: &StoredSearch, binding: &Binding, space: &SearchSpace) -> Self {
        Self {
            search: search.id,
            request: search.request.clone(),
            binding: binding.clone(),
            space: space.clone(),
            known: BTreeMap::new(),
            genomes: BTreeMap::new(),
            last_measurement: 0,
            until_ms: None,
        }
    }

    /// Hears only what siblings knew by then, in milliseconds since 1970; everything for none.
    pub(crate) fn until(mut self, ms: Option<i64>) -> Self {
        self.until_ms = ms;
        self
    }

    /// What is new since the last call, as far as it holds here and adds to what was heard. Nothing
    /// for a search that does not share.
    pub(crate) async fn listen(&mut self, store: &dyn Store) -> Result<Vec<Heard>, StoreError> {
        let shared = store.shared(self.search, self.last_measurement).await?;
        for one in &shared.scores {
            if !self.known.contains_key(&one.search) {
                let stored = store.search(one.search).await?;
                let sibling = stored.and_then(|stored| self.sibling(&stored));
                self.known.insert(one.search, sibling);
            }
        }
        self.last_measurement = shared.last;
        let scores = shared.scores.iter();
        Ok(scores.filter_map(|one| self.hear(one)).collect())
    }

    /// How another search over the subject is related to this one.
    fn sibling(&self, other: &StoredSearch) -> Option<Sibling> {
        let (ours, theirs) = (&self.request, &other.request);
        let space = SearchSpace::new(&theirs.spec, &theirs.precisions, theirs.grouping).ok()?;
        let differing = self
            .space
            .differing_genes(&ours.spec, (&space, &theirs.spec));
        let binding = other.binding.as_ref().filter(|_| differing.is_empty())?;
        Some(Sibling {
            times_hold: binding.hardware_profile == self.binding.hardware_profile
                && theirs.workloads == ours.workloads,
            is_reused: binding.numerics_class == self.binding.numerics_class,
        })
    }

    fn hear(&mut self, one: &SharedScore) -> Option<Heard> {
        if self.until_ms.is_some_and(|until| one.since_ms > until) {
            return None;
        }
        let sibling = (*self.known.get(&one.search)?)?;
        let is_time = matches!(one.score.outcome, ScoreOutcome::Latency { .. });
        if is_time && !sibling.times_hold {
            return None;
        }
        let spec = &self.request.spec;
        let plan = Plan::new(spec, one.precisions.clone()).ok()?;
        // Its device may execute more than this one's.
        let genome = self.space.genome(&plan)?;
        let known = self.genomes.entry(genome.clone()).or_default();
        let is_new = match is_time {
            true => known.takes_time(one.score.candidate),
            false => known.takes_quality(sibling.is_reused),
        };
        let mut figures = Figures::of_size(plan.size_bytes(spec));
        figures.add(&one.score);
        is_new.then_some(Heard {
            search: one.search,
            genome,
            figures,
            is_reused: sibling.is_reused && !is_time,
        })
    }
}

impl Heard {
    /// As a strategy is told it whose figures these are, the limited ones last.
    pub(crate) fn event(&self, figures: impl Iterator<Item = Objective>) -> Event {
        Event::Shared(Shared {
            genome: self.genome.clone(),
            figures: figures.map(|figure| self.figures.scaled(figure)).collect(),
            is_reused: self.is_reused,
        })
    }
}

/// What was heard, without the plans that the search measured itself.
pub(crate) fn summary(heard: &[Heard], own: &BTreeSet<Genome>) -> SharedPlans {
    let others: Vec<_> = heard
        .iter()
        .filter(|it| !own.contains(&it.genome))
        .collect();
    let searches: BTreeSet<i64> = others.iter().map(|it| it.search).collect();
    let plans: BTreeSet<&Genome> = others.iter().map(|it| &it.genome).collect();
    SharedPlans {
        plans: plans.len() as u64,
        searches: searches.into_iter().collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
