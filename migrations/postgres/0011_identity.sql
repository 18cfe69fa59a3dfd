-- Which database this is: numbers of tasks and epochs of leases begin anew in every database, so an
-- agent that keeps a report for one must not hand it in to another. Drawn here, once; a restored copy
-- is the same database.
CREATE TABLE identity (
    -- There is one row.
    "only" BIGINT PRIMARY KEY NOT NULL CHECK ("only" = 1),
    -- 32 hexadecimal digits.
    id TEXT NOT NULL
);
INSERT INTO identity ("only", id) VALUES (1, replace(gen_random_uuid()::text, '-', ''));
