-- Several coordinators may serve one database, where the database can be shared at all (Postgres).
-- Each is in charge of some searches, leases and devices, and another takes these over when it dies.

-- A coordinator from its start to its end; its number is its term.
--
-- serving   the start of a coordinator      its own end, or another one that sees its beat stand
--                                           still → retired
-- retired   as above                        nothing: one that was only paused begins anew
CREATE TABLE coordinators (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Where it listens, for people.
    address TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    -- Raised every few seconds. Others watch whether it grows, each by its own clock.
    beat BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('serving', 'retired'))
);
CREATE INDEX coordinators_serving ON coordinators (id) WHERE state = 'serving';

-- Who drives the search; nobody where it is null, or one who was retired. What a driver writes is refused to any other.
ALTER TABLE searches ADD COLUMN driver BIGINT REFERENCES coordinators (id);
-- Who keeps the time of the lease, of a leased task; nobody where it is null, or one who was retired.
ALTER TABLE tasks ADD COLUMN keeper BIGINT REFERENCES coordinators (id);
-- Whom the device's agent speaks to, and which agent that is: it minted this at its start.
ALTER TABLE devices ADD COLUMN coordinator BIGINT REFERENCES coordinators (id);
ALTER TABLE devices ADD COLUMN instance TEXT;
