-- Searches that start by themselves: a schedule says when, and each time that it names is a slot.

-- What is searched, and when.
--
-- active    the call that adds it; a resume      a pause → paused; a removal → removed
-- paused    a pause: its slots pass unseen       a resume → active; a removal → removed
-- removed   a removal                            nothing; its nights stay
CREATE TABLE schedules (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL,
    -- Minute, hour, day of the month, month, day of the week, as typed.
    cron TEXT NOT NULL,
    -- The name of the zone in which the line is read, as in the IANA database.
    time_zone TEXT NOT NULL,
    -- How late a slot may be started; later it is missed.
    grace_ms BIGINT NOT NULL,
    -- The request of every night as JSON, with the spec, the budget of one night among the rest.
    request TEXT NOT NULL,
    -- Where the end of a night is told, whole: what is secret in it is needed for that. Not shown.
    webhook TEXT,
    created_at BIGINT NOT NULL,
    -- Slots up to here are none: those from before it was there, and from while it was paused.
    since BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'paused', 'removed'))
);
CREATE UNIQUE INDEX schedules_by_name ON schedules (name) WHERE state <> 'removed';

-- What became of a slot, decided once, by whichever coordinator comes first: there is one row for each.
--
-- started   its search is made in the same transaction; how that ended is its own row's to say
-- missed    nobody served within the grace
-- skipped   the search of an earlier night had not ended
-- failed    the request was refused
CREATE TABLE nights (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule BIGINT NOT NULL REFERENCES schedules (id),
    slot_at BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('started', 'missed', 'skipped', 'failed')),
    search BIGINT REFERENCES searches (id),
    -- Why it is missed, skipped or failed, and what is worth saying of one that is started.
    reason TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    -- The notice to the schedule's webhook, which is due once the night is over.
    --
    -- none        the night of a schedule without a webhook     nothing
    -- wanted      any other night                               an answer that takes it → delivered;
    --                                                           a day of attempts → given_up
    -- delivered, given_up                                       nothing
    notice TEXT NOT NULL CHECK (notice IN ('none', 'wanted', 'delivered', 'given_up')),
    -- An attempt is begun by raising this, so that one coordinator makes it.
    notice_attempts BIGINT NOT NULL DEFAULT 0,
    notice_first_at BIGINT,
    -- When the next attempt may begin.
    notice_next_at BIGINT NOT NULL,
    notice_ended_at BIGINT,
    -- What the last attempt failed of.
    notice_error TEXT,
    UNIQUE (schedule, slot_at)
);
CREATE INDEX nights_to_tell ON nights (id) WHERE notice = 'wanted';
CREATE INDEX nights_by_search ON nights (schedule, search) WHERE search IS NOT NULL;
