//! What has a pass of its own, so that taking it disturbs no timing: the cold start of a plan, and
//! the energy of a token.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bitfront_model::{Cold, Energy, Plan, Workload};

use super::{Arithmetic, Assembly, CandleRuntime, Positions};
use crate::latency::{self, nanoseconds};
use crate::{RuntimeError, Timing, energy};

/// How long the device is left idle, and then works, for its energy.
const ENERGY_TIME: Duration = Duration::from_millis(500);

impl CandleRuntime {
    /// Adds to a timing what has passes of its own.
    pub(super) fn take_passes(
        &mut self,
        plan: &Plan,
        workloads: &[Workload],
        timing: &mut Timing,
    ) -> Result<(), RuntimeError> {
        let (assembly, cold) = self.cold_start(plan, workloads)?;
        timing.cold = Some(cold);
        timing.energy = self.energy(&assembly, workloads)?;
        Ok(())
    }

    /// Loads a plan of which nothing is in memory, and has it say its first token.
    fn cold_start(
        &mut self,
        plan: &Plan,
        workloads: &[Workload],
    ) -> Result<(Assembly, Cold), RuntimeError> {
        self.store.forget_unused();
        let counts_from_now = self.memory.reset_peak();
        let resident_before_bytes = self.memory.resident_bytes();
        let start = Instant::now();
        let assembly = self.assemble(plan)?;
        let load = start.elapsed();
        let opened = self.opened()?;
        let prompt = opened.windows().evaluation.iter().flatten().copied();
        let prompt: Vec<u32> = prompt.take(prompt_tokens(workloads)).collect();
        let mut cache = opened.decoder().cache(1, prompt.len());
        let start = Instant::now();
        black_box(opened.decoder().forward(
            &assembly.matrices,
            &prompt,
            &mut cache,
            Positions::Last,
            Arithmetic::Kernels,
        )?);
        let first_token = start.elapsed();
        let peak = self.memory.peak_resident_bytes();
        let cold = Cold {
            load_ns: nanoseconds(load),
            prompt_tokens: prompt.len() as u32,
            first_token_ns: nanoseconds(first_token),
            resident_before_bytes,
            peak_resident_bytes: peak.filter(|_| counts_from_now),
            weight_bytes: assembly.matrices.iter().map(|it| it.stored_bytes()).sum(),
        };
        Ok((assembly, cold))
    }

    /// The energy of a token under the first decode, or else under the first workload.
    fn energy(
        &self,
        assembly: &Assembly,
        workloads: &[Workload],
    ) -> Result<Option<Energy>, RuntimeError> {
        let decode = workloads.iter().find(|workload| workload.is_decode());
        let Some(&workload) = decode.or(workloads.first()) else {
            return Ok(None);
        };
        let opened = self.opened()?;
        let text = opened.windows().evaluation.concat();
        let mut idle = || {
            let start = Instant::now();
            std::thread::sleep(ENERGY_TIME);
            start.elapsed()
        };
        let mut work = || {
            let (decoder, settings) = (opened.decoder(), &self.settings.latency);
            let matrices = &assembly.matrices;
            latency::work(decoder, matrices, workload, &text, settings, ENERGY_TIME)
        };
        energy::measure(&self.settings.root, &mut idle, &mut work).map(Some)
    }
}

/// Tokens of the prompt that the first token follows: of the first prefill, or a single one.
fn prompt_tokens(workloads: &[Workload]) -> usize {
    let prefill = workloads.iter().find(|workload| !workload.is_decode());
    prefill.map_or(1, |prefill| prefill.tokens() as usize)
}
