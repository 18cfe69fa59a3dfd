-- Tasks get a purpose: a point of a front is measured again before its search ends, so a candidate
-- may have two tasks of one kind.
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

-- What it is measured for. Quality that confirms is measured on other windows of the text, so
-- figures of two purposes are never compared.
ALTER TABLE tasks ADD COLUMN purpose TEXT NOT NULL
    CONSTRAINT tasks_purpose CHECK (purpose IN ('search', 'confirm'));
ALTER TABLE tasks DROP CONSTRAINT tasks_of_candidate;
ALTER TABLE tasks ADD CONSTRAINT tasks_of_candidate UNIQUE (candidate, kind, purpose);
