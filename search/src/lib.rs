//! Search over mixed-precision spaces: pure, deterministic, replayable.
//!
//! This crate decides what to evaluate next and knows nothing else. A gene is a number of choices,
//! a genome a vector of small integers, an evaluation a few numbers to make small; what they mean
//! is its caller's business. It does no IO, reads no clock, has no global randomness and no async.
//!
//! A caller holds a [`Strategy`] and lets it take turns with the world:
//!
//! ```
//! use bitfront_search::{Evaluation, Event, Space, build};
//!
//! let space = Space::new([4, 4, 4])?;
//! let mut strategy = build("nsga2", space, 42)?;
//! for ask_number in 0..10 {
//!     let Some(genome) = strategy.ask(ask_number) else {
//!         break; // Every genome has been asked.
//!     };
//!     // A search that must survive a crash stores the event here, before it is told.
//!     let candidate = ask_number;
//!     strategy.tell(&Event::Asked { candidate, genome: genome.clone() })?;
//!     let cost: f64 = genome.0.iter().map(|&allele| f64::from(allele)).sum();
//!     let objectives = vec![cost, -cost];
//!     let evaluation = Evaluation::unlimited(objectives);
//!     strategy.tell(&Event::Told { candidate, evaluation })?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Telling the same events to a new strategy of the same name, space and seed brings it to the
//! same state, on any machine. The whole contract stands at [`Strategy`].
//!
//! In the order in which a search meets them:
//!
//! - [`space`]: what may be asked ([`Space`], [`Genome`]),
//! - [`problem`]: how each objective depends on a genome ([`Problem`], [`Law`]),
//! - [`event`]: what has happened ([`Event`], [`Evaluation`]),
//! - [`dominance`]: which evaluation is better ([`Fitness`](dominance::Fitness)),
//! - [`archive`]: all events, independent of how they interleave,
//! - `generator`: the specified stream of random integers of one ask,
//! - `operators`: sampling, selection, crossover and mutation,
//! - [`strategy`]: the seam ([`Strategy`], [`build`]),
//! - [`random`], [`nsga2`], [`sms_emoa`] and [`surrogate`]: its implementations,
//! - [`front`], [`tolerant`] and [`mod@hypervolume`]: what was found, what of it can be told apart
//!   from noise, and how good it is,
//! - [`growth`]: how the front grew, and what more evaluations would bring,
//! - [`mod@stop`]: when it is enough.

// Blank lines between modules keep them in flow order, which formatting would sort.

pub mod space;

pub mod problem;

pub mod event;

pub mod dominance;

pub mod archive;

mod generator;

mod operators;

pub mod strategy;

pub mod random;

pub mod nsga2;

pub mod sms_emoa;

pub mod surrogate;

pub mod front;

pub mod tolerant;

pub mod hypervolume;

mod sweep;

pub mod growth;

pub mod stop;

pub use event::{Evaluation, Event, EventError, Shared};
pub use front::{knee, non_dominated};
pub use growth::{Growth, Outlook, outlook};
pub use hypervolume::{HypervolumeError, by_growth, contributions, hypervolume};
pub use nsga2::Nsga2;
pub use problem::{Law, Limited, Problem, ProblemError, Table};
pub use random::Random;
pub use sms_emoa::SmsEmoa;
pub use space::{Genome, GenomeError, Space, SpaceError};
pub use stop::{Progress, Stall, StopReason, StopRules, stop};
pub use strategy::{BuildError, Strategy, build};
pub use surrogate::{Among, Belief, BeliefError, Believed, Check, Doubt, Solved, Surrogate};
pub use tolerant::{Place, Tolerant};
