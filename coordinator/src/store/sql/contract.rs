//! The contract, by the statements. How a read and a write are run, `read!` and `write!`, is each
//! database's own.

use std::time::Duration;

use async_trait::async_trait;
use bitfront_model::{
    AnswerReport, Budget, Deed, DeedOutcome, Digest, HardwareProfile, LeaseToken, Question,
    Receipt, Registration, Report,
};

use super::*;

#[async_trait]
impl Store for ThisStore {
    async fn join(&self, address: &str, now_ms: i64) -> Result<i64, StoreError> {
        let address = address.to_owned();
        let joined = write!(self, "join the coordinators", |connection| {
            coordinators::join(connection, &address, now_ms)
        });
        let term = joined?;
        self.term.set(term);
        Ok(term)
    }

    fn is_exclusive(&self) -> bool {
        Self::IS_EXCLUSIVE
    }

    async fn beat(&self, coordinator: i64) -> Result<bool, StoreError> {
        write!(self, "tell that the coordinator is there", |connection| {
            coordinators::beat(connection, coordinator)
        })
    }

    async fn coordinators(&self) -> Result<Vec<StoredCoordinator>, StoreError> {
        read!(self, "list the coordinators", coordinators::serving)
    }

    async fn retire(&self, coordinator: i64, beat: Option<i64>) -> Result<bool, StoreError> {
        write!(self, "retire a coordinator", |connection| {
            coordinators::retire(connection, coordinator, beat)
        })
    }

    async fn take_searches(&self) -> Result<Vec<i64>, StoreError> {
        let me = self.term.get();
        write!(self, "take searches over", |connection| {
            coordinators::take_searches(connection, me)
        })
    }

    async fn take_search(&self, search: i64) -> Result<bool, StoreError> {
        let me = self.term.get();
        write!(self, "take a search over", |connection| {
            coordinators::take_search(connection, search, me)
        })
    }

    async fn take_leases(&self) -> Result<Vec<HeldLease>, StoreError> {
        let me = self.term.get();
        write!(self, "take leases over", |connection| {
            coordinators::take_leases(connection, me)
        })
    }

    async fn keep(&self, token: LeaseToken, device: i64) -> Result<bool, StoreError> {
        let me = self.term.get();
        write!(self, "take a lease over", |connection| {
            coordinators::keep(connection, token, device, me)
        })
    }

    async fn serve(&self, device: i64, instance: &str) -> Result<(), StoreError> {
        let me = self.term.get();
        let instance = instance.to_owned();
        write!(self, "note who serves a device", |connection| {
            coordinators::serve(connection, device, &instance, me)
        })
    }

    async fn serve_only(&self, devices: &[i64]) -> Result<(), StoreError> {
        let me = self.term.get();
        let devices = devices.to_vec();
        write!(self, "note which devices are served", |connection| {
            coordinators::serve_only(connection, &devices, me)
        })
    }

    async fn served_elsewhere(&self) -> Result<Vec<StoredDevice>, StoreError> {
        let me = self.term.get();
        read!(
            self,
            "list the devices of other coordinators",
            devices::served_elsewhere,
            me
        )
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        let me = self.term.get();
        let known_schema = Self::known_schema();
        read!(
            self,
            "tell how it stands",
            standing::standing,
            me,
            known_schema
        )
    }

    async fn load(&self) -> Result<Load, StoreError> {
        read!(self, "count what there is", standing::load)
    }

    async fn tend(&self) -> Result<(), StoreError> {
        read!(self, "look after the database", dialect::tend)
    }

    async fn identity(&self) -> Result<String, StoreError> {
        read!(self, "tell which database it is", devices::identity)
    }

    async fn register(&self, device: &Registration, now_ms: i64) -> Result<i64, StoreError> {
        let device = device.clone();
        write!(self, "register a device", |connection| devices::register(
            connection, &device, now_ms
        ))
    }

    async fn device(&self, device: i64) -> Result<Option<StoredDevice>, StoreError> {
        read!(self, "find a device", devices::one, device)
    }

    async fn devices(&self) -> Result<Vec<StoredDevice>, StoreError> {
        read!(self, "list the devices", devices::all)
    }

    async fn seen(&self, devices: &[(i64, i64)]) -> Result<(), StoreError> {
        let devices = devices.to_vec();
        write!(self, "note when devices were heard from", |connection| {
            devices::seen(connection, &devices)
        })
    }

    async fn held(&self) -> Result<Vec<(i64, HeldTask)>, StoreError> {
        read!(self, "list what devices hold", devices::held)
    }

    async fn latest(
        &self,
        devices: &[i64],
        most: u32,
    ) -> Result<Vec<DeviceMeasurement>, StoreError> {
        read!(
            self,
            "list what devices measured",
            devices::latest,
            devices,
            most
        )
    }

    async fn add_token(&self, token: &NewToken, now_ms: i64) -> Result<bool, StoreError> {
        let token = token.clone();
        write!(self, "store an access token", |connection| tokens::add(
            connection, &token, now_ms
        ))
    }

    async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError> {
        read!(self, "list the access tokens", tokens::all)
    }

    async fn revoke_token(&self, name: &str, now_ms: i64) -> Result<bool, StoreError> {
        let name = name.to_owned();
        write!(self, "revoke an access token", |connection| tokens::revoke(
            connection, &name, now_ms
        ))
    }

    async fn begin_deed(&self, deed: &Deed) -> Result<i64, StoreError> {
        let deed = deed.clone();
        write!(self, "note a deed", |connection| deeds::begin(
            connection, &deed
        ))
    }

    async fn conclude_deed(
        &self,
        deed: i64,
        subject: Option<&str>,
        outcome: DeedOutcome,
    ) -> Result<(), StoreError> {
        let subject = subject.map(str::to_owned);
        write!(self, "note what came of a deed", |connection| {
            deeds::conclude(connection, deed, subject.as_deref(), outcome)
        })
    }

    async fn deeds(&self, since_ms: i64, most: u32) -> Result<Vec<Deed>, StoreError> {
        read!(self, "list the deeds", deeds::since, since_ms, most)
    }

    async fn profile(&self, digest: Digest) -> Result<Option<HardwareProfile>, StoreError> {
        read!(self, "find a hardware profile", devices::profile, digest)
    }

    async fn submit(&self, search: &NewSearch, now_ms: i64) -> Result<i64, StoreError> {
        let (search, me) = (search.clone(), self.term.get());
        write!(self, "store a search", |connection| searches::submit(
            connection, &search, me, now_ms
        ))
    }

    async fn search(&self, search: i64) -> Result<Option<StoredSearch>, StoreError> {
        read!(self, "find a search", searches::one, search)
    }

    async fn searches(&self) -> Result<Vec<StoredSearch>, StoreError> {
        read!(self, "list the searches", searches::all)
    }

    async fn searches_over(&self, subject: Digest) -> Result<Vec<StoredSearch>, StoreError> {
        read!(
            self,
            "list the searches over a subject",
            searches::over,
            subject
        )
    }

    async fn wait(&self, search: i64, reason: &str) -> Result<(), StoreError> {
        let me = self.term.get();
        let reason = reason.to_owned();
        write!(self, "note what a search waits for", |connection| {
            searches::wait(connection, (search, me), &reason)
        })
    }

    async fn bind(&self, search: i64, binding: &Binding) -> Result<bool, StoreError> {
        let me = self.term.get();
        let binding = binding.clone();
        write!(self, "bind a search", |connection| searches::bind(
            connection,
            (search, me),
            &binding
        ))
    }

    async fn spend(&self, search: i64, active: Duration) -> Result<(), StoreError> {
        let me = self.term.get();
        write!(self, "note the time of a search", |connection| {
            searches::spend(connection, (search, me), active)
        })
    }

    async fn fix_reference(&self, search: i64, point: &[f64]) -> Result<(), StoreError> {
        let me = self.term.get();
        let point = point.to_vec();
        write!(self, "fix a reference point", |connection| {
            searches::fix_reference(connection, (search, me), &point)
        })
    }

    async fn end(&self, search: i64, ending: &Ending, now_ms: i64) -> Result<bool, StoreError> {
        let me = self.term.get();
        let ending = ending.clone();
        write!(self, "end a search", |connection| searches::end(
            connection,
            (search, me),
            &ending,
            now_ms
        ))
    }

    async fn cancel(
        &self,
        search: i64,
        now_ms: i64,
    ) -> Result<Option<Vec<LeaseToken>>, StoreError> {
        write!(self, "cancel a search", |connection| searches::cancel(
            connection, search, now_ms
        ))
    }

    async fn resume(
        &self,
        search: i64,
        budget: &Budget,
        evaluated: u64,
    ) -> Result<bool, StoreError> {
        let budget = *budget;
        write!(self, "continue a search", |connection| searches::resume(
            connection, search, &budget, evaluated
        ))
    }

    async fn add_candidates(
        &self,
        search: i64,
        candidates: &[NewCandidate],
        now_ms: i64,
    ) -> Result<Option<Vec<i64>>, StoreError> {
        let me = self.term.get();
        let candidates = candidates.to_vec();
        write!(self, "store candidates", |connection| {
            candidates::add_each(connection, (search, me), &candidates, now_ms)
        })
    }

    async fn search_of(&self, candidate: i64) -> Result<Option<i64>, StoreError> {
        read!(self, "find a candidate", candidates::search_of, candidate)
    }

    async fn candidates(
        &self,
        search: i64,
        after: i64,
    ) -> Result<Vec<StoredCandidate>, StoreError> {
        read!(self, "list candidates", candidates::after, search, after)
    }

    async fn confirm(
        &self,
        search: i64,
        known: &Given,
        wanted: &[NewConfirmation],
    ) -> Result<bool, StoreError> {
        let me = self.term.get();
        let (known, wanted) = (*known, wanted.to_vec());
        write!(self, "queue confirmations", |connection| {
            confirmations::queue(connection, (search, me), &known, &wanted)
        })
    }

    async fn confirmations(&self, search: i64) -> Result<Vec<StoredConfirmation>, StoreError> {
        read!(self, "list confirmations", confirmations::all, search)
    }

    async fn retime(
        &self,
        search: i64,
        candidates: &[i64],
        profile: Digest,
    ) -> Result<bool, StoreError> {
        let me = self.term.get();
        let candidates = candidates.to_vec();
        write!(self, "queue second timings", |connection| {
            retimings::queue(connection, (search, me), &candidates, profile)
        })
    }

    async fn retimings(&self, search: i64) -> Result<Vec<StoredRetiming>, StoreError> {
        read!(self, "list second timings", retimings::all, search)
    }

    async fn scores(&self, search: i64, after: i64) -> Result<Vec<Score>, StoreError> {
        read!(self, "list scores", measurements::scores, search, after)
    }

    async fn shared(&self, search: i64, after: i64) -> Result<SharedScores, StoreError> {
        read!(
            self,
            "list what siblings measured",
            siblings::shared,
            search,
            after
        )
    }

    async fn measurements(
        &self,
        search: i64,
        candidate: Option<i64>,
    ) -> Result<Vec<StoredMeasurement>, StoreError> {
        read!(
            self,
            "list measurements",
            measurements::whole,
            search,
            candidate
        )
    }

    async fn first_timing(&self, search: i64) -> Result<Option<StoredMeasurement>, StoreError> {
        read!(
            self,
            "find the first timing of a search",
            measurements::first_timing,
            search
        )
    }

    async fn claim(&self, claimant: &Claimant, now_ms: i64) -> Result<Option<Claimed>, StoreError> {
        let (claimant, me) = (claimant.clone(), self.term.get());
        write!(self, "lease a task", |connection| claims::claim(
            connection, &claimant, me, now_ms
        ))
    }

    async fn claim_each(
        &self,
        claimants: &[Claimant],
        now_ms: i64,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (claimants, me) = (claimants.to_vec(), self.term.get());
        write!(self, "lease tasks", |connection| claims::claim_each(
            connection, &claimants, me, now_ms
        ))
    }

    async fn leased(&self) -> Result<Vec<HeldLease>, StoreError> {
        let me = self.term.get();
        read!(self, "list the leases", tasks::leased, me)
    }

    async fn held_by(&self, device: i64) -> Result<Vec<LeaseToken>, StoreError> {
        read!(self, "list what a device holds", tasks::held_by, device)
    }

    async fn requeue(
        &self,
        token: LeaseToken,
        ending: &LeaseEnding,
        now_ms: i64,
    ) -> Result<Requeued, StoreError> {
        let (ending, me) = (ending.clone(), self.term.get());
        write!(self, "end a lease", |connection| tasks::requeue(
            connection, token, &ending, me, now_ms
        ))
    }

    async fn task(&self, task: i64) -> Result<Option<TaskFacts>, StoreError> {
        read!(self, "find a task", tasks::facts, task)
    }

    async fn record_each(
        &self,
        reports: &[Report],
        now_ms: i64,
    ) -> Result<Vec<Result<Receipt, StoreError>>, StoreError> {
        let reports = reports.to_vec();
        write!(self, "record measurements", |connection| {
            recording::record_each(connection, &reports, now_ms)
        })
    }

    async fn ask(
        &self,
        target: &str,
        question: &Question,
        now_ms: i64,
    ) -> Result<StoredQuestion, StoreError> {
        let (target, question) = (target.to_owned(), question.clone());
        write!(self, "queue a question", |connection| questions::ask(
            connection, &target, &question, now_ms
        ))
    }

    async fn question(&self, question: i64) -> Result<Option<StoredQuestion>, StoreError> {
        read!(self, "find a question", questions::one, question)
    }

    async fn questions(&self, target: &str) -> Result<Vec<StoredQuestion>, StoreError> {
        read!(self, "list questions", questions::of_target, target)
    }

    async fn claim_question(
        &self,
        claimant: &Claimant,
        now_ms: i64,
    ) -> Result<Option<ClaimedQuestion>, StoreError> {
        // Mostly there is none, and a look does not take its turn among the writes.
        let waits = read!(self, "look for a question", questions::waits, claimant)?;
        if !waits {
            return Ok(None);
        }
        let (claimant, me) = (claimant.clone(), self.term.get());
        write!(self, "lease a question", |connection| questions::claim(
            connection, &claimant, me, now_ms
        ))
    }

    async fn question_task(&self, task: i64) -> Result<Option<QuestionFacts>, StoreError> {
        read!(self, "find the task of a question", questions::facts, task)
    }

    async fn record_answer(
        &self,
        report: &AnswerReport,
        now_ms: i64,
    ) -> Result<Receipt, StoreError> {
        let report = report.clone();
        write!(self, "record an answer", |connection| questions::record(
            connection, &report, now_ms
        ))
    }
}
