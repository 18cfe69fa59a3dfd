//! What has a pass of its own, so that taking it disturbs no timing: the cold start of a plan, and
//! the energy of a token.

use std::time::{Duration, Instant};

use bitfront_model::{ColdStart, Energy, Plan, Workload};

use super::{Assembly, CandleRuntime};
use crate::cold::{self, Question};
use crate::{RuntimeError, Timing, energy, latency};

/// How long the device is left idle, and then works, for its energy.
const ENERGY_TIME: Duration = Duration::from_millis(500);

impl CandleRuntime {
    /// Adds to a timing what has passes of its own. What keeps one of them from its figures is a
    /// reason not to have measured them; the timing stands.
    pub(super) fn take_passes(&mut self, plan: &Plan, workloads: &[Workload], timing: &mut Timing) {
        let reason = |error: RuntimeError| error.to_string();
        let cold = self.cold_start(plan, workloads).map_err(reason);
        timing.cold = Some(cold.unwrap_or_else(|reason| ColdStart::NotMeasured { reason }));
        let assembly = self.assemble(plan);
        let energy = assembly.and_then(|assembly| self.energy(&assembly, workloads));
        timing.energy = energy
            .map_err(reason)
            .unwrap_or_else(|reason| Some(Energy::NotMeasured { reason }));
    }

    /// Has a process of its own load a plan and say its first token, after the prompts of the first
    /// prefill, or after a single token.
    ///
    /// # Errors
    ///
    /// The plan cannot be executed, or the workload cannot be served. What keeps the process from
    /// its figures is a reason not to have measured.
    pub fn cold_start(
        &mut self,
        plan: &Plan,
        workloads: &[Workload],
    ) -> Result<ColdStart, RuntimeError> {
        let one = Workload::Prefill {
            tokens: 1,
            batch: 1,
        };
        let prefill = workloads.iter().find(|workload| !workload.is_decode());
        let prefill = *prefill.unwrap_or(&one);
        self.check_workloads(&[prefill])?;
        // Whatever was never quantized is now, and is on the disk then.
        drop(self.assemble(plan)?);
        if let Some((needed, available)) = self.lacking(|runtime| {
            let plan = runtime.opened()?.resident_bytes(plan)?;
            Ok(plan.saturating_add(runtime.cache_bytes(&[prefill])?))
        })? {
            let reason = format!(
                "a process of its own takes {needed} bytes of memory, {available} are available"
            );
            return Ok(ColdStart::NotMeasured { reason });
        }
        let opened = self.opened()?;
        let question = Question {
            identity: self.identity.clone(),
            model_path: opened.model_path().to_owned(),
            model: opened.source().spec().digest,
            tensor_directory: self.tensor_directory(),
            tensors: opened.keys(plan)?,
            prompts: latency::prompts(prefill, &opened.windows().evaluation.concat())?,
            batch: prefill.batch(),
            root: self.settings.root.clone(),
        };
        let program = self.settings.cold_program.as_ref();
        Ok(cold::ask(
            program,
            &question,
            &self.settings.cache_directory,
        ))
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
