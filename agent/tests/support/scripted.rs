//! A runtime whose figures follow from the plan alone.
//!
//! Fewer bits make a layer faster and worse, by amounts that differ from layer to layer and from
//! precision to precision, so a search over it has a front to find; and since nothing is drawn or
//! timed, two runs agree in every bit.

use std::time::Duration;

use bitfront_model::{
    Anchor, AnchorTime, Cold, ColdStart, Energy, Interval, Latency, NumericsClass, Paired, Plan,
    Precision, ProbeQuestion, Product, ProductResult, ProductTime, Quality, Rescored, Rival,
    SensitivityQuestion, Shape, Stopped, Subject, Swap, SwapResult, TaskKind, TaskPurpose,
    Workload,
};
use bitfront_runtime::{Measured, Runtime, RuntimeError, RuntimeIdentity, Timed, Timing};

/// What becomes of one measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The figures of the plan.
    Figures,
    /// The plan cannot be executed.
    Infeasible(String),
    /// The engine fails.
    Fails(String),
    /// The engine brings its thread down.
    Panics(String),
}

/// Decides what becomes of a measurement; may block, to make one last.
pub type Decide = Box<dyn FnMut(&Plan, TaskKind) -> Answer + Send>;

/// Looks at a subject that is opened, and may refuse it.
pub type Open = Box<dyn FnMut(&Subject) -> Result<(), RuntimeError> + Send>;

/// See the module.
pub struct ScriptedRuntime {
    /// The precisions that it says it executes.
    pub precisions: Vec<Precision>,
    /// How long each measurement takes.
    pub pause: Duration,
    /// What becomes of each measurement.
    pub decide: Decide,
    /// What becomes of a subject that is opened.
    pub opens: Open,
    /// Why the next questions fail, last one first.
    pub failing_questions: Vec<String>,
    /// How many times as much plans lose on it as in the numerics class that it claims.
    pub loses: f64,
    open: Option<Subject>,
}

impl ScriptedRuntime {
    /// A runtime that answers every measurement with figures at once.
    pub fn obliging() -> Self {
        Self::deciding(|_, _| Answer::Figures)
    }

    /// A runtime that decides by measurement.
    pub fn deciding(decide: impl FnMut(&Plan, TaskKind) -> Answer + Send + 'static) -> Self {
        Self {
            precisions: Precision::ALL.to_vec(),
            pause: Duration::ZERO,
            decide: Box::new(decide),
            opens: Box::new(|_| Ok(())),
            failing_questions: Vec::new(),
            loses: 1.0,
            open: None,
        }
    }

    /// The same with a time that each measurement takes.
    pub fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The same, but every subject that is opened is looked at.
    pub fn opening(
        self,
        opens: impl FnMut(&Subject) -> Result<(), RuntimeError> + Send + 'static,
    ) -> Self {
        Self {
            opens: Box::new(opens),
            ..self
        }
    }

    /// What an agent is started with.
    pub fn factory(self) -> impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError> + Send {
        move || Ok(Box::new(self) as Box<dyn Runtime>)
    }

    fn measure<T>(
        &mut self,
        plan: &Plan,
        kind: TaskKind,
        value: impl FnOnce() -> T,
    ) -> Result<Measured<T>, RuntimeError> {
        assert_eq!(
            std::thread::current().name(),
            Some("measure"),
            "a runtime is used on the measuring thread alone"
        );
        if self.open.is_none() {
            return Err(RuntimeError::NotOpen);
        }
        std::thread::sleep(self.pause);
        match (self.decide)(plan, kind) {
            Answer::Figures => Ok(Measured {
                value: value(),
                executed: plan.precisions().to_vec(),
                imatrix_digest: None,
            }),
            Answer::Infeasible(reason) => Err(RuntimeError::Infeasible { reason }),
            Answer::Fails(reason) => Err(RuntimeError::Engine(reason)),
            Answer::Panics(reason) => panic!("{reason}"),
        }
    }
}

impl Runtime for ScriptedRuntime {
    fn identity(&self) -> RuntimeIdentity {
        RuntimeIdentity {
            name: "scripted".to_owned(),
            version: "1".to_owned(),
            numerics_class: NumericsClass("scripted/1".to_owned()),
            threads: 1,
            switches: [].into(),
            gpu: None,
            driver: None,
        }
    }

    fn precisions(&self) -> Vec<Precision> {
        self.precisions.clone()
    }

    fn open(
        &mut self,
        subject: &Subject,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RuntimeError> {
        if self.open.as_ref() != Some(subject) {
            progress("opening a scripted subject");
            (self.opens)(subject)?;
            self.open = Some(subject.clone());
        }
        Ok(())
    }

    fn quality(
        &mut self,
        plan: &Plan,
        purpose: TaskPurpose,
        rival: Option<&Rival>,
    ) -> Result<Measured<Quality>, RuntimeError> {
        let kld = kld(plan) * self.loses;
        self.measure(plan, TaskKind::Quality, || quality(kld, purpose, rival))
    }

    fn latency(
        &mut self,
        anchor: &Anchor,
        plans: &[&Plan],
        workloads: &[Workload],
        _purpose: TaskPurpose,
    ) -> Result<Vec<Timed>, RuntimeError> {
        Ok(plans
            .iter()
            .map(|plan| {
                self.measure(plan, TaskKind::Latency, || Timing {
                    latencies: workloads
                        .iter()
                        .map(|&workload| latency(anchor, plan, workload))
                        .collect(),
                    cold: Some(cold(plan)),
                    energy: Some(Energy::NotMeasured {
                        reason: "a script draws no power".to_owned(),
                    }),
                })
            })
            .collect())
    }

    fn probe(&mut self, question: &ProbeQuestion) -> Result<Vec<Product>, RuntimeError> {
        std::thread::sleep(self.pause);
        if let Some(reason) = self.failing_questions.pop() {
            return Err(RuntimeError::Engine(reason));
        }
        let products = question.products();
        Ok(products
            .map(|(shape, precision)| product(question, shape, precision))
            .collect())
    }

    fn sensitivity(
        &mut self,
        question: &SensitivityQuestion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Swap>, RuntimeError> {
        std::thread::sleep(self.pause);
        if let Some(reason) = self.failing_questions.pop() {
            return Err(RuntimeError::Engine(reason));
        }
        if self.open.as_ref().map(Subject::digest) != Some(question.subject.digest()) {
            return Err(RuntimeError::NotOpen);
        }
        progress("scoring scripted swaps");
        question
            .swaps()
            .map(|(layer, precision)| {
                let plan = question.plan((layer, precision));
                let plan = plan.map_err(|error| RuntimeError::Engine(error.to_string()))?;
                let kld = kld(&plan) * self.loses;
                Ok(Swap {
                    layer,
                    precision,
                    result: SwapResult::Scored {
                        kld_windows: vec![kld; question.windows as usize],
                    },
                })
            })
            .collect()
    }
}

/// The time of a product follows from its bytes and its rows of activations.
fn product(question: &ProbeQuestion, shape: Shape, precision: Precision) -> Product {
    let bytes = precision.bytes(shape.rows, shape.columns).unwrap_or(0) as f64;
    let around = |value: f64| Interval {
        low: value * 0.999,
        high: value * 1.001,
        confidence: 0.95,
    };
    let time = |rows: u32| {
        let median_ns = 1000.0 + bytes * f64::from(rows) / 8.0;
        ProductTime {
            median_ns,
            interval: around(median_ns),
            ratio: median_ns / 1000.0,
            ratio_interval: around(median_ns / 1000.0),
            samples_ns: vec![median_ns.round() as u64; 6],
            warm_up_ns: 0,
            noisy: false,
        }
    };
    Product {
        shape,
        precision,
        result: ProductResult::Timed {
            few_rows: time(question.few_rows),
            many_rows: time(question.many_rows),
        },
    }
}

/// The cold start of a plan, by its first precision.
pub fn cold(plan: &Plan) -> ColdStart {
    let bits = plan.precisions()[0].bits_per_weight();
    ColdStart::Measured(Cold {
        load_ns: (1e6 * bits) as u64,
        prompt_tokens: 32,
        first_token_ns: 5_000_000,
        batch: 1,
        memory_before_bytes: Some(1 << 20),
        peak_memory_bytes: None,
        weight_bytes: (1000.0 * bits) as u64,
    })
}

/// Mean KL divergence of a plan in nats: a weighted mean over the layers of a loss that falls
/// fourfold with every bit.
pub fn kld(plan: &Plan) -> f64 {
    let (mut loss, mut weights) = (0.0, 0.0);
    for (index, precision) in plan.precisions().iter().enumerate() {
        let weight = (1 + index * 7 % 5) as f64;
        loss += weight * 3.0 * (-2.0 * precision.bits_per_weight()).exp2();
        weights += weight;
    }
    loss / weights
}

/// Median time of one decoded token in nanoseconds: what must be read, weighted by layer.
pub fn decode_ns(plan: &Plan) -> f64 {
    100_000.0 + time(plan, |precision| precision.bits_per_weight())
}

/// Median time of one prompt in nanoseconds: what must be computed, where small blocks are cheap
/// to unpack and floats need not be.
pub fn prefill_ns(plan: &Plan) -> f64 {
    let cost = |precision: Precision| match precision.block_size() {
        1 => 6.0,
        32 => 3.0 + precision.bits_per_weight() / 8.0,
        _ => 4.0 + precision.bits_per_weight() / 8.0,
    };
    1_000_000.0 + 8.0 * time(plan, cost)
}

fn time(plan: &Plan, cost: impl Fn(Precision) -> f64) -> f64 {
    let layers = plan.precisions().iter().enumerate();
    layers
        .map(|(index, &precision)| (1 + index % 3) as f64 * 1000.0 * cost(precision))
        .sum()
}

/// By how much more a plan loses on the held-back windows.
pub const HELD_BACK_LOSS: f64 = 1.1;

/// Simpler than a runtime, since these figures have no noise: a plan that loses more than its rival
/// is given up after two windows.
fn quality(kld: f64, purpose: TaskPurpose, rival: Option<&Rival>) -> Quality {
    let whole = whole(kld, purpose);
    match rival {
        Some(rival) if whole.kld_windows[0] > rival.kld_windows[0] => Quality {
            kld_windows: whole.kld_windows[..2].to_vec(),
            same_top_windows: whole.same_top_windows[..2].to_vec(),
            positions: 2 * 128,
            stopped: Some(Stopped {
                windows: rival.kld_windows.len() as u64,
                behind: rival.candidate,
            }),
            ..whole
        },
        _ => whole,
    }
}

/// Of a plan that loses `searched` on the text of a search.
fn whole(searched: f64, purpose: TaskPurpose) -> Quality {
    // Symmetric around the mean, which therefore stays what it is.
    let spread = [-0.2, -0.1, -0.05, 0.05, 0.1, 0.2];
    let (kld, rescored) = match purpose {
        TaskPurpose::Search | TaskPurpose::Retime => (searched, Vec::new()),
        TaskPurpose::Confirm => {
            let once_more = spread[..Rescored::most(spread.len())].iter();
            let rescored = (0..).zip(once_more).map(|(window, part)| Rescored {
                window,
                kld: searched * (1.0 + part),
            });
            (searched * HELD_BACK_LOSS, rescored.collect())
        }
    };
    Quality {
        kld,
        kld_standard_error: kld * 0.05,
        kld_windows: spread.map(|part| kld * (1.0 + part)).to_vec(),
        perplexity: 4.5 * kld.exp(),
        reference_perplexity: 4.5,
        same_top_rate: 1.0 / (1.0 + kld),
        same_top_windows: spread.map(|part| 1.0 / (1.0 + kld * (1.0 + part))).to_vec(),
        positions: 6 * 128,
        stopped: None,
        rescored,
    }
}

/// How much longer a batch takes than one sequence: a tenth for each sequence more.
pub fn batch_factor(batch: u32) -> f64 {
    0.9 + 0.1 * f64::from(batch)
}

fn latency(anchor: &Anchor, plan: &Plan, workload: Workload) -> Latency {
    let time = |plan: &Plan| {
        let alone = match workload {
            Workload::Prefill { .. } => prefill_ns(plan),
            Workload::Decode { .. } => decode_ns(plan),
        };
        alone * batch_factor(workload.batch())
    };
    let passes = f64::from(workload.steps());
    let (median_ns, anchor_ns) = (time(plan), time(&anchor.plan));
    let around = |value: f64| Interval {
        low: value * 0.98,
        high: value * 1.02,
        confidence: 0.9375,
    };
    let spread = [0.02, -0.02, 0.01, -0.01, 0.0];
    Latency {
        workload,
        samples_ns: spread
            .map(|part| (median_ns * passes * (1.0 + part)).round() as u64)
            .to_vec(),
        median_ns,
        interval: around(median_ns),
        warm_up_ns: 0,
        percentiles: Vec::new(),
        paired: Some(Paired {
            anchor: anchor.plan.digest(),
            ratio: median_ns / anchor_ns,
            ratio_interval: around(median_ns / anchor_ns),
            samples_per_block: 1,
            anchor_samples_ns: vec![(anchor_ns * passes).round() as u64; spread.len()],
            anchor_samples_per_block: 1,
            discarded_blocks: 0,
            waited_ns: 0,
            reference: anchor.time(workload).unwrap_or(AnchorTime {
                workload,
                median_ns: anchor_ns,
                interval: around(anchor_ns),
            }),
            noisy: false,
        }),
    }
}
