-- A driver reads what is new of its search, and of the searches over the same subject. With the search
-- beside the measurement, what is new of all the others need not be looked at.

-- The search of the task's candidate; never changed, since neither of these ever is. The candidate refers to
-- it, so this need not as well: to look there once more is a lock for each measurement.
ALTER TABLE measurements ADD COLUMN search BIGINT;
UPDATE measurements SET search = (
    SELECT c.search FROM tasks t JOIN candidates c ON c.id = t.candidate WHERE t.id = measurements.task
);
-- A coordinator of an earlier version, which would add measurements that later ones never find, is refused;
-- agents keep what it does not take. (SQLite has one coordinator at a time.)
ALTER TABLE measurements ADD CONSTRAINT measurements_have_a_search CHECK (search IS NOT NULL);
CREATE INDEX measurements_by_search ON measurements (search, id) WHERE accepted = 1;

-- Claims walk the queued tasks of a kind and a target by candidate. What they order by is worded so that
-- only this index has it in its order: of the others the server believes that the first queued tasks are
-- found at their beginning, where in truth all that is done lies.
DROP INDEX tasks_in_order;
DROP INDEX tasks_queued;
CREATE INDEX tasks_queued ON tasks (kind, target, (candidate + 0)) WHERE state = 'queued';
