-- The plans that a search begins with after its baselines: the front of the search that it was told
-- to start from, as it stood then. Read once at submission, so that a restart proposes the same.
-- A JSON array of arrays of precisions in the spec's order of layers; null where it starts from none.
ALTER TABLE searches ADD COLUMN starts TEXT;
