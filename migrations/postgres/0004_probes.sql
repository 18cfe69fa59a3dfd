-- Probes: how long a device takes for single matrix products. A probe is a task of a hardware
-- profile and of no candidate, so tasks get one or the other.

-- What was asked of a hardware profile; the answer is a row of `probe_answers`. One question is
-- asked once: searches over models of the same shapes share it.
CREATE TABLE probes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    profile TEXT NOT NULL CONSTRAINT probes_profile REFERENCES hardware_profiles (digest),
    question_digest TEXT NOT NULL,
    -- Shapes, precisions and rows of activations as JSON.
    question TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (profile, question_digest)
);

-- What a task is about: a candidate, or (kind `probe`) a probe, which is for searches and has the
-- digest of a hardware profile for its target. States as described in 0002; of a probe they are
--
-- queued     a search that wants to be bound; a lease that      claim → leased; a late report →
--            ended without an answer                            done
-- leased     a claim                                            report → done; release or expiry →
--                                                               queued, or failed after too many
--                                                               attempts
-- done       a report                                           nothing
-- failed     the last allowed attempt ending without an answer  nothing: searches are bound without
ALTER TABLE tasks ALTER COLUMN candidate DROP NOT NULL;
ALTER TABLE tasks ADD COLUMN probe BIGINT UNIQUE REFERENCES probes (id);
ALTER TABLE tasks DROP CONSTRAINT tasks_kind;
ALTER TABLE tasks ADD CONSTRAINT tasks_kind CHECK (kind IN ('quality', 'latency', 'probe'));
ALTER TABLE tasks ADD CONSTRAINT tasks_about
    CHECK ((kind = 'probe') = (candidate IS NULL) AND (kind = 'probe') = (probe IS NOT NULL));

-- What came back. Append-only.
CREATE TABLE probe_answers (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task BIGINT NOT NULL REFERENCES tasks (id),
    -- The hand-out that it was made under, which may not be the latest one.
    epoch BIGINT NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    -- 1 where it ended the task, 0 where it is a repeat.
    accepted BIGINT NOT NULL CHECK (accepted IN (0, 1)),
    -- The whole probe as JSON: every product with its raw samples and intervals.
    payload TEXT NOT NULL,
    device BIGINT NOT NULL REFERENCES devices (id),
    received_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX answers_accepted ON probe_answers (task) WHERE accepted = 1;

-- 1 where the device's agent understands probes.
ALTER TABLE devices ADD COLUMN can_probe BIGINT NOT NULL DEFAULT 0 CHECK (can_probe IN (0, 1));

-- More of a search's binding: the probe that its guesses of times are made from, and what left its
-- space by it, as a JSON array. Both null where it was bound without one.
ALTER TABLE searches ADD COLUMN bound_probe BIGINT REFERENCES probes (id);
ALTER TABLE searches ADD COLUMN bound_exclusions TEXT;
