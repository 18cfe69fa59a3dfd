-- The first schema.
--
-- Times are milliseconds since the Unix epoch, given by the coordinator's clock: the database is
-- never asked for now. Every write goes through one connection; the tables never disagree with
-- each other at the end of a transaction. Rows are never deleted.

-- Tells a bitfront database from any other SQLite file ("bfrt").
PRAGMA application_id = 1650881140;

-- What makes two devices interchangeable for timing. Fronts are stored under the digest.
CREATE TABLE hardware_profiles (
    digest TEXT PRIMARY KEY NOT NULL,
    -- The profile as JSON.
    profile TEXT NOT NULL
) STRICT;

-- Every device that ever registered, as its agent described it at its last start.
CREATE TABLE devices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    profile TEXT NOT NULL REFERENCES hardware_profiles (digest),
    numerics_class TEXT NOT NULL,
    -- The precisions that its runtime executes, comma separated.
    precisions TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    -- Of the last start, lease or report. Heartbeats stay in memory.
    last_seen_at INTEGER NOT NULL
) STRICT;

-- Model specs, shared by the searches over one model.
CREATE TABLE models (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Of the weights.
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The spec as JSON; its own digest keeps it from being stored twice.
    spec TEXT NOT NULL,
    spec_digest TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX models_by_name ON models (name);

-- state      entered by                               left by
-- queued     submission; more budget before binding   a suitable device serves → running; cancel
-- running    binding to a device; more budget         a stop rule → done; cancel; failed
-- done       the driver, by a stop rule               more budget → running
-- cancelled  a user's cancel                          more budget → running, or queued if unbound
-- failed     the driver, when nothing can be measured nothing
CREATE TABLE searches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model INTEGER NOT NULL REFERENCES models (id),
    -- The request as JSON, without the spec, as it was submitted.
    request TEXT NOT NULL,
    -- What is measured: model, text and imatrix by content. Qualities are shared by it.
    subject_digest TEXT NOT NULL,
    -- The submitter's; one sent again finds the search that it started.
    idempotency_key TEXT UNIQUE,
    state TEXT NOT NULL
        CHECK (state IN ('queued', 'running', 'done', 'cancelled', 'failed')),
    -- Why it ended, or what it waits for.
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    -- The budget as it is now; at least one is set.
    budget_evaluations INTEGER,
    budget_time_ms INTEGER,
    -- Time that counts towards the budget. Written now and then while running, so a crash forgets
    -- a few seconds of it at most.
    active_ms INTEGER NOT NULL DEFAULT 0,
    -- The binding, fixed when the search leaves `queued` for the first time. The precisions are
    -- part of it, since the genes of stored candidates mean something in that space only.
    bound_profile TEXT REFERENCES hardware_profiles (digest),
    bound_class TEXT,
    bound_precisions TEXT,
    -- The point that hypervolumes are taken against, a JSON array; fixed after the baselines.
    reference_point TEXT
) STRICT;
CREATE INDEX searches_by_state ON searches (state);

-- What was asked for, in the order of asking. Never changes.
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    search INTEGER NOT NULL REFERENCES searches (id),
    -- Which of the strategy's proposals it is, from 0; null for a baseline.
    ask_number INTEGER,
    -- One byte a gene; null where the plan lies outside the space, as some baselines do.
    genome BLOB,
    -- The precisions in the spec's order of layers, comma separated.
    plan TEXT NOT NULL,
    plan_digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    -- The names of the baselines that it is; null for a proposal.
    baseline TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (search, plan_digest),
    UNIQUE (search, ask_number)
) STRICT;
CREATE INDEX candidates_by_plan ON candidates (plan_digest);

-- One thing to measure.
--
-- state      entered by                                         left by
-- queued     its candidate's creation; a lease that ended       claim → leased; a late report, or
--            without a result; more budget                      at once a quality that is known
--                                                               already → done; cancel or end →
--                                                               cancelled
-- leased     a claim                                            report → done; release or expiry →
--                                                               queued, or failed after too many
--                                                               attempts; cancel → cancelled
-- done       a report                                           nothing
-- failed     the last allowed attempt ending without a result   nothing
-- cancelled  a cancel; the end of the search; an infeasible     more budget → queued, unless the
--            outcome of the candidate's other task              candidate is infeasible
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    candidate INTEGER NOT NULL REFERENCES candidates (id),
    kind TEXT NOT NULL CHECK (kind IN ('quality', 'latency')),
    -- Who may measure it: a numerics class for quality, the digest of a hardware profile for
    -- latency.
    target TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('queued', 'leased', 'done', 'failed', 'cancelled')),
    -- The fencing token: the number of hand-outs so far. Never falls.
    epoch INTEGER NOT NULL DEFAULT 0,
    -- Hand-outs that count against the task.
    attempts INTEGER NOT NULL DEFAULT 0,
    -- When the latest lease ends unless heartbeats, which stay in memory, extend it.
    lease_until INTEGER,
    UNIQUE (candidate, kind)
) STRICT;
CREATE INDEX tasks_queued ON tasks (kind, target, candidate) WHERE state = 'queued';
CREATE INDEX tasks_leased ON tasks (id) WHERE state = 'leased';

-- Every hand-out: who held which task under which token. Append-only, but for the ending.
CREATE TABLE leases (
    task INTEGER NOT NULL REFERENCES tasks (id),
    epoch INTEGER NOT NULL,
    device INTEGER NOT NULL REFERENCES devices (id),
    leased_at INTEGER NOT NULL,
    -- Why it ended without a result, for the operator.
    ending TEXT,
    PRIMARY KEY (task, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_device ON leases (device);

-- What came back. Append-only; the order of the ids is the order in which a strategy is told.
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task INTEGER NOT NULL REFERENCES tasks (id),
    -- The hand-out that it was measured under, which may not be the latest one; 0 for a reuse.
    epoch INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    -- `abandoned` is written by the coordinator for a task that failed too often.
    outcome TEXT NOT NULL
        CHECK (outcome IN ('quality', 'latency', 'infeasible', 'abandoned')),
    -- 1 where it ended the task, 0 where it is a repeat.
    accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    -- The figures that searches steer by; null where the outcome has none.
    kld REAL,
    decode_ns REAL,
    prefill_ns REAL,
    -- Why there are none.
    infeasible TEXT,
    -- 0 where a layer executed in another precision than was asked for.
    executed_as_planned INTEGER NOT NULL CHECK (executed_as_planned IN (0, 1)),
    -- The whole measurement as JSON: raw samples, intervals, evidence.
    payload TEXT NOT NULL,
    device INTEGER NOT NULL REFERENCES devices (id),
    received_at INTEGER NOT NULL,
    -- The measurement of another search that this one repeats word for word: the quality of the
    -- same plan of the same subject in the same numerics class is measured once.
    reused_from INTEGER REFERENCES measurements (id)
) STRICT;
CREATE UNIQUE INDEX measurements_accepted ON measurements (task) WHERE accepted = 1;
CREATE INDEX measurements_by_device ON measurements (device);
