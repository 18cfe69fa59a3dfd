-- How many evaluations a search had when it was last given more budget, 0 if it never was. What ends
-- a search early looks at what came after, or a search that has stalled could never go on.
ALTER TABLE searches ADD COLUMN continued_after BIGINT NOT NULL DEFAULT 0;
