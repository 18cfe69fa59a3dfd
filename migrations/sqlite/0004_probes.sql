-- Probes: how long a device takes for single matrix products. A probe is a task of a hardware
-- profile and of no candidate, so tasks get one or the other.
--
-- As in 0002, the table is made anew; whoever runs this has switched foreign keys off.

-- What was asked of a hardware profile; the answer is a row of `probe_answers`. One question is
-- asked once: searches over models of the same shapes share it.
CREATE TABLE probes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    profile TEXT NOT NULL REFERENCES hardware_profiles (digest),
    question_digest TEXT NOT NULL,
    -- Shapes, precisions and rows of activations as JSON.
    question TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (profile, question_digest)
) STRICT;

-- One thing to measure. States as described in 0002; of a probe they are
--
-- queued     a search that wants to be bound; a lease that      claim → leased; a late report →
--            ended without an answer                            done
-- leased     a claim                                            report → done; release or expiry →
--                                                               queued, or failed after too many
--                                                               attempts
-- done       a report                                           nothing
-- failed     the last allowed attempt ending without an answer  nothing: searches are bound without
CREATE TABLE tasks_with_probes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What it is about: a candidate, or (kind `probe`) a probe.
    candidate INTEGER REFERENCES candidates (id),
    probe INTEGER UNIQUE REFERENCES probes (id),
    kind TEXT NOT NULL CHECK (kind IN ('quality', 'latency', 'probe')),
    -- What it is measured for. Quality that confirms is measured on other windows of the text, so
    -- figures of two purposes are never compared. A probe is for searches.
    purpose TEXT NOT NULL CHECK (purpose IN ('search', 'confirm')),
    -- Who may measure it: a numerics class for quality, the digest of a hardware profile for
    -- latency and probe.
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
    CHECK ((kind = 'probe') = (candidate IS NULL) AND (kind = 'probe') = (probe IS NOT NULL))
) STRICT;
INSERT INTO tasks_with_probes (id, candidate, kind, purpose, target, state, epoch, attempts,
                               lease_until)
SELECT id, candidate, kind, purpose, target, state, epoch, attempts, lease_until FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_with_probes RENAME TO tasks;
CREATE INDEX tasks_queued ON tasks (kind, target, candidate) WHERE state = 'queued';
CREATE INDEX tasks_leased ON tasks (id) WHERE state = 'leased';

-- What came back. Append-only.
CREATE TABLE probe_answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task INTEGER NOT NULL REFERENCES tasks (id),
    -- The hand-out that it was made under, which may not be the latest one.
    epoch INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    -- 1 where it ended the task, 0 where it is a repeat.
    accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    -- The whole probe as JSON: every product with its raw samples and intervals.
    payload TEXT NOT NULL,
    device INTEGER NOT NULL REFERENCES devices (id),
    received_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX probe_answers_accepted ON probe_answers (task) WHERE accepted = 1;

-- 1 where the device's agent understands probes.
ALTER TABLE devices ADD COLUMN can_probe INTEGER NOT NULL DEFAULT 0 CHECK (can_probe IN (0, 1));

-- More of a search's binding: the probe that its guesses of times are made from, and what left its
-- space by it, as a JSON array. Both null where it was bound without one.
ALTER TABLE searches ADD COLUMN bound_probe INTEGER REFERENCES probes (id);
ALTER TABLE searches ADD COLUMN bound_exclusions TEXT;
