-- Tasks get a purpose: a point of a front is measured again before its search ends, so a candidate
-- may have two tasks of one kind.
--
-- SQLite cannot change a table's constraints, so the table is made anew and takes the old one's
-- name. Foreign keys are off meanwhile, and checked afterwards by whoever runs this.

-- One thing to measure.
--
-- purpose    asked by                            told to
-- search     the driver, with the candidate      the strategy, and whoever asks for figures
-- confirm    the driver, for points of the       whoever asks for figures; no strategy
--            front, once a stop rule says that
--            the search is over
--
-- state      entered by                                         left by
-- queued     its candidate's creation; the driver's wish to     claim → leased; a late report, or
--            confirm; a lease that ended without a result;      at once a quality that is known
--            more budget (search); the wish to confirm again    already (search) → done; cancel or
--            what was cancelled (confirm)                       end → cancelled; more budget
--                                                               (confirm), the beginning of
--                                                               confirmations (search) → cancelled
-- leased     a claim                                            report → done; release or expiry →
--                                                               queued, or failed after too many
--                                                               attempts; cancel → cancelled
-- done       a report                                           nothing
-- failed     the last allowed attempt ending without a result   nothing
-- cancelled  a cancel; the end of the search; an infeasible     search: more budget → queued, unless
--            outcome of the candidate's other task of the       the candidate is infeasible;
--            same purpose; more budget (confirm); the           confirm: the driver's wish to
--            beginning of confirmations (search)                confirm → queued
CREATE TABLE tasks_with_purpose (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    candidate INTEGER NOT NULL REFERENCES candidates (id),
    kind TEXT NOT NULL CHECK (kind IN ('quality', 'latency')),
    -- What it is measured for. Quality that confirms is measured on other windows of the text, so
    -- figures of two purposes are never compared.
    purpose TEXT NOT NULL CHECK (purpose IN ('search', 'confirm')),
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
    UNIQUE (candidate, kind, purpose)
) STRICT;
INSERT INTO tasks_with_purpose (id, candidate, kind, purpose, target, state, epoch, attempts,
                                lease_until)
SELECT id, candidate, kind, 'search', target, state, epoch, attempts, lease_until FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_with_purpose RENAME TO tasks;
CREATE INDEX tasks_queued ON tasks (kind, target, candidate) WHERE state = 'queued';
CREATE INDEX tasks_leased ON tasks (id) WHERE state = 'leased';
