//! What is asked of devices outside any candidate.

use super::*;

async fn device(store: &Arc<dyn Store>) -> i64 {
    let device = fixtures::registration("one");
    store.register(&device, NOW).await.unwrap()
}

/// Both kinds of question.
fn questions() -> [Question; 2] {
    [
        Question::Probe(fixtures::probe_question()),
        Question::Sensitivity(Box::new(fixtures::sensitivity_question())),
    ]
}

/// Whom a question is asked of.
fn target(question: &Question) -> String {
    match question {
        Question::Probe(_) => binding().hardware_profile.to_string(),
        Question::Sensitivity(_) => binding().numerics_class.0,
    }
}

async fn ask(store: &Arc<dyn Store>, question: &Question) -> StoredQuestion {
    let target = target(question);
    store.ask(&target, question, NOW).await.unwrap()
}

async fn claim_question(store: &Arc<dyn Store>, device: i64) -> Option<ClaimedQuestion> {
    store.claim_question(&claimant(device), NOW).await.unwrap()
}

fn report(claimed: &ClaimedQuestion, key: &str) -> AnswerReport {
    let assignment = QuestionAssignment {
        token: claimed.token,
        question: claimed.question.clone(),
        lease_time: Duration::from_secs(30),
    };
    AnswerReport {
        idempotency_key: key.to_owned(),
        ..fixtures::answer(&assignment)
    }
}

pub(super) async fn a_question_is_asked_once_of_its_target(store: Arc<dyn Store>) {
    let device = device(&store).await;
    for question in questions() {
        let target = target(&question);
        assert_eq!(store.questions(&target).await.unwrap(), []);
        let asked = ask(&store, &question).await;
        assert_eq!(asked.standing, QuestionStanding::Pending);
        assert_eq!(asked.question, question);
        assert_eq!(ask(&store, &question).await, asked);
        let known = store.questions(&target).await.unwrap();
        assert_eq!(known, std::slice::from_ref(&asked));
        assert_eq!(store.question(asked.id).await.unwrap(), Some(asked.clone()));
        assert_eq!(store.question(asked.id + 1).await.unwrap(), None);
        let claimed = claim_question(&store, device).await.unwrap();
        assert_eq!(claimed.question, question);
        assert_eq!(claim_question(&store, device).await, None);
        assert_eq!(ask(&store, &question).await, asked);
        let held = HeldLease {
            token: claimed.token,
            device,
        };
        assert_eq!(store.leased().await.unwrap(), [held]);
        let report = report(&claimed, &asked.id.to_string());
        store.record_answer(&report, NOW).await.unwrap();
    }
}

pub(super) async fn a_question_goes_to_whom_it_is_asked_of_and_who_can_answer_it(
    store: Arc<dyn Store>,
) {
    let device = device(&store).await;
    let [probe, sensitivity] = questions();
    // Asked in the other order than they are handed out in.
    ask(&store, &sensitivity).await;
    ask(&store, &probe).await;
    let claim = async |change: fn(&mut Claimant)| {
        let mut claimant = claimant(device);
        change(&mut claimant);
        let claimed = store.claim_question(&claimant, NOW).await.unwrap();
        claimed.map(|it| it.question)
    };
    let elsewhere = |claimant: &mut Claimant| {
        claimant.hardware_profile = Digest::of("another");
        claimant.numerics_class = NumericsClass("another".to_owned());
    };
    assert_eq!(claim(elsewhere).await, None);
    let of_old = |claimant: &mut Claimant| {
        (claimant.can_probe, claimant.can_score_swaps) = (false, false);
    };
    assert_eq!(claim(of_old).await, None);
    // A claim for candidates finds neither.
    assert_eq!(store.claim(&claimant(device), NOW).await.unwrap(), None);
    assert_eq!(claim(|_| {}).await, Some(probe));
    assert_eq!(claim(|it| it.can_score_swaps = false).await, None);
    // Any device of the class scores swaps.
    let other_profile = |it: &mut Claimant| it.hardware_profile = Digest::of("another");
    assert_eq!(claim(other_profile).await, Some(sensitivity));
}

pub(super) async fn what_was_given_up_is_asked_again_where_it_lies_elsewhere_now(
    store: Arc<dyn Store>,
) {
    let device = device(&store).await;
    let at = |path: &str| {
        let mut question = fixtures::sensitivity_question();
        question.subject.model.path = path.to_owned();
        Question::Sensitivity(Box::new(question))
    };
    let asked = ask(&store, &at("/missing")).await;
    for _ in 0..3 {
        let token = claim_question(&store, device).await.unwrap().token;
        let failed = ending("no such file", true);
        store.requeue(token, &failed, NOW).await.unwrap();
    }
    let failed = ask(&store, &at("/missing")).await;
    let reason = "no such file".to_owned();
    assert_eq!(failed.standing, QuestionStanding::Failed { reason });
    assert_eq!(claim_question(&store, device).await, None);

    let again = ask(&store, &at("/there")).await;
    assert_eq!(
        (again.id, &again.standing),
        (asked.id, &QuestionStanding::Pending)
    );
    assert_eq!(again.question, at("/there"));
    let claimed = claim_question(&store, device).await.unwrap();
    assert_eq!(claimed.question, at("/there"));
    let report = report(&claimed, "again");
    assert_eq!(
        store.record_answer(&report, NOW).await.unwrap(),
        Receipt::Recorded
    );
    // What is answered stays, wherever it is said to lie.
    let known = ask(&store, &at("/missing")).await;
    assert_eq!(
        known.standing,
        QuestionStanding::Done(Box::new(report.answer))
    );
    assert_eq!(known.question, at("/there"));
}

pub(super) async fn an_answer_counts_once_and_reads_back_whole(store: Arc<dyn Store>) {
    let device = device(&store).await;
    for question in questions() {
        let asked = ask(&store, &question).await;
        let claimed = claim_question(&store, device).await.unwrap();
        let facts = store.question_task(claimed.token.task).await.unwrap();
        let facts = facts.unwrap();
        assert_eq!((facts.epoch, &facts.question), (1, &question));
        assert_eq!(store.task(claimed.token.task).await.unwrap(), None);
        let kind = question.kind();
        let report = report(&claimed, kind.name());
        let record = async || store.record_answer(&report, NOW).await.unwrap();
        assert_eq!(record().await, Receipt::Recorded);
        assert_eq!(record().await, Receipt::AlreadyReported);
        let known = ask(&store, &question).await;
        assert_eq!(known.id, asked.id);
        assert_eq!(
            known.standing,
            QuestionStanding::Done(Box::new(report.answer.clone()))
        );
        assert_eq!(claim_question(&store, device).await, None);
        assert_eq!(store.leased().await.unwrap(), []);
    }
    // The key of one answer is no key of another.
    let mut question = fixtures::probe_question();
    question.many_rows += 1;
    ask(&store, &Question::Probe(question)).await;
    let other = claim_question(&store, device).await.unwrap();
    let reused = report(&other, "sensitivity");
    let error = store.record_answer(&reused, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::KeyReused { .. }), "{error}");
}

pub(super) async fn a_stale_answer_never_ends_a_newer_lease(store: Arc<dyn Store>) {
    let device = device(&store).await;
    for question in questions() {
        let kind = question.kind();
        ask(&store, &question).await;
        let first = claim_question(&store, device).await.unwrap();
        let silent = ending("silent", true);
        let requeued = store.requeue(first.token, &silent, NOW).await.unwrap();
        assert_eq!(requeued, Requeued::Queued);
        let second = claim_question(&store, device).await.unwrap();
        assert_eq!(second.token.epoch, 2);
        let stale = report(&first, &format!("{kind} first"));
        let stale = store.record_answer(&stale, NOW).await;
        assert_eq!(stale.unwrap(), Receipt::KeptAsRepeat);
        assert_eq!(
            ask(&store, &question).await.standing,
            QuestionStanding::Pending
        );
        let held = report(&second, &format!("{kind} second"));
        let held = store.record_answer(&held, NOW).await;
        assert_eq!(held.unwrap(), Receipt::Recorded);
    }
}

pub(super) async fn a_question_that_fails_too_often_is_given_up_with_the_reason(
    store: Arc<dyn Store>,
) {
    let device = device(&store).await;
    for question in questions() {
        ask(&store, &question).await;
        for attempt in 1..=3 {
            let claimed = claim_question(&store, device).await.unwrap();
            let failed = ending("no memory", true);
            let requeued = store.requeue(claimed.token, &failed, NOW).await.unwrap();
            let expected = match attempt {
                3 => Requeued::Failed,
                _ => Requeued::Queued,
            };
            assert_eq!(requeued, expected);
        }
        let reason = "no memory".to_owned();
        assert_eq!(
            ask(&store, &question).await.standing,
            QuestionStanding::Failed { reason }
        );
        assert_eq!(claim_question(&store, device).await, None);
    }
}

pub(super) async fn a_binding_keeps_its_answers_and_what_left_the_space(store: Arc<dyn Store>) {
    device(&store).await;
    let [probe, sensitivity] = questions();
    let (probe, sensitivity) = (ask(&store, &probe).await, ask(&store, &sensitivity).await);
    let search = store.submit(&new_search(), NOW).await.unwrap();
    let bound = Binding {
        probe: Some(probe.id),
        exclusions: vec![Exclusion {
            shape: fixtures::probe_question().shapes[0],
            precision: Precision::Q4_0,
            by: vec![Precision::Q4K],
            reason: "slower".to_owned(),
        }],
        sensitivity: Some(sensitivity.id),
        ..binding()
    };
    assert!(store.bind(search, &bound).await.unwrap());
    let stored = store.search(search).await.unwrap().unwrap();
    assert_eq!(stored.binding, Some(bound));
}
