-- A driver reads what is new of its search, and of the searches over the same subject. With the search
-- beside the measurement, what is new of all the others need not be looked at.

-- The search of the task's candidate; never changed, since neither of these ever is.
ALTER TABLE measurements ADD COLUMN search BIGINT REFERENCES searches (id);
UPDATE measurements SET search = (
    SELECT c.search FROM tasks t JOIN candidates c ON c.id = t.candidate WHERE t.id = measurements.task
);
CREATE INDEX measurements_by_search ON measurements (search, id) WHERE accepted = 1;
