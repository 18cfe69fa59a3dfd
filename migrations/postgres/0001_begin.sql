-- The first schema.
--
-- Times are milliseconds since the Unix epoch, given by the coordinator's clock: the database is
-- never asked for now. Several coordinators may write at once; the tables never disagree with each
-- other at the end of a transaction. Rows are never deleted.
--
-- The tables are those of `migrations/sqlite`, file by file, and read by the same statements. So
-- flags are numbers here too, 0 or 1. Numbers of rows are drawn one at a time (no cache), so that
-- one that is drawn later is higher, whoever draws it. Text that rows are put in order by is
-- compared by its bytes, whatever the database's own order is.

-- Tells a bitfront database from any other ("bfrt").
CREATE TABLE bitfront (
    application_id BIGINT PRIMARY KEY CHECK (application_id = 1650881140)
);
INSERT INTO bitfront (application_id) VALUES (1650881140);

-- What makes two devices interchangeable for timing. Fronts are stored under the digest.
CREATE TABLE hardware_profiles (
    digest TEXT PRIMARY KEY,
    -- The profile as JSON.
    profile TEXT NOT NULL
);

-- Every device that ever registered, as its agent described it at its last start.
CREATE TABLE devices (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    profile TEXT NOT NULL REFERENCES hardware_profiles (digest),
    numerics_class TEXT NOT NULL,
    -- The precisions that its runtime executes, comma separated.
    precisions TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    -- Of the last start, lease or report. Heartbeats stay in memory.
    last_seen_at BIGINT NOT NULL
);

-- Model specs, shared by the searches over one model.
CREATE TABLE models (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Of the weights.
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The spec as JSON; its own digest keeps it from being stored twice.
    spec TEXT NOT NULL,
    spec_digest TEXT NOT NULL UNIQUE
);
CREATE INDEX models_by_name ON models (name);

-- state      entered by                               left by
-- queued     submission; more budget before binding   a suitable device serves → running; cancel
-- running    binding to a device; more budget         a stop rule → done; cancel; failed
-- done       the driver, by a stop rule               more budget → running
-- cancelled  a user's cancel                          more budget → running, or queued if unbound
-- failed     the driver, when nothing can be measured nothing
--
-- Whoever adds to a search, or decides by its state, holds its row until the end of the
-- transaction: nobody ends it in between.
CREATE TABLE searches (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model BIGINT NOT NULL REFERENCES models (id),
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
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    -- The budget as it is now; at least one is set.
    budget_evaluations BIGINT,
    budget_time_ms BIGINT,
    -- Time that counts towards the budget. Written now and then while running, so a crash forgets
    -- a few seconds of it at most.
    active_ms BIGINT NOT NULL DEFAULT 0,
    -- The binding, fixed when the search leaves `queued` for the first time. The precisions are
    -- part of it, since the genes of stored candidates mean something in that space only.
    bound_profile TEXT REFERENCES hardware_profiles (digest),
    bound_class TEXT,
    bound_precisions TEXT,
    -- The point that hypervolumes are taken against, a JSON array; fixed after the baselines.
    reference_point TEXT
);
CREATE INDEX searches_by_state ON searches (state);

-- What was asked for, in the order of asking. Never changes.
CREATE TABLE candidates (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    search BIGINT NOT NULL REFERENCES searches (id),
    -- Which of the strategy's proposals it is, from 0; null for a baseline.
    ask_number BIGINT,
    -- One byte a gene; null where the plan lies outside the space, as some baselines do.
    genome BYTEA,
    -- The precisions in the spec's order of layers, comma separated.
    plan TEXT COLLATE "C" NOT NULL,
    plan_digest TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    -- The names of the baselines that it is; null for a proposal.
    baseline TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (search, plan_digest),
    UNIQUE (search, ask_number)
);
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
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    candidate BIGINT NOT NULL REFERENCES candidates (id),
    kind TEXT COLLATE "C" NOT NULL
        CONSTRAINT tasks_kind CHECK (kind IN ('quality', 'latency')),
    -- Who may measure it: a numerics class for quality, the digest of a hardware profile for
    -- latency.
    target TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('queued', 'leased', 'done', 'failed', 'cancelled')),
    -- The fencing token: the number of hand-outs so far. Never falls.
    epoch BIGINT NOT NULL DEFAULT 0,
    -- Hand-outs that count against the task.
    attempts BIGINT NOT NULL DEFAULT 0,
    -- When the latest lease ends unless heartbeats, which stay in memory, extend it.
    lease_until BIGINT,
    CONSTRAINT tasks_of_candidate UNIQUE (candidate, kind)
);
CREATE INDEX tasks_queued ON tasks (kind, target, candidate) WHERE state = 'queued';
-- A claim walks it in this order and passes over what another claim is taking.
CREATE INDEX tasks_in_order ON tasks (candidate, kind) WHERE state = 'queued';
CREATE INDEX tasks_leased ON tasks (id) WHERE state = 'leased';

-- Every hand-out: who held which task under which token. Append-only, but for the ending.
CREATE TABLE leases (
    task BIGINT NOT NULL REFERENCES tasks (id),
    epoch BIGINT NOT NULL,
    device BIGINT NOT NULL REFERENCES devices (id),
    leased_at BIGINT NOT NULL,
    -- Why it ended without a result, for the operator.
    ending TEXT,
    PRIMARY KEY (task, epoch)
);
CREATE INDEX leases_by_device ON leases (device);

-- What came back. Append-only; the order of the ids is the order in which a strategy is told.
--
-- Transactions end in another order than they draw numbers in. Whoever adds a row holds a shared
-- lock on its subject from before the number is drawn, and whoever reads in order waits for those
-- who hold it: so no number comes to be seen after a higher one was read.
CREATE TABLE measurements (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task BIGINT NOT NULL REFERENCES tasks (id),
    -- The hand-out that it was measured under, which may not be the latest one; 0 for a reuse.
    epoch BIGINT NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    -- `abandoned` is written by the coordinator for a task that failed too often.
    outcome TEXT NOT NULL
        CHECK (outcome IN ('quality', 'latency', 'infeasible', 'abandoned')),
    -- 1 where it ended the task, 0 where it is a repeat.
    accepted BIGINT NOT NULL CHECK (accepted IN (0, 1)),
    -- The figures that searches steer by; null where the outcome has none.
    kld DOUBLE PRECISION,
    decode_ns DOUBLE PRECISION,
    prefill_ns DOUBLE PRECISION,
    -- Why there are none.
    infeasible TEXT,
    -- 0 where a layer executed in another precision than was asked for.
    executed_as_planned BIGINT NOT NULL CHECK (executed_as_planned IN (0, 1)),
    -- The whole measurement as JSON: raw samples, intervals, evidence.
    payload TEXT NOT NULL,
    device BIGINT NOT NULL REFERENCES devices (id),
    received_at BIGINT NOT NULL,
    -- The measurement of another search that this one repeats word for word: the quality of the
    -- same plan of the same subject in the same numerics class is measured once.
    reused_from BIGINT REFERENCES measurements (id)
);
CREATE UNIQUE INDEX measurements_accepted ON measurements (task) WHERE accepted = 1;
CREATE INDEX measurements_by_device ON measurements (device);
