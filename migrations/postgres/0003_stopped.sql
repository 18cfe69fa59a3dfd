-- Scoring may stop early: a plan that loses more than a candidate that is no larger and no slower
-- is given up after some of the windows. Its divergence is then what these let expect of all; the
-- search goes on by it, but it enters no front and no other search.
ALTER TABLE measurements ADD COLUMN stopped BIGINT NOT NULL DEFAULT 0 CHECK (stopped IN (0, 1));
