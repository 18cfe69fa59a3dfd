//! Questions: asked once of a hardware profile or a numerics class, leased as tasks, answered by
//! appending.

use bitfront_model::{
    Answer, AnswerReport, LeaseToken, Question, QuestionKind, QuestionStanding, Receipt,
};
use sqlx::Row as _;

use super::decode::{corrupt, json, milliseconds, parsed, word};
use super::{
    Claimant, ClaimedQuestion, Connection, Failure, QuestionFacts, Row, StoredQuestion, tasks,
};

/// A statement that reads the columns of [`stored`].
macro_rules! stored {
    ($which:literal) => {
        concat!(
            "SELECT q.id, q.kind, q.question, t.state, a.payload,
                    (SELECT l.ending FROM leases l
                     WHERE l.task = t.id AND l.epoch = t.epoch) AS ending
             FROM questions q JOIN tasks t ON t.question = q.id
                              LEFT JOIN answers a ON a.task = t.id AND a.accepted = 1 ",
            $which
        )
    };
}

pub(super) async fn ask(
    connection: &mut Connection,
    target: &str,
    question: &Question,
    now_ms: i64,
) -> Result<StoredQuestion, Failure> {
    let digest = question.digest().to_string();
    sqlx::query(
        "INSERT INTO questions (kind, target, question_digest, question, created_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(question.kind().name())
    .bind(target)
    .bind(&digest)
    .bind(written(question)?)
    .bind(now_ms)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO tasks (question, kind, purpose, target, state)
         SELECT id, kind, 'search', target, 'queued' FROM questions
         WHERE target = $1 AND question_digest = $2
         ON CONFLICT DO NOTHING",
    )
    .bind(target)
    .bind(&digest)
    .execute(&mut *connection)
    .await?;
    ask_again(connection, target, &digest, &written(question)?).await?;
    let row = sqlx::query(stored!("WHERE q.target = $1 AND q.question_digest = $2"))
        .bind(target)
        .bind(&digest)
        .fetch_one(connection)
        .await?;
    stored(&row)
}

/// Queues a question that was given up once more, where it is asked in other words now: equal
/// contents may lie at other paths, and the old ones may have been why nobody could answer.
async fn ask_again(
    connection: &mut Connection,
    target: &str,
    digest: &str,
    question: &str,
) -> Result<(), Failure> {
    let given_up: Option<i64> = sqlx::query_scalar(
        "UPDATE tasks SET state = 'queued', attempts = 0
         WHERE state = 'failed' AND question = (
             SELECT id FROM questions
             WHERE target = $1 AND question_digest = $2 AND question <> $3)
         RETURNING question",
    )
    .bind(target)
    .bind(digest)
    .bind(question)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = given_up {
        sqlx::query("UPDATE questions SET question = $1 WHERE id = $2")
            .bind(question)
            .bind(id)
            .execute(connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn one(
    connection: &mut Connection,
    question: i64,
) -> Result<Option<StoredQuestion>, Failure> {
    let row = sqlx::query(stored!("WHERE q.id = $1"))
        .bind(question)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn of_target(
    connection: &mut Connection,
    target: &str,
) -> Result<Vec<StoredQuestion>, Failure> {
    let rows = sqlx::query(stored!("WHERE q.target = $1 ORDER BY q.id"))
        .bind(target)
        .fetch_all(connection)
        .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<StoredQuestion, Failure> {
    let id: i64 = row.try_get("id")?;
    let kind: QuestionKind = word(row, "kind")?;
    let what = format!("{kind} {id}");
    let state: String = row.try_get("state")?;
    let payload: Option<String> = row.try_get("payload")?;
    let standing = match (state.as_str(), payload) {
        ("queued" | "leased", _) => QuestionStanding::Pending,
        ("done", Some(payload)) => QuestionStanding::Done(Box::new(match kind {
            QuestionKind::Probe => Answer::Probe(parsed(&what, &payload)?),
            QuestionKind::Sensitivity => Answer::Sensitivity(parsed(&what, &payload)?),
        })),
        ("failed", _) => QuestionStanding::Failed {
            reason: row
                .try_get::<Option<String>, _>("ending")?
                .unwrap_or_default(),
        },
        (other, _) => return Err(corrupt(what, format!("it is {other} and has no answer"))),
    };
    Ok(StoredQuestion {
        id,
        question: read(kind, &what, row.try_get("question")?)?,
        standing,
    })
}

fn written(question: &Question) -> Result<String, Failure> {
    match question {
        Question::Probe(question) => json("the question of a probe", question),
        Question::Sensitivity(question) => json("the question of a sensitivity", question),
    }
}

fn read(kind: QuestionKind, what: &str, text: &str) -> Result<Question, Failure> {
    Ok(match kind {
        QuestionKind::Probe => Question::Probe(parsed(what, text)?),
        QuestionKind::Sensitivity => Question::Sensitivity(Box::new(parsed(what, text)?)),
    })
}

/// Whether a question is queued that a claimant is asked and can answer.
pub(super) async fn waits(
    connection: &mut Connection,
    claimant: &Claimant,
) -> Result<bool, Failure> {
    let profile = claimant.hardware_profile.to_string();
    let class = claimant.numerics_class.0.as_str();
    let waits: Option<i32> = sqlx::query_scalar(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM tasks WHERE state = 'queued' AND kind = 'probe'
                                                      AND target = $1)
                     OR EXISTS (SELECT 1 FROM tasks WHERE state = 'queued' AND kind = 'sensitivity'
                                                      AND target = $2)",
    )
    .bind(claimant.can_probe.then_some(profile))
    .bind(claimant.can_score_swaps.then_some(class))
    .fetch_optional(connection)
    .await?;
    Ok(waits.is_some())
}

pub(super) async fn claim(
    connection: &mut Connection,
    claimant: &Claimant,
    me: Option<i64>,
    now_ms: i64,
) -> Result<Option<ClaimedQuestion>, Failure> {
    let claimed: Option<(i64, i64, i64)> = sqlx::query_as(concat!(
        "UPDATE tasks
         SET state = 'leased', epoch = epoch + 1, attempts = attempts + 1, lease_until = $1,
             keeper = $6
         WHERE id = (
             SELECT t.id FROM tasks t
             WHERE t.state = 'queued' AND (($2 AND t.kind = 'probe' AND t.target = $3)
                                           OR ($4 AND t.kind = 'sensitivity' AND t.target = $5))
             ORDER BY t.kind, t.id LIMIT 1",
        taking!("t"),
        ") RETURNING id, epoch, question",
    ))
    .bind(now_ms.saturating_add(milliseconds(claimant.lease_time)))
    .bind(claimant.can_probe)
    .bind(claimant.hardware_profile.to_string())
    .bind(claimant.can_score_swaps)
    .bind(&claimant.numerics_class.0)
    .bind(me)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((task, epoch, question)) = claimed else {
        return Ok(None);
    };
    let token = LeaseToken { task, epoch };
    tasks::hand_out(connection, token, claimant.device, now_ms).await?;
    let row = sqlx::query("SELECT kind, question FROM questions WHERE id = $1")
        .bind(question)
        .fetch_one(connection)
        .await?;
    let kind: QuestionKind = word(&row, "kind")?;
    let what = format!("{kind} {question}");
    Ok(Some(ClaimedQuestion {
        token,
        question: read(kind, &what, row.try_get("question")?)?,
    }))
}

pub(super) async fn facts(
    connection: &mut Connection,
    task: i64,
) -> Result<Option<QuestionFacts>, Failure> {
    let row = sqlx::query(
        "SELECT t.epoch, q.kind, q.question
         FROM tasks t JOIN questions q ON q.id = t.question WHERE t.id = $1",
    )
    .bind(task)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let what = format!("the question of task {task}");
        Ok(QuestionFacts {
            epoch: row.try_get("epoch")?,
            question: read(word(&row, "kind")?, &what, row.try_get("question")?)?,
        })
    })
    .transpose()
}

pub(super) async fn record(
    connection: &mut Connection,
    report: &AnswerReport,
    now_ms: i64,
) -> Result<Receipt, Failure> {
    let token = report.token;
    let known: Option<i64> =
        sqlx::query_scalar("SELECT task FROM answers WHERE idempotency_key = $1")
            .bind(&report.idempotency_key)
            .fetch_optional(&mut *connection)
            .await?;
    if tasks::is_known(known, token, &report.idempotency_key)? {
        return Ok(Receipt::AlreadyReported);
    }
    let device: Option<i64> =
        sqlx::query_scalar("SELECT device FROM leases WHERE task = $1 AND epoch = $2")
            .bind(token.task)
            .bind(token.epoch)
            .fetch_optional(&mut *connection)
            .await?;
    let device = device.ok_or_else(|| {
        corrupt(
            format!("task {}", token.task),
            format!("it was never handed out under epoch {}", token.epoch),
        )
    })?;
    let payload = match &report.answer {
        Answer::Probe(probe) => json("the probe", probe)?,
        Answer::Sensitivity(sensitivity) => json("the sensitivity", sensitivity)?,
    };
    let accepted = tasks::end(connection, token).await?;
    let inserted = sqlx::query(
        "INSERT INTO answers (task, epoch, idempotency_key, accepted, payload, device, received_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (idempotency_key) DO NOTHING",
    )
    .bind(token.task)
    .bind(token.epoch)
    .bind(&report.idempotency_key)
    .bind(i64::from(accepted))
    .bind(payload)
    .bind(device)
    .bind(now_ms)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Failure::Overtaken);
    }
    Ok(tasks::receipt(accepted))
}
