//! candle on an accelerator: a device with a memory of its own.
//!
//! `decoder` is the forward pass there, `matrix` one weight matrix, `cache` what was read so far.
//! [`AcceleratorRuntime`] puts plans together in the device's memory and measures them. What the
//! unquantized model says, and the imatrix, are computed by the processor, in `f32`, as for plans
//! that are measured there: both are facts of the model and its text and not of a device, one
//! reference serves all, a plan may be measured on a device that has no room for the unquantized
//! model, and an error of this forward pass cannot hide by being in both sides of a comparison.

mod cache;
#[cfg(feature = "cuda")]
mod cuda;
mod decoder;
mod device;
mod matrix;
mod multiplies;
mod scoring;

use bitfront_model::{
    Anchor, ColdStart, Energy, Executed, NumericsClass, Plan, Precision, ProbeQuestion, Product,
    Quality, Rival, SensitivityQuestion, Subject, Swap, TaskPurpose, Workload,
};

use crate::latency::{self, products};
use crate::tensor_store::TensorStore;
use crate::{Measured, Runtime, RuntimeError, RuntimeIdentity, Timed, Timing};

use super::opened::Need;
use super::{
    Assembly, CANDLE_VERSION, CandleSettings, OpenSubject, environment, sensitivity, switches,
    tensor_directory, threads, timing,
};

pub use cache::DeviceCache;
pub use decoder::{DeviceDecoder, DeviceMatrices};
pub use device::{Accelerator, AcceleratorDevice};
pub use matrix::DeviceMatrix;
use multiplies::OnDevice;
use scoring::Scoring;

/// Of the memory that is available at the start, the share that quantized tensors are kept in,
/// beside those of the plans that are being measured.
const SHARE_FOR_TENSORS: u64 = 2;

/// The engine on an accelerator. It measures on the calling thread, which waits for the device at
/// the end of every pass.
///
/// Not measured here are cold starts and energy; what is published says so.
pub struct AcceleratorRuntime {
    settings: CandleSettings,
    identity: RuntimeIdentity,
    found: AcceleratorDevice,
    /// The class of what the processor computes for a subject: the imatrix and the reference.
    processor: NumericsClass,
    store: TensorStore<DeviceMatrix>,
    tensor_budget_bytes: u64,
    opened: Option<Opened>,
}

/// A subject with what the device has of it.
struct Opened {
    subject: OpenSubject,
    decoder: DeviceDecoder,
}

impl AcceleratorRuntime {
    /// Checks the environment and takes the fingerprint of the device that was found.
    ///
    /// Quantized tensors are kept in half of the memory that the device has left, or in
    /// [`CandleSettings::tensor_budget_bytes`] where it does not tell.
    ///
    /// # Errors
    ///
    /// An environment variable makes candle, or a library that it calls, execute something else
    /// than plans say.
    pub fn new(settings: CandleSettings, found: AcceleratorDevice) -> Result<Self, RuntimeError> {
        switches::refuse(&environment)?;
        switches::refuse_on_accelerators(&environment)?;
        let mut recorded = switches::recorded(&environment);
        recorded.extend(switches::recorded_on_accelerators(&environment));
        let identity = RuntimeIdentity {
            name: "candle".to_owned(),
            version: CANDLE_VERSION.to_owned(),
            numerics_class: found.numerics_class(),
            threads: threads() as u32,
            switches: recorded,
            gpu: found.name.clone(),
            driver: found.driver.clone(),
        };
        let budget = found
            .available_bytes()
            .map(|bytes| bytes / SHARE_FOR_TENSORS);
        let tensor_budget_bytes = budget.unwrap_or(settings.tensor_budget_bytes);
        let device = found.device.clone();
        let hold = move |precision, bytes, shape| {
            DeviceMatrix::from_bytes(&device, precision, bytes, shape)
        };
        let directory = tensor_directory(&settings.cache_directory);
        Ok(Self {
            store: TensorStore::holding(directory, tensor_budget_bytes, Box::new(hold)),
            processor: switches::numerics_class(&environment),
            settings,
            identity,
            found,
            tensor_budget_bytes,
            opened: None,
        })
    }

    fn opened(&self) -> Result<&Opened, RuntimeError> {
        self.opened.as_ref().ok_or(RuntimeError::NotOpen)
    }

    /// The open subject.
    pub fn subject(&self) -> Result<&OpenSubject, RuntimeError> {
        Ok(&self.opened()?.subject)
    }

    /// The forward pass of the open model.
    pub fn decoder(&self) -> Result<&DeviceDecoder, RuntimeError> {
        Ok(&self.opened()?.decoder)
    }

    /// Puts a plan together in the device's memory: every tensor by reference, quantized if it
    /// never was.
    ///
    /// # Errors
    ///
    /// A plan that needs more memory than the device has is infeasible.
    pub fn assemble(&mut self, plan: &Plan) -> Result<Assembly<DeviceMatrices>, RuntimeError> {
        self.assemble_beside(plan, 0)
    }

    /// Puts a plan together that is to be used with caches of this size.
    fn assemble_beside(
        &mut self,
        plan: &Plan,
        cache_bytes: u64,
    ) -> Result<Assembly<DeviceMatrices>, RuntimeError> {
        let needed = |runtime: &Self| {
            let missing = runtime.subject()?.missing_bytes(&runtime.store, plan)?;
            Ok(missing.saturating_add(cache_bytes))
        };
        if let Some((needed, available)) = self.lacking(needed)? {
            return Err(timing::too_large(needed, cache_bytes, available));
        }
        let opened = self.opened.as_ref().ok_or(RuntimeError::NotOpen)?;
        opened
            .subject
            .assemble(&mut self.store, plan, DeviceMatrix::executed)
    }

    /// The bytes that are needed and those that are available on the device, where they do not
    /// suffice even after what is only kept for later has left.
    fn lacking(
        &mut self,
        needed: impl Fn(&Self) -> Result<u64, RuntimeError>,
    ) -> Result<Option<(u64, u64)>, RuntimeError> {
        for last_try in [false, true] {
            let Some(available) = self.found.available_bytes() else {
                return Ok(None);
            };
            let needed = needed(self)?;
            if needed <= available {
                return Ok(None);
            }
            if last_try {
                return Ok(Some((needed, available)));
            }
            self.store.forget_unused();
            // What was given up is the device's again once it is done with it.
            self.found.device.synchronize()?;
        }
        Ok(None)
    }

    /// Scores a plan on the windows that a purpose is served by.
    fn score_for(
        &mut self,
        purpose: TaskPurpose,
        plan: &Plan,
        rival: Option<&Rival>,
    ) -> Result<Measured<Quality>, RuntimeError> {
        let assembly = self.assemble(plan)?;
        let scoring = self.scoring(purpose, &assembly)?;
        let mut quality = scoring.score(rival)?;
        if purpose == TaskPurpose::Confirm {
            quality.rescored = scoring.rescore()?;
        }
        self.measured(quality, assembly.executed)
    }

    fn scoring<'a>(
        &'a self,
        purpose: TaskPurpose,
        assembly: &'a Assembly<DeviceMatrices>,
    ) -> Result<Scoring<'a>, RuntimeError> {
        let Opened { subject, decoder } = self.opened()?;
        Ok(Scoring {
            opened: subject,
            decoder,
            purpose,
            assembly,
        })
    }

    /// The divergence of a plan in each of some windows of the search's text.
    fn score_on(&mut self, plan: &Plan, places: &[usize]) -> Result<Vec<f64>, RuntimeError> {
        let assembly = self.assemble(plan)?;
        let spec = self.subject()?.source().spec();
        sensitivity::refuse_unlike(plan, &assembly.executed, spec)?;
        let scoring = self.scoring(TaskPurpose::Search, &assembly)?;
        scoring.score_places(places)
    }

    /// Times plans that are in memory together; none of them fits where they turn out not to beside
    /// what a pass takes.
    fn time_together(
        &mut self,
        anchored: (&Anchor, &Assembly<DeviceMatrices>),
        plans: &[&Plan],
        workloads: &[Workload],
        purpose: TaskPurpose,
    ) -> Result<Vec<Timed>, RuntimeError> {
        match self.try_together(anchored, plans, workloads, purpose) {
            Err(RuntimeError::Infeasible { reason }) => {
                let refused = |_: &&Plan| {
                    Err(RuntimeError::Infeasible {
                        reason: reason.clone(),
                    })
                };
                Ok(plans.iter().map(refused).collect())
            }
            timed => timed,
        }
    }

    fn try_together(
        &mut self,
        (anchor, anchored): (&Anchor, &Assembly<DeviceMatrices>),
        plans: &[&Plan],
        workloads: &[Workload],
        purpose: TaskPurpose,
    ) -> Result<Vec<Timed>, RuntimeError> {
        let caches = self.cache_bytes(workloads)?;
        let assemblies = plans
            .iter()
            .map(|plan| self.assemble_beside(plan, caches))
            .collect();
        let Opened { subject, decoder } = self.opened()?;
        let text = subject.windows().evaluation.concat();
        let settings = timing::settings(&self.settings.latency, purpose, plans);
        let anchor = (anchor, &anchored.matrices);
        let times = timing::time(decoder, anchor, assemblies, workloads, &text, &settings)?;
        let measured = times.into_iter().map(|times| {
            let (latencies, executed) = times?;
            let timing = Timing {
                latencies,
                cold: None,
                energy: None,
            };
            self.measured(timing, executed)
        });
        Ok(measured.collect())
    }

    /// Refuses what no plan can be timed under.
    fn check_workloads(&mut self, workloads: &[Workload]) -> Result<(), RuntimeError> {
        let longest = self.subject()?.source().spec().context_length;
        for &workload in workloads {
            timing::check_workload(workload, longest)?;
            let needed = |runtime: &Self| runtime.cache_bytes(&[workload]);
            if let Some((needed, available)) = self.lacking(needed)? {
                return Err(timing::no_room(workload, needed, available));
            }
        }
        Ok(())
    }

    /// Bytes of the caches that workloads are timed with.
    fn cache_bytes(&self, workloads: &[Workload]) -> Result<u64, RuntimeError> {
        let (decoder, settings) = (self.decoder()?, &self.settings.latency);
        Ok(latency::cache_bytes(decoder, workloads, settings))
    }

    fn measured<T>(&self, value: T, executed: Executed) -> Result<Measured<T>, RuntimeError> {
        Ok(Measured {
            value,
            executed,
            imatrix_digest: self.subject()?.imatrix_digest(),
        })
    }
}

impl Runtime for AcceleratorRuntime {
    fn identity(&self) -> RuntimeIdentity {
        self.identity.clone()
    }

    /// All but `bf16` where the device does not multiply in it.
    fn precisions(&self) -> Vec<Precision> {
        let multiplied =
            |precision: &Precision| *precision != Precision::Bf16 || self.found.multiplies_bf16;
        Precision::ALL.into_iter().filter(multiplied).collect()
    }

    fn open(
        &mut self,
        subject: &Subject,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RuntimeError> {
        let is_open = |opened: &Opened| opened.subject.digest() == subject.digest();
        if self.opened.as_ref().is_some_and(is_open) {
            return Ok(());
        }
        // Whatever was open is given up first: two models may not fit side by side.
        self.opened = None;
        let directory = &self.settings.cache_directory;
        let subject = OpenSubject::open(
            subject,
            Need::Measuring,
            &self.processor,
            directory,
            progress,
        )?;
        let decoder = DeviceDecoder::new(subject.decoder(), &self.found.device)?;
        self.opened = Some(Opened { subject, decoder });
        Ok(())
    }

    fn quality(
        &mut self,
        plan: &Plan,
        purpose: TaskPurpose,
        rival: Option<&Rival>,
    ) -> Result<Measured<Quality>, RuntimeError> {
        if purpose == TaskPurpose::Confirm {
            let opened = self.opened.as_mut().ok_or(RuntimeError::NotOpen)?;
            let directory = &self.settings.cache_directory;
            let mut told = |line: &str| tracing::info!("{line}");
            opened
                .subject
                .open_held_back(&self.processor, directory, &mut told)?;
        }
        self.score_for(purpose, plan, rival)
    }

    fn latency(
        &mut self,
        anchor: &Anchor,
        plans: &[&Plan],
        workloads: &[Workload],
        purpose: TaskPurpose,
    ) -> Result<Vec<Timed>, RuntimeError> {
        self.check_workloads(workloads)?;
        let caches = self.cache_bytes(workloads)?;
        let anchored = self
            .assemble_beside(&anchor.plan, caches)
            .map_err(|error| RuntimeError::Anchor {
                plan: anchor.plan.digest(),
                reason: error.to_string(),
            })?;
        let spec = self.subject()?.source().spec().clone();
        let groups = timing::groups(plans, &spec, self.tensor_budget_bytes);
        let mut timed = timing::in_groups(groups, |together| {
            self.time_together((anchor, &anchored), together, workloads, purpose)
        })?;
        if purpose == TaskPurpose::Confirm {
            for measured in timed.iter_mut().flatten() {
                measured.value.cold = Some(ColdStart::NotMeasured {
                    reason: "cold starts are not measured on accelerators".to_owned(),
                });
                measured.value.energy = Some(Energy::NotMeasured {
                    reason: "the energy of accelerators is not measured".to_owned(),
                });
            }
        }
        Ok(timed)
    }

    fn probe(&mut self, question: &ProbeQuestion) -> Result<Vec<Product>, RuntimeError> {
        let settings = self.settings.latency.for_probe();
        products::time(&OnDevice(&self.found.device), question, &settings)
    }

    fn sensitivity(
        &mut self,
        question: &SensitivityQuestion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Swap>, RuntimeError> {
        let spec = self.subject()?.source().spec();
        // What keeps the source itself from being held says nothing about any swap.
        let source = sensitivity::source(question, spec)?;
        self.assemble(&source)?;
        sensitivity::swaps(question, progress, |plan, places| {
            self.score_on(plan, places)
        })
    }
}
