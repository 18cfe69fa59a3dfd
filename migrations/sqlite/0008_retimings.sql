-- Retimings: a time of a search that its model contradicts is measured once more, which is a purpose
-- of its own, so that a candidate keeps both timings.
--
-- As in 0002, the table is made anew; whoever runs this has switched foreign keys off.

-- One thing to measure. States as described in 0002 and 0007; of a retiming they are
--
-- queued     the driver's wish, again for what was cancelled;   claim → leased; a late report →
--            a lease that ended without a result                done; cancel, end, or the beginning
--                                                               of confirmations → cancelled
-- leased     a claim                                            report → done; release or expiry →
--                                                               queued, or failed after too many
--                                                               attempts; cancel → cancelled
-- done       a report                                           nothing
-- failed     the last allowed attempt ending without a result   nothing: the first timing stands
-- cancelled  as above                                           the driver's wish → queued
CREATE TABLE tasks_with_retimings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What it is about: a candidate, or (kinds `probe` and `sensitivity`) a question.
    candidate INTEGER REFERENCES candidates (id),
    question INTEGER UNIQUE REFERENCES questions (id),
    kind TEXT NOT NULL CHECK (kind IN ('quality', 'latency', 'probe', 'sensitivity')),
    -- What it is measured for. Quality that confirms is measured on other windows of the text, so
    -- figures of `confirm` are never compared with others. A question is for searches.
    purpose TEXT NOT NULL CHECK (purpose IN ('search', 'confirm', 'retime')),
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
           AND (candidate IS NULL) = (question IS NOT NULL)),
    CHECK (purpose <> 'retime' OR kind = 'latency')
) STRICT;
INSERT INTO tasks_with_retimings (id, candidate, question, kind, purpose, target, state, epoch,
                                  attempts, lease_until)
SELECT id, candidate, question, kind, purpose, target, state, epoch, attempts, lease_until
FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_with_retimings RENAME TO tasks;
CREATE INDEX tasks_queued ON tasks (kind, target, candidate) WHERE state = 'queued';
CREATE INDEX tasks_leased ON tasks (id) WHERE state = 'leased';
