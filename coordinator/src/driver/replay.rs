//! A search's strategy and what was learned, as a function of the stored candidates and
//! measurements in their stored order. Nothing of it is ever stored.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitfront_model::{
    Baseline, Digest, Objective, Plan, Precision, SearchRequest, TaskKind, TaskPurpose,
};
use bitfront_search::event::{Event, EventError};
use bitfront_search::growth::Growth;
use bitfront_search::problem::ProblemError;
use bitfront_search::space::Genome;
use bitfront_search::strategy::{self, BuildError, Strategy};
use bitfront_search::{Among, Doubt};

use super::confirm::Found;
use crate::checks::{Learning, named};
use crate::computing;
use crate::evaluation::{Figures, limited, scaled_point};
use crate::guesses::{self, Known, Unanswered};
use crate::siblings::{self, Heard, Siblings};
use crate::space::{DecodeError, SearchSpace, SpaceChanged, SpaceError};
use crate::store::{Binding, NewCandidate, Score, StoredCandidate, StoredSearch};

/// How far beyond the worst baseline the reference point lies, so that a plan that is worst in
/// one objective still counts for what it is in the others.
const REFERENCE_MARGIN: f64 = 1.1;

/// A search's strategy and what was learned.
pub(super) struct Replay {
    request: SearchRequest,
    binding: Binding,
    space: SearchSpace,
    /// Shared with the thread that computes a proposal.
    strategy: Arc<Mutex<Box<dyn Strategy>>>,
    /// The baselines, in the order in which they are measured.
    baselines: Vec<(String, Plan)>,
    /// The plans that the search begins with after them, in the order in which they are measured.
    starts: Vec<Plan>,
    learned: BTreeMap<i64, Learned>,
    /// The plans of what was learned and of what is to be stored.
    plans: HashSet<Digest>,
    /// The plans of what [`Self::next`] gave and was not learned yet: what is learned next.
    given: VecDeque<Digest>,
    /// The genomes of the candidates.
    own: BTreeSet<Genome>,
    /// What siblings measured, in the order in which it was told.
    heard: Vec<Heard>,
    /// The candidates whose evaluation is complete, in the order in which they became so.
    order: Vec<i64>,
    /// The candidates that are baselines.
    stored_baselines: Vec<i64>,
    /// How the front grew after the baselines; none until all of them are evaluated.
    growth: Option<Growth>,
    /// How many of `order` the growth has in it, baselines among them.
    grown: usize,
    last_measurement: i64,
    /// Proposals of the strategy so far.
    asks: u64,
}

/// What is known of one candidate.
struct Learned {
    /// Its name towards the strategy: its place among the candidates of the search.
    name: u64,
    in_space: bool,
    is_baseline: bool,
    figures: Figures,
    /// The figures that its evaluation became complete with, where a second timing counts now.
    /// Whether a search is over goes by these, so that a late timing sets nothing going again.
    first: Option<Figures>,
    /// Its evaluation is complete, and was told where it lies in the space.
    told: bool,
}

impl Learned {
    /// The figures that its evaluation became complete with.
    fn first(&self) -> &Figures {
        self.first.as_ref().unwrap_or(&self.figures)
    }
}

/// The store holds what this search cannot have written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Space(#[from] SpaceError),
    #[error(transparent)]
    Problem(#[from] ProblemError),
    #[error(transparent)]
    Strategy(#[from] BuildError),
    #[error("the strategy broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
    #[error("the strategy proposed an impossible genome: {0}")]
    Proposal(#[from] DecodeError),
    #[error("the stored events contradict each other: {0}")]
    Event(#[from] EventError),
    #[error(transparent)]
    SpaceChanged(#[from] SpaceChanged),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("candidate {candidate} was stored where another one was proposed")]
    Unexpected { candidate: i64 },
    #[error("measurement {measurement} belongs to the unknown candidate {candidate}")]
    UnknownCandidate { measurement: i64, candidate: i64 },
}

impl Replay {
    /// The search before its first event, with the answers that it is bound with.
    pub(super) fn new(
        request: &SearchRequest,
        binding: &Binding,
        known: &Known,
    ) -> Result<Self, ReplayError> {
        let space = SearchSpace::bound(request, &binding.precisions, &binding.exclusions)?;
        Ok(Self {
            strategy: Arc::new(Mutex::new(strategy::build(
                &request.strategy.to_string(),
                guesses::problem(&space, request, known)?,
                request.seed,
            )?)),
            baselines: baselines(request, binding),
            starts: Vec::new(),
            request: request.clone(),
            binding: binding.clone(),
            space,
            learned: BTreeMap::new(),
            plans: HashSet::new(),
            given: VecDeque::new(),
            own: BTreeSet::new(),
            heard: Vec::new(),
            order: Vec::new(),
            stored_baselines: Vec::new(),
            growth: None,
            grown: 0,
            last_measurement: 0,
            asks: 0,
        })
    }

    /// The same, beginning with the plans of another search's front, as far as they lie in the
    /// space that the device left.
    pub(super) fn starting_from(mut self, starts: &[Vec<Precision>]) -> Self {
        let spec = &self.request.spec;
        let plans = starts.iter().filter_map(|precisions| {
            let plan = Plan::new(spec, precisions.clone()).ok()?;
            self.space.genome(&plan)?;
            Some(plan)
        });
        self.starts = plans.collect();
        self
    }

    /// The latest candidate and the latest measurement that were learned.
    pub(super) fn position(&self) -> (i64, i64) {
        let candidate = self.learned.last_key_value().map_or(0, |(id, _)| *id);
        (candidate, self.last_measurement)
    }

    /// Learns candidates and then measurements, both in stored order and after
    /// [`Self::position`].
    pub(super) fn learn(
        &mut self,
        candidates: Vec<StoredCandidate>,
        scores: &[Score],
    ) -> Result<(), ReplayError> {
        for candidate in candidates {
            if let Some(genome) = &candidate.genome {
                self.space.check(&candidate, genome)?;
            }
            match self.given.pop_front() {
                None => self.expect(
                    candidate.plan_digest,
                    candidate.genome.as_ref(),
                    candidate.ask_number,
                )?,
                Some(given) if given == candidate.plan_digest => {}
                Some(_) => {
                    return Err(ReplayError::Unexpected {
                        candidate: candidate.id,
                    });
                }
            }
            let learned = Learned {
                name: self.learned.len() as u64,
                in_space: candidate.genome.is_some(),
                is_baseline: candidate.baseline.is_some(),
                figures: Figures::of(&candidate),
                first: None,
                told: false,
            };
            if learned.is_baseline {
                self.stored_baselines.push(candidate.id);
            }
            self.learned.insert(candidate.id, learned);
        }
        for score in scores {
            self.learn_score(score)?;
        }
        self.grow();
        Ok(())
    }

    /// A candidate joins those that are learned or given.
    fn expect(
        &mut self,
        plan: Digest,
        genome: Option<&Genome>,
        ask_number: Option<u64>,
    ) -> Result<(), ReplayError> {
        if let Some(genome) = genome {
            lock(&self.strategy).tell(&Event::Asked {
                candidate: (self.learned.len() + self.given.len()) as u64,
                genome: genome.clone(),
            })?;
            self.own.insert(genome.clone());
        }
        if let Some(ask_number) = ask_number {
            self.asks = self.asks.max(ask_number + 1);
        }
        self.plans.insert(plan);
        Ok(())
    }

    /// What it may hear of its siblings; none where its strategy makes no use of that.
    pub(super) fn siblings(&self, search: &StoredSearch) -> Option<Siblings> {
        let learns = self.request.learns_from_siblings();
        learns.then(|| Siblings::new(search, &self.binding, &self.space))
    }

    /// Learns what siblings measured, in the order in which it was heard. How it interleaves with
    /// [`Self::learn`] makes no difference.
    pub(super) fn hear(&mut self, heard: Vec<Heard>) -> Result<(), ReplayError> {
        let (objectives, limits) = (&self.request.objectives, &self.request.limits);
        for one in &heard {
            let limited = limited(objectives, limits).map(|(figure, _)| figure);
            let figures = objectives.iter().copied().chain(limited);
            lock(&self.strategy).tell(&one.event(figures))?;
        }
        self.heard.extend(heard);
        Ok(())
    }

    /// Follows the growth of the front, from the moment on at which its reference point is known.
    fn grow(&mut self) {
        let objectives = &self.request.objectives;
        if self.growth.is_none()
            && let Some(reference) = self.reference_point()
        {
            let reference = scaled_point(objectives, &reference);
            let points: Vec<_> = self
                .known_baselines()
                .filter_map(|learned| learned.first().scaled_point(objectives))
                .collect();
            self.growth = Growth::new(reference, &points).ok();
        }
        if let Some(growth) = &mut self.growth {
            for candidate in &self.order[self.grown..] {
                if let Some(learned) = self.learned.get(candidate)
                    && !learned.is_baseline
                {
                    growth.add(learned.first().scaled_point(objectives).as_deref());
                }
            }
            self.grown = self.order.len();
        }
    }

    /// The hypervolume, on the scale that distances count on, before the first candidate beside the
    /// baselines that was evaluated after so many, and after each since; nothing while baselines
    /// are missing.
    pub(super) fn growth_after(&self, evaluated: u64) -> &[f64] {
        let Some(growth) = &self.growth else {
            return &[];
        };
        let before = self.order.iter().take(evaluated as usize);
        let proposals = before.filter(|candidate| {
            let learned = self.learned.get(candidate);
            learned.is_some_and(|learned| !learned.is_baseline)
        });
        growth.curve().get(proposals.count()..).unwrap_or_default()
    }

    /// The candidates whose evaluation is complete, in the order in which they became so, with
    /// whether their first figures keep the limits by their means.
    pub(super) fn order(&self) -> impl Iterator<Item = (i64, bool)> {
        self.order.iter().map(|candidate| {
            let learned = self.learned.get(candidate);
            let keeps = learned.is_some_and(|learned| {
                let figures = learned.first();
                figures.point(&Objective::ALL).is_some()
                    && figures.violation(&self.request.limits) == 0.0
            });
            (*candidate, keeps)
        })
    }

    fn learn_score(&mut self, score: &Score) -> Result<(), ReplayError> {
        let learned =
            self.learned
                .get_mut(&score.candidate)
                .ok_or(ReplayError::UnknownCandidate {
                    measurement: score.measurement,
                    candidate: score.candidate,
                })?;
        self.last_measurement = score.measurement;
        if learned.told {
            if score.purpose == TaskPurpose::Retime {
                self.learn_retiming(score)?;
            }
            return Ok(());
        }
        learned.figures.add(score);
        let evaluation = learned
            .figures
            .evaluation(&self.request.objectives, &self.request.limits);
        if let Some(evaluation) = evaluation {
            learned.told = true;
            self.order.push(score.candidate);
            if learned.in_space {
                lock(&self.strategy).tell(&Event::Told {
                    candidate: learned.name,
                    evaluation,
                })?;
            }
        }
        Ok(())
    }

    /// A second timing counts in place of the first.
    fn learn_retiming(&mut self, score: &Score) -> Result<(), ReplayError> {
        let Some(learned) = self.learned.get_mut(&score.candidate) else {
            return Ok(());
        };
        learned.first.get_or_insert_with(|| learned.figures.clone());
        learned.figures.add(score);
        let evaluation = learned
            .figures
            .evaluation(&self.request.objectives, &self.request.limits);
        if let Some(evaluation) = evaluation.filter(|_| learned.in_space) {
            lock(&self.strategy).tell(&Event::Retold {
                candidate: learned.name,
                evaluation,
            })?;
        }
        Ok(())
    }

    /// What to measure next: the first baseline that is not stored yet, after them the plans that
    /// the search begins with, and then what the strategy proposes. None when the space is
    /// exhausted.
    ///
    /// It may be asked for the one after that before this one is stored. All are to be stored in
    /// their order, and learned; where that fails this replay is ahead of the store, and is to be
    /// made anew ([`Self::is_ahead`]).
    pub(super) async fn next(&mut self) -> Result<Option<NewCandidate>, ReplayError> {
        let spec = &self.request.spec;
        let is_missing = |plan: &Plan| !self.plans.contains(&plan.digest());
        let baselines = self.baselines.iter();
        let baselines = baselines.map(|(name, plan)| (plan, Some(name.clone())));
        let starts = self.starts.iter().map(|plan| (plan, None));
        let missing = baselines.chain(starts).find(|(plan, _)| is_missing(plan));
        let (ask_number, genome, plan, baseline) = match missing {
            Some((plan, name)) => {
                let genome = self.space.genome(plan);
                (None, genome, plan.clone(), name)
            }
            None => {
                let (strategy, asks) = (self.strategy.clone(), self.asks);
                // A proposal may take a tenth of a second of computing, for which leases and
                // reports must not wait.
                let asked = computing::aside(move || lock(&strategy).ask(asks)).await;
                let Some(genome) = asked? else {
                    return Ok(None);
                };
                let plan = self.space.plan(spec, &genome)?;
                (Some(self.asks), Some(genome), plan, None)
            }
        };
        let size_bytes = plan.size_bytes(spec);
        self.expect(plan.digest(), genome.as_ref(), ask_number)?;
        self.given.push_back(plan.digest());
        Ok(Some(NewCandidate {
            ask_number,
            genome,
            size_bytes,
            plan,
            baseline,
            tasks: vec![
                (TaskKind::Quality, self.binding.numerics_class.0.clone()),
                (TaskKind::Latency, self.binding.hardware_profile.to_string()),
            ],
        }))
    }

    /// Something was given and is not learned.
    pub(super) fn is_ahead(&self) -> bool {
        !self.given.is_empty()
    }

    /// What the predictions of the strategy were worth so far, and what it learned from siblings.
    /// May cost a few fits of its model.
    pub(super) async fn learning(&self) -> Result<Learning, ReplayError> {
        let strategy = self.strategy.clone();
        let checks = computing::aside(move || lock(&strategy).trust()).await?;
        Ok(Learning {
            checks: named(&self.request, checks),
            shared: siblings::summary(&self.heard, &self.own),
        })
    }

    /// The candidates of which the strategy doubts a time. May cost a fit of its model.
    pub(super) async fn doubtful(&self, among: Among) -> Result<Vec<Doubt>, ReplayError> {
        let strategy = self.strategy.clone();
        let doubtful = computing::aside(move || lock(&strategy).doubtful(among));
        let doubtful = doubtful.await?.into_iter();
        let candidates: Vec<_> = self.learned.keys().collect();
        let stored = |doubt: Doubt| {
            let place = usize::try_from(doubt.candidate).ok()?;
            let candidate = candidates.get(place)?.unsigned_abs();
            Some(Doubt { candidate, ..doubt })
        };
        Ok(doubtful.filter_map(stored).collect())
    }

    /// Candidates whose evaluation is complete.
    pub(super) fn evaluated(&self) -> u64 {
        self.order.len() as u64
    }

    /// How many things were heard of siblings.
    pub(super) fn heard(&self) -> usize {
        self.heard.len()
    }

    /// Candidates whose evaluation is not complete.
    pub(super) fn pending(&self) -> usize {
        self.learned.len() - self.order.len()
    }

    /// What is known of the baselines that are stored.
    fn known_baselines(&self) -> impl Iterator<Item = &Learned> {
        let stored = self.stored_baselines.iter();
        stored.filter_map(|candidate| self.learned.get(candidate))
    }

    /// How many of how many baselines are not evaluated.
    pub(super) fn baselines_left(&self) -> (usize, usize) {
        let evaluated = self.known_baselines().filter(|learned| learned.told);
        let all = self.baselines.len();
        (all.saturating_sub(evaluated.count()), all)
    }

    /// A point a margin beyond the worst baseline in every objective, once all baselines are
    /// evaluated; none where no baseline could be measured.
    pub(super) fn reference_point(&self) -> Option<Vec<f64>> {
        let stored: Vec<_> = self.known_baselines().collect();
        if stored.len() < self.baselines.len() || stored.iter().any(|learned| !learned.told) {
            return None;
        }
        let points = stored
            .iter()
            .filter_map(|learned| learned.first().point(&self.request.objectives));
        let worst = points.reduce(|worst, point| {
            worst
                .iter()
                .zip(&point)
                .map(|(left, right)| left.max(*right))
                .collect()
        })?;
        Some(worst.iter().map(|value| value * REFERENCE_MARGIN).collect())
    }

    /// The candidates that may enter a front.
    pub(super) fn found(&self) -> Vec<Found> {
        let objectives = &self.request.objectives;
        self.learned
            .iter()
            .filter_map(|(&candidate, learned)| {
                let figures = &learned.figures;
                let scaled = objectives.iter().map(|&figure| figures.scaled(figure));
                Some(Found {
                    candidate,
                    is_baseline: learned.is_baseline,
                    keeps_limits: figures.violation(&self.request.limits) == 0.0,
                    size_bytes: figures.size_bytes,
                    point: figures.point(objectives)?,
                    scaled: scaled.collect::<Option<_>>()?,
                })
            })
            .collect()
    }

    /// Why the search is hopeless, where it is: the first candidates were all given up by every
    /// agent that tried, so something is wrong that no plan can mend.
    pub(super) fn hopeless(&self) -> Option<String> {
        /// Candidates that must have been given up.
        const ENOUGH: usize = 3;
        let mut told = self.learned.values().filter(|learned| learned.told);
        let first: Vec<_> = told.by_ref().take(ENOUGH).collect();
        if first.len() < ENOUGH || !first.iter().all(|learned| learned.figures.abandoned) {
            return None;
        }
        if told.any(|learned| !learned.figures.abandoned) {
            return None;
        }
        let reason = first.last()?.figures.infeasible.as_deref()?;
        Some(format!(
            "none of the first {ENOUGH} candidates could be measured: {reason}"
        ))
    }
}

/// A strategy that panicked ends its search; what it left behind is not asked again.
fn lock(strategy: &Mutex<Box<dyn Strategy>>) -> MutexGuard<'_, Box<dyn Strategy>> {
    strategy.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The baselines over the request's precisions that the bound device executes. A plan of several
/// names is measured once.
fn baselines(request: &SearchRequest, binding: &Binding) -> Vec<(String, Plan)> {
    let mut named = Baseline::named(&request.spec, &request.precisions);
    named.retain(|(_, plan)| {
        plan.precisions()
            .iter()
            .all(|precision| binding.precisions.contains(precision))
    });
    named
}
