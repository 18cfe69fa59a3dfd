//! What the surrogate's model believes of the plans of a search, rebuilt from the store: whatever
//! strategy the search used, the belief is that of the surrogate after the same events.

use bitfront_model::{Believed, FrontPoint, Limits, Objective, SharedPlans};
use bitfront_search::event::{Evaluation, Event};
use bitfront_search::problem::{Limited, Problem};
use bitfront_search::space::Genome;
use bitfront_search::strategy::Strategy as _;
use bitfront_search::surrogate::{Belief, Surrogate};

use super::Standing;
use crate::computing;
use crate::error::ServiceError;
use crate::evaluation::{Figures, limit_of, scaled, unscaled, unscaled_deviation};
use crate::guesses::{self, Known};
use crate::siblings::{self, Heard, Siblings};
use crate::space::SearchSpace;
use crate::store::{Binding, StoreError, StoredSearch};
use crate::world::World;

/// The surrogate over a search's space, told all that the search and its siblings measured. The
/// search's own limits are not among what it knows: they bound what is proposed, and nothing that
/// is believed.
pub(super) struct Learned {
    pub(super) space: SearchSpace,
    /// The figures that are believed of, in the surrogate's order: the objectives, then the others.
    figures: Vec<Objective>,
    strategy: Surrogate,
    /// Candidates with figures, all learned from.
    pub(super) measured: u64,
    /// What siblings measured, learned from too.
    heard: Vec<Heard>,
}

impl Learned {
    /// Tells a surrogate what is stored; the model is fitted when it is asked. Where the search is
    /// not bound to a device yet, nothing is.
    pub(super) async fn of(
        world: &World,
        search: &StoredSearch,
        standing: &Standing,
    ) -> Result<Option<Self>, ServiceError> {
        let Some(binding) = &search.binding else {
            return Ok(None);
        };
        let known = Known::of(&*world.store, binding).await?;
        let known = known.map_err(|unanswered| no_belief(search, unanswered.to_string()))?;
        let mut learned = Self::from(search, binding, &known, standing)
            .map_err(|reason| no_belief(search, reason))?;
        let mut siblings = Siblings::new(search, binding, &learned.space);
        for heard in siblings.listen(&*world.store).await? {
            let event = heard.event(learned.figures.iter().copied());
            let told = learned.tell(&event);
            told.map_err(|reason| no_belief(search, reason))?;
            learned.heard.push(heard);
        }
        Ok(Some(learned))
    }

    fn tell(&mut self, event: &Event) -> Result<(), String> {
        let told = self.strategy.tell(event);
        told.map_err(|error| format!("the stored events contradict each other: {error}"))
    }

    fn from(
        search: &StoredSearch,
        binding: &Binding,
        known: &Known,
        standing: &Standing,
    ) -> Result<Self, String> {
        let request = &search.request;
        let space = SearchSpace::bound(request, &binding.precisions, &binding.exclusions)
            .map_err(|error| error.to_string())?;
        let law = |figure: &Objective| guesses::law(&space, &request.spec, known, *figure);
        let objectives = &request.objectives;
        let others = Objective::ALL.into_iter();
        let others: Vec<_> = others.filter(|it| !objectives.contains(it)).collect();
        let limited = others.iter().map(|figure| Limited {
            law: law(figure),
            limit: f64::MAX,
        });
        let problem = Problem::new(
            space.as_numbers().clone(),
            objectives.iter().map(law).collect(),
        );
        let problem = problem.and_then(|problem| problem.with_limited(limited.collect()));
        let problem = problem.map_err(|error| error.to_string())?;
        let figures = [objectives.as_slice(), &others].concat();
        let mut learned = Self {
            strategy: Surrogate::new(problem, request.seed),
            space,
            figures,
            measured: 0,
            heard: Vec::new(),
        };
        learned.learn(standing, objectives.len())?;
        Ok(learned)
    }

    fn learn(&mut self, standing: &Standing, objectives: usize) -> Result<(), String> {
        for (position, stored) in standing.candidates.iter().enumerate() {
            // Fresh figures are of other windows, and would differ from the others by the text.
            let figures = standing.searched(position);
            let Some(genome) = &stored.genome else {
                continue;
            };
            let checked = self.space.check(stored, genome);
            checked.map_err(|changed| changed.to_string())?;
            let candidate = stored.id.unsigned_abs();
            let genome = genome.clone();
            let mut events = vec![Event::Asked { candidate, genome }];
            let evaluation = figures.evaluation(&self.figures, &Limits::default());
            if let Some(mut evaluation) = evaluation {
                if let Evaluation::Measured {
                    objectives: told,
                    limited,
                    ..
                } = &mut evaluation
                {
                    *limited = told.split_off(objectives);
                    self.measured += 1;
                }
                events.push(Event::Told {
                    candidate,
                    evaluation,
                });
            }
            for event in &events {
                self.tell(event)?;
            }
        }
        Ok(())
    }

    /// Plans that were learned from and only siblings measured.
    pub(super) fn shared(&self, standing: &Standing) -> SharedPlans {
        let own = standing.candidates.iter();
        let own = own.filter_map(|candidate| candidate.genome.clone());
        siblings::summary(&self.heard, &own.collect())
    }

    /// Fits the model: 300 ms after a thousand measurements of a model of 200 layers.
    pub(super) fn belief(&self) -> Belief<'_> {
        self.strategy.belief()
    }

    /// The place of a figure among those that are believed of.
    pub(super) fn place(&self, figure: Objective) -> Option<usize> {
        self.figures.iter().position(|&known| known == figure)
    }

    /// The limits as the surrogate is told them.
    pub(super) fn most(&self, limits: &Limits) -> Vec<Option<f64>> {
        let of_figure = |&figure: &Objective| Some(scaled(figure, limit_of(limits, figure)?));
        self.figures.iter().map(of_figure).collect()
    }

    /// What is believed of a plan in the order of all figures and in their own units, beside what
    /// the search measured of it.
    pub(super) fn told(
        &self,
        believed: &[bitfront_search::Believed],
        measured: Option<&Figures>,
    ) -> Vec<Believed> {
        let figures = Objective::ALL.into_iter();
        figures
            .filter_map(|figure| {
                let told = believed.get(self.place(figure)?)?;
                Some(Believed {
                    figure,
                    value: unscaled(figure, told.value),
                    deviation: unscaled_deviation(figure, told.deviation),
                    scatter: unscaled_deviation(figure, told.scatter),
                    measured: measured.and_then(|figures| figures.figure(figure)),
                })
            })
            .collect()
    }
}

/// Says of every point what is believed of it, in the order of the standing. A plan outside the
/// space has no belief; neither has any where what is stored no longer fits the space, which a
/// [prediction](super::predict) says.
pub(super) async fn believe(
    world: &World,
    search: &StoredSearch,
    standing: &Standing,
    points: &mut [FrontPoint],
) -> Result<(), ServiceError> {
    let learned = match Learned::of(world, search, standing).await {
        Err(ServiceError::NoBelief { .. }) | Ok(None) => return Ok(()),
        learned => learned?,
    };
    let Some(learned) = learned.filter(|learned| learned.measured > 0) else {
        return Ok(());
    };
    let stored = standing.candidates.iter().enumerate();
    let (positions, genomes): (Vec<usize>, Vec<Genome>) = stored
        .filter_map(|(position, candidate)| Some((position, candidate.genome.clone()?)))
        .unzip();
    let (learned, believed) = computed(move || {
        let believed = learned.belief().of(&genomes);
        (learned, believed)
    })
    .await?;
    let believed = believed.map_err(|error| no_belief(search, error.to_string()))?;
    for (position, believed) in positions.into_iter().zip(believed) {
        let measured = Some(standing.searched(position));
        points[position].believed = learned.told(&believed, measured);
    }
    Ok(())
}

/// Computes aside.
pub(super) async fn computed<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    let computed = computing::aside(work).await;
    computed.map_err(|error| {
        ServiceError::Store(StoreError::Failed {
            doing: "compute what is believed",
            reason: error.to_string(),
            may_have_happened: false,
        })
    })
}

fn no_belief(search: &StoredSearch, reason: String) -> ServiceError {
    ServiceError::NoBelief {
        search: search.id,
        reason,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
