-- Which database this is: numbers of tasks and epochs of leases begin anew in every database, so an
-- agent that keeps a report for one must not hand it in to another. Drawn here, once; a copy of the
-- file is the same database.
CREATE TABLE identity (
    -- There is one row.
    only INTEGER PRIMARY KEY NOT NULL CHECK (only = 1),
    -- 32 hexadecimal digits.
    id TEXT NOT NULL
) STRICT;
INSERT INTO identity (only, id) VALUES (1, lower(hex(randomblob(16))));
