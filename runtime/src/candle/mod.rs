//! The embedded engine: candle on the processor, or on an accelerator.
//!
//! `decoder` is the forward pass, `matrix` one weight matrix and how candle multiplies it,
//! `kv_cache` what was read so far. [`CandleRuntime`] puts plans together and measures them:
//! `scoring` reads the text's windows, from the `prefixes` that earlier plans have left, and
//! multiplies by `tiled` and `widened`.
//!
//! `accelerator` has the same for a device with a memory of its own, and [`AcceleratorRuntime`]
//! measures there; `engine` is what timing knows of both.

mod accelerator;
mod attention;
mod cold;
mod decoder;
pub(crate) mod elementwise;
mod engine;
pub(crate) mod exponential;
mod kv_cache;
mod matrix;
mod multiplies;
mod opened;
pub(crate) mod parallel;
mod passes;
mod prefixes;
mod rope;
mod scoring;
mod sensitivity;
mod switches;
#[cfg(target_arch = "x86_64")]
mod tiled;
#[cfg(not(target_arch = "x86_64"))]
#[path = "tiled/nowhere.rs"]
mod tiled;
mod timing;
pub(crate) mod vectors;
mod widened;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfront_model::{
    Anchor, Digest, Executed, ModelSpec, NumericsClass, Plan, Precision, ProbeQuestion, Product,
    Quality, Rival, SensitivityQuestion, Subject, Swap, TaskPurpose, Workload,
};

use crate::allocator;
use crate::cold::Program;
use crate::latency::{self, LatencySettings, products};
use crate::memory::Memory;
use crate::tensor_store::{StoreCounts, TensorStore};
use crate::{Measured, Runtime, RuntimeError, RuntimeIdentity, Timed, Timing};

pub use accelerator::{
    Accelerator, AcceleratorDevice, AcceleratorRuntime, DeviceCache, DeviceDecoder, DeviceMatrices,
    DeviceMatrix,
};
pub(crate) use cold::cold_start;
pub use decoder::{Decoder, Matrices, Observer, Positions};
pub use engine::Engine;
pub use kv_cache::KvCache;
pub(crate) use matrix::{Activations, dtype};
pub use matrix::{Arithmetic, Matrix};
pub(crate) use multiplies::Processor;
use opened::Need;
pub use opened::OpenSubject;
pub(crate) use parallel::threads;
pub use prefixes::PrefixCounts;
use prefixes::PrefixStore;
use scoring::Scoring;
pub use scoring::order_for_reuse;
pub use switches::CANDLE_VERSION;

/// Tokens that are read in one pass when scoring: enough rows for the kernels, few enough for the
/// activations to stay in the processor's caches.
const BATCH_TOKENS: usize = 512;

/// What a [`CandleRuntime`] needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct CandleSettings {
    /// Where references, imatrices and quantized tensors are kept.
    pub cache_directory: PathBuf,
    /// Bytes of quantized tensors that are kept in memory, beside those of the plan that is being
    /// measured.
    pub tensor_budget_bytes: u64,
    /// Bytes of hidden states that are kept in memory, so that a plan need not compute the first
    /// blocks that it shares with an earlier one. With 0 every plan is computed whole.
    pub prefix_budget_bytes: u64,
    /// How long to time.
    pub latency: LatencySettings,
    /// What is started for the cold start of a plan. Without it nothing is measured of that, since
    /// this process holds more than one plan.
    pub cold_program: Option<Program>,
    /// Where the files are found in which the platform tells of itself: `/` on a real device.
    pub root: PathBuf,
}

impl CandleSettings {
    /// The defaults, with caches in `cache_directory`: 4 GiB of tensors and 512 MiB of hidden
    /// states in memory, which whoever knows the machine lowers.
    pub fn new(cache_directory: PathBuf) -> Self {
        Self {
            cache_directory,
            tensor_budget_bytes: 4 << 30,
            prefix_budget_bytes: 512 << 20,
            latency: LatencySettings::default(),
            cold_program: None,
            root: PathBuf::from("/"),
        }
    }
}

/// A plan ready to execute.
pub struct Assembly<M = Matrices> {
    /// Its matrices, shared with other plans.
    pub matrices: M,
    /// The precision of each, asked of the matrices themselves.
    pub executed: Executed,
}

/// The engine. It measures on the calling thread.
pub struct CandleRuntime {
    settings: CandleSettings,
    identity: RuntimeIdentity,
    store: TensorStore,
    prefixes: PrefixStore,
    memory: Memory,
    opened: Option<OpenSubject>,
}

impl CandleRuntime {
    /// Checks the environment and takes its fingerprint.
    ///
    /// Fails where an environment variable makes candle execute something else than plans say. The
    /// number of threads is candle's: it reads it from the environment when the process starts.
    pub fn new(settings: CandleSettings) -> Result<Self, RuntimeError> {
        let lookup = environment;
        switches::refuse(&lookup)?;
        let identity = RuntimeIdentity {
            name: "candle".to_owned(),
            version: CANDLE_VERSION.to_owned(),
            numerics_class: switches::numerics_class(&lookup),
            threads: parallel::threads() as u32,
            switches: switches::recorded(&lookup),
            gpu: None,
            driver: None,
        };
        let tensors = tensor_directory(&settings.cache_directory);
        Ok(Self {
            store: TensorStore::new(tensors, settings.tensor_budget_bytes),
            prefixes: PrefixStore::new(settings.prefix_budget_bytes),
            memory: Memory::new(&settings.root),
            settings,
            identity,
            opened: None,
        })
    }

    /// Opens a subject for [`CandleRuntime::tensor_bytes`] alone: as [`Runtime::open`], but without
    /// the reference log-probabilities, which take a pass over all windows and much room on disk.
    pub fn open_for_tensors(
        &mut self,
        subject: &Subject,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RuntimeError> {
        self.open_for(Need::Tensors, subject, progress)
    }

    fn open_for(
        &mut self,
        need: Need,
        subject: &Subject,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RuntimeError> {
        let is_open =
            |opened: &OpenSubject| opened.digest() == subject.digest() && opened.serves(need);
        if self.opened.as_ref().is_some_and(is_open) {
            return Ok(());
        }
        // Whatever was open is given up first: two models may not fit side by side.
        self.opened = None;
        self.prefixes.clear();
        allocator::give_back();
        let class: &NumericsClass = &self.identity.numerics_class;
        let directory = &self.settings.cache_directory;
        let opened = OpenSubject::open(subject, need, class, directory, progress)?;
        self.opened = Some(opened);
        Ok(())
    }

    /// Where quantized tensors are kept.
    fn tensor_directory(&self) -> PathBuf {
        tensor_directory(&self.settings.cache_directory)
    }

    /// The open subject.
    pub fn opened(&self) -> Result<&OpenSubject, RuntimeError> {
        self.opened.as_ref().ok_or(RuntimeError::NotOpen)
    }

    /// The open model.
    pub fn spec(&self) -> Result<&ModelSpec, RuntimeError> {
        Ok(self.opened()?.source().spec())
    }

    /// How often quantized tensors came from where.
    pub fn store_counts(&self) -> StoreCounts {
        self.store.counts()
    }

    /// How much of the scoring was had from hidden states of earlier plans.
    pub fn prefix_counts(&self) -> PrefixCounts {
        self.prefixes.counts()
    }

    /// Bytes of the hidden states that are kept.
    pub fn prefix_bytes(&self) -> u64 {
        self.prefixes.used_bytes()
    }

    /// Puts a plan together: every tensor by reference, quantized if it never was.
    ///
    /// # Errors
    ///
    /// A plan that needs more memory than there is, is infeasible.
    pub fn assemble(&mut self, plan: &Plan) -> Result<Assembly, RuntimeError> {
        self.assemble_beside(plan, 0)
    }

    /// Puts a plan together that is to be used with caches of this size.
    fn assemble_beside(&mut self, plan: &Plan, cache_bytes: u64) -> Result<Assembly, RuntimeError> {
        self.check_memory(plan, cache_bytes)?;
        let opened = self.opened.as_ref().ok_or(RuntimeError::NotOpen)?;
        opened.assemble(&mut self.store, plan, Matrix::executed)
    }

    /// Refuses a plan that does not fit into memory before any of it is loaded: the system would
    /// end the process, and with it all other plans.
    fn check_memory(&mut self, plan: &Plan, cache_bytes: u64) -> Result<(), RuntimeError> {
        let needed = |runtime: &Self| {
            let missing = runtime.opened()?.missing_bytes(&runtime.store, plan)?;
            Ok(missing.saturating_add(cache_bytes))
        };
        let Some((needed, available)) = self.lacking(needed)? else {
            return Ok(());
        };
        Err(timing::too_large(needed, cache_bytes, available))
    }

    /// The bytes that are needed and those that are available, where they do not suffice even
    /// after what is only kept for later has left.
    fn lacking(
        &mut self,
        needed: impl Fn(&Self) -> Result<u64, RuntimeError>,
    ) -> Result<Option<(u64, u64)>, RuntimeError> {
        for last_try in [false, true] {
            let Some(available) = self.memory.available_bytes() else {
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
            self.prefixes.clear();
            allocator::give_back();
        }
        Ok(None)
    }

    /// Scores a plan of the open subject with the products computed in one of several ways;
    /// [`Runtime::quality`] takes [`Arithmetic::Scoring`].
    pub fn score(
        &mut self,
        plan: &Plan,
        arithmetic: Arithmetic,
    ) -> Result<Measured<Quality>, RuntimeError> {
        self.score_for(TaskPurpose::Search, plan, arithmetic, None)
    }

    /// Scores a plan on the windows that a purpose is served by.
    fn score_for(
        &mut self,
        purpose: TaskPurpose,
        plan: &Plan,
        arithmetic: Arithmetic,
        rival: Option<&Rival>,
    ) -> Result<Measured<Quality>, RuntimeError> {
        let assembly = self.assemble(plan)?;
        let opened = self.opened.as_ref().ok_or(RuntimeError::NotOpen)?;
        let scoring = Scoring {
            opened,
            purpose,
            assembly: &assembly,
            arithmetic,
        };
        let mut quality = scoring.score(rival, &mut self.prefixes)?;
        if purpose == TaskPurpose::Confirm {
            quality.rescored = scoring.rescore()?;
        }
        Ok(self.measured(quality, assembly.executed))
    }

    /// The bytes of one layer of the open subject in one precision, as a ggml tensor with rows in
    /// Hugging Face order: the same bytes that were measured.
    pub fn tensor_bytes(
        &mut self,
        layer: usize,
        precision: Precision,
    ) -> Result<Vec<u8>, RuntimeError> {
        let opened = self.opened.as_ref().ok_or(RuntimeError::NotOpen)?;
        opened.matrix(&mut self.store, layer, precision)?.to_bytes()
    }

    /// The imatrix of the open subject.
    pub fn imatrix_digest(&self) -> Option<Digest> {
        self.opened.as_ref()?.imatrix_digest()
    }

    /// Times plans that are in memory together.
    fn time_together(
        &mut self,
        (anchor, anchored): (&Anchor, &Assembly),
        plans: &[&Plan],
        workloads: &[Workload],
        purpose: TaskPurpose,
    ) -> Result<Vec<Timed>, RuntimeError> {
        let caches = self.cache_bytes(workloads)?;
        let assemblies: Vec<_> = plans
            .iter()
            .map(|plan| self.assemble_beside(plan, caches))
            .collect();
        let opened = self.opened()?;
        let text = opened.windows().evaluation.concat();
        let settings = timing::settings(&self.settings.latency, purpose, plans);
        let anchor = (anchor, &anchored.matrices);
        let times = timing::time(
            opened.decoder(),
            anchor,
            assemblies,
            workloads,
            &text,
            &settings,
        )?;
        let measured = times.into_iter().map(|times| {
            let (latencies, executed) = times?;
            let timing = Timing {
                latencies,
                cold: None,
                energy: None,
            };
            Ok(self.measured(timing, executed))
        });
        Ok(measured.collect())
    }

    /// Refuses what is longer than the context that the model was made for, what serves more
    /// sequences than can be meant, and what no plan leaves enough memory for.
    fn check_workloads(&mut self, workloads: &[Workload]) -> Result<(), RuntimeError> {
        let longest = self.spec()?.context_length;
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
        let decoder = self.opened()?.decoder();
        Ok(latency::cache_bytes(
            decoder,
            workloads,
            &self.settings.latency,
        ))
    }

    fn measured<T>(&self, value: T, executed: Executed) -> Measured<T> {
        Measured {
            value,
            executed,
            imatrix_digest: self.imatrix_digest(),
        }
    }
}

impl Runtime for CandleRuntime {
    fn identity(&self) -> RuntimeIdentity {
        self.identity.clone()
    }

    fn precisions(&self) -> Vec<Precision> {
        Precision::ALL.to_vec()
    }

    fn open(
        &mut self,
        subject: &Subject,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RuntimeError> {
        self.open_for(Need::Measuring, subject, progress)
    }

    fn quality(
        &mut self,
        plan: &Plan,
        purpose: TaskPurpose,
        rival: Option<&Rival>,
    ) -> Result<Measured<Quality>, RuntimeError> {
        if purpose == TaskPurpose::Confirm {
            let opened = self.opened.as_mut().ok_or(RuntimeError::NotOpen)?;
            let class = &self.identity.numerics_class;
            let directory = &self.settings.cache_directory;
            opened.open_held_back(class, directory, &mut |line| tracing::info!("{line}"))?;
        }
        self.score_for(purpose, plan, Arithmetic::Scoring, rival)
    }

    fn latency(
        &mut self,
        anchor: &Anchor,
        plans: &[&Plan],
        workloads: &[Workload],
        purpose: TaskPurpose,
    ) -> Result<Vec<Timed>, RuntimeError> {
        self.check_workloads(workloads)?;
        // What a search has timed lies where it was loaded then. What is published is loaded anew,
        // most of it to other places: how far the two timings of a plan lie apart shows what those
        // are worth, too.
        if purpose == TaskPurpose::Confirm {
            self.store.forget_unused();
            allocator::give_back();
        }
        let caches = self.cache_bytes(workloads)?;
        let anchored = self
            .assemble_beside(&anchor.plan, caches)
            .map_err(|error| RuntimeError::Anchor {
                plan: anchor.plan.digest(),
                reason: error.to_string(),
            })?;
        let groups = timing::groups(plans, self.spec()?, self.settings.tensor_budget_bytes);
        let mut timed = timing::in_groups(groups, |together| {
            self.time_together((anchor, &anchored), together, workloads, purpose)
        })?;
        // What is published, and nothing else, is worth passes of its own.
        if purpose == TaskPurpose::Confirm {
            drop(anchored);
            for (timed, plan) in timed.iter_mut().zip(plans) {
                if let Ok(measured) = timed {
                    self.take_passes(plan, workloads, &mut measured.value);
                }
            }
        }
        Ok(timed)
    }

    fn probe(&mut self, question: &ProbeQuestion) -> Result<Vec<Product>, RuntimeError> {
        products::time(&Processor, question, &self.settings.latency.for_probe())
    }

    fn sensitivity(
        &mut self,
        question: &SensitivityQuestion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Swap>, RuntimeError> {
        self.score_swaps(question, progress)
    }
}

/// What the environment says. candle, and the libraries that it calls, read their switches from
/// there themselves and nowhere else, so a setting could not stand for them.
#[allow(clippy::disallowed_methods)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn tensor_directory(cache_directory: &Path) -> PathBuf {
    cache_directory.join("tensors")
}

/// Windows that are read in one pass.
pub(crate) fn batch_windows(context: usize) -> usize {
    (BATCH_TOKENS / context.max(1)).max(1)
}

/// All layers of a source in `f32`: four bytes for every weight of the model.
pub fn float_matrices(source: &dyn crate::source::Source) -> Result<Matrices, RuntimeError> {
    (0..source.spec().layers.len())
        .map(|layer| {
            let weights = source.layer(layer)?;
            let matrix = Matrix::from_f32(weights.values, weights.rows, weights.columns);
            Ok(Arc::new(matrix))
        })
        .collect()
}
