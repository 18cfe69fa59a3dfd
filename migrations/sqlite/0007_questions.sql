-- Questions: what is asked of a device outside any candidate. Besides probes of hardware profiles
-- these are sensitivities, which are of numerics classes: what each layer of a model loses alone.
--
-- As in 0002, tables are made anew; whoever runs this has switched foreign keys off.

-- What was asked; the answer is a row of `answers`. One question is asked once: searches over
-- models of the same shapes share a probe, searches over the same model, text, imatrix and
-- precisions a sensitivity.
--
-- Renamed first, so that searches refer to it by its new name.
ALTER TABLE probes RENAME TO questions;
CREATE TABLE questions_of_all (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('probe', 'sensitivity')),
    -- Of whom: the digest of a hardware profile for a probe, a numerics class for a sensitivity.
    target TEXT NOT NULL,
    question_digest TEXT NOT NULL,
    -- As JSON. Of a probe shapes, precisions and rows of activations; of a sensitivity the subject,
    -- the model spec, precisions and the number of windows.
    question TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (target, question_digest)
) STRICT;
INSERT INTO questions_of_all (id, kind, target, question_digest, question, created_at)
SELECT id, 'probe', profile, question_digest, question, created_at FROM questions;
DROP TABLE questions;
ALTER TABLE questions_of_all RENAME TO questions;

-- One thing to measure. States as described in 0002; of a question they are
--
-- queued     a search that wants to be bound; a lease that      claim → leased; a late report →
--            ended without an answer                            done
-- leased     a claim                                            report → done; release or expiry →
--                                                               queued, or failed after too many
--                                                               attempts
-- done       a report                                           nothing
-- failed     the last allowed attempt ending without an answer  nothing: searches are bound without
CREATE TABLE tasks_with_questions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What it is about: a candidate, or (kinds `probe` and `sensitivity`) a question.
    candidate INTEGER REFERENCES candidates (id),
    question INTEGER UNIQUE REFERENCES questions (id),
    kind TEXT NOT NULL CHECK (kind IN ('quality', 'latency', 'probe', 'sensitivity')),
    -- What it is measured for. Quality that confirms is measured on other windows of the text, so
    -- figures of two purposes are never compared. A question is for searches.
    purpose TEXT NOT NULL CHECK (purpose IN ('search', 'confirm')),
    -- Who may measure it: a numerics class for quality and sensitivity, the digest of a hardware
    -- profile for latency, probe and confirmations.
    target TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('queued', 'leased', 'done', 'failed', 'cancelled')),
    -- The fencing token: the number of hand-outs so far. Never falls.
    epoch INTEGER NOT NULL DEFAULT 0,
    -- Hand-outs that count against the task.
    attempts INTEGER NOT NULL DEFAULT 0,
    -- When the latest lease ends unless heartbeats, which stay in memory, extend it.
    lease_until INTEGER,
    UNIQUE (candidate, kind, purpose),
    CHECK ((kind IN ('probe', 'sensitivity')) = (candidate IS NULL)
           AND (candidate IS NULL) = (question IS NOT NULL))
) STRICT;
INSERT INTO tasks_with_questions (id, candidate, question, kind, purpose, target, state, epoch,
                                  attempts, lease_until)
SELECT id, candidate, probe, kind, purpose, target, state, epoch, attempts, lease_until FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_with_questions RENAME TO tasks;
CREATE INDEX tasks_queued ON tasks (kind, target, candidate) WHERE state = 'queued';
CREATE INDEX tasks_leased ON tasks (id) WHERE state = 'leased';

-- What came back. Append-only. `payload` is the whole answer as JSON: of a probe every product with
-- its raw samples and intervals, of a sensitivity every swap with its divergence in each window.
ALTER TABLE probe_answers RENAME TO answers;
DROP INDEX probe_answers_accepted;
CREATE UNIQUE INDEX answers_accepted ON answers (task) WHERE accepted = 1;

-- 1 where the device's agent can score what layers lose alone.
ALTER TABLE devices ADD COLUMN can_score_swaps INTEGER NOT NULL DEFAULT 0
    CHECK (can_score_swaps IN (0, 1));

-- More of a search's binding: the sensitivity that its guesses of losses are made from; null where
-- it was bound without one.
ALTER TABLE searches ADD COLUMN bound_sensitivity INTEGER REFERENCES questions (id);
