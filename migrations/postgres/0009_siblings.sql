-- Siblings: searches over one subject that learn from what the others measure.

-- 1 where it learns from its siblings and they learn from it. Part of the request, and here too
-- since siblings are looked up by it. Searches from before there was a choice stay alone.
ALTER TABLE searches ADD COLUMN shares BIGINT NOT NULL DEFAULT 0 CHECK (shares IN (0, 1));
CREATE INDEX searches_that_share ON searches (subject_digest) WHERE shares = 1;
