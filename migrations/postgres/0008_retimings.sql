-- Retimings: a time of a search that its model contradicts is measured once more, which is a purpose
-- of its own, so that a candidate keeps both timings.
--
-- Figures of `confirm` are never compared with those of other purposes. States as described in 0002
-- and 0007; of a retiming they are
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
ALTER TABLE tasks DROP CONSTRAINT tasks_purpose;
ALTER TABLE tasks ADD CONSTRAINT tasks_purpose
    CHECK (purpose IN ('search', 'confirm', 'retime'));
ALTER TABLE tasks ADD CONSTRAINT tasks_retiming
    CHECK (purpose <> 'retime' OR kind = 'latency');
