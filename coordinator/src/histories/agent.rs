//! An agent of a history: what it holds, and what it has measured and not yet heard of.

use bitfront_model::{LeaseToken, Outcome, Precision, Receipt, Registration, Report};

use crate::fixtures;
use crate::leasing::{Caller, HandOut};

/// The precisions of a search, few, so that there are few baselines.
pub(super) const PRECISIONS: [Precision; 3] = [Precision::Q8_0, Precision::Q4K, Precision::Q2K];

/// An agent.
pub(super) struct Agent {
    pub(super) registration: Registration,
    /// Minted at every start.
    pub(super) instance: String,
    starts: u32,
    /// Its number, once it has registered.
    pub(super) device: Option<i64>,
    /// It has to register before it asks for work, and what it says then: that it lost an answer,
    /// or that it starts.
    pub(super) registers: Option<bool>,
    /// What it has not measured yet.
    pub(super) held: Vec<HandOut>,
    /// What it has measured, with what it was answered. On its disk.
    pub(super) spool: Vec<(Report, Option<Receipt>)>,
}

impl Agent {
    pub(super) fn new(name: &str) -> Self {
        let mut registration = fixtures::registration(name);
        registration.precisions = PRECISIONS.to_vec();
        let mut agent = Self {
            registration,
            instance: String::new(),
            starts: 0,
            device: None,
            registers: None,
            held: Vec::new(),
            spool: Vec::new(),
        };
        agent.start();
        agent
    }

    /// Starts anew, with nothing but what is on its disk.
    pub(super) fn start(&mut self) {
        self.starts += 1;
        self.instance = format!("{} {}", self.registration.device, self.starts);
        self.registers = Some(false);
        self.held.clear();
    }

    /// An answer was lost with which something may have come.
    pub(super) fn lost_an_answer(&mut self) {
        self.registers.get_or_insert(true);
        self.held.clear();
    }

    pub(super) fn caller(&self) -> Caller {
        Caller {
            hardware_profile: self.registration.hardware_profile.digest(),
            instance: self.instance.clone(),
        }
    }

    /// What it says in a heartbeat that it holds.
    pub(super) fn tokens(&self) -> Vec<LeaseToken> {
        let unheard = self.spool.iter().filter(|(_, receipt)| receipt.is_none());
        let unheard = unheard.map(|(report, _)| report.token);
        let held = self.held.iter().map(|hand_out| hand_out.assignment.token);
        held.chain(unheard).collect()
    }

    /// Measures one of the things that it holds. The figure is one that no other report has.
    pub(super) fn measure(&mut self, place: usize, number: u32, is_infeasible: bool) {
        let hand_out = self.held.remove(place);
        let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
        let unlike_others = f64::from(number) * 1e-9;
        match &mut report.measurement.outcome {
            Outcome::Quality(quality) => quality.kld *= 1.0 + unlike_others,
            Outcome::Latency { workloads } => {
                for latency in workloads {
                    latency.median_ns *= 1.0 + unlike_others;
                }
            }
            Outcome::Infeasible { .. } => {}
        }
        if is_infeasible {
            report.measurement = fixtures::infeasible("it does not fit");
        }
        self.spool.push((report, None));
    }
}
