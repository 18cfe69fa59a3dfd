-- Questions: what is asked of a device outside any candidate. Besides probes of hardware profiles
-- these are sensitivities, which are of numerics classes: what each layer of a model loses alone.

-- What was asked; the answer is a row of `answers`. One question is asked once: searches over
-- models of the same shapes share a probe, searches over the same model, text, imatrix and
-- precisions a sensitivity.
ALTER TABLE probes RENAME TO questions;
ALTER TABLE questions DROP CONSTRAINT probes_profile;
-- Of whom: the digest of a hardware profile for a probe, a numerics class for a sensitivity.
ALTER TABLE questions RENAME COLUMN profile TO target;
-- `question` is JSON: of a probe shapes, precisions and rows of activations; of a sensitivity the
-- subject, the model spec, precisions and the number of windows.
ALTER TABLE questions ADD COLUMN kind TEXT NOT NULL DEFAULT 'probe'
    CHECK (kind IN ('probe', 'sensitivity'));
ALTER TABLE questions ALTER COLUMN kind DROP DEFAULT;

-- What a task is about: a candidate, or (kinds `probe` and `sensitivity`) a question, which is for
-- searches. Its target is a numerics class for quality and sensitivity, the digest of a hardware
-- profile for latency, probe and confirmations. States as described in 0002; of a question they are
--
-- queued     a search that wants to be bound; a lease that      claim → leased; a late report →
--            ended without an answer                            done
-- leased     a claim                                            report → done; release or expiry →
--                                                               queued, or failed after too many
--                                                               attempts
-- done       a report                                           nothing
-- failed     the last allowed attempt ending without an answer  nothing: searches are bound without
ALTER TABLE tasks RENAME COLUMN probe TO question;
ALTER TABLE tasks DROP CONSTRAINT tasks_kind;
ALTER TABLE tasks ADD CONSTRAINT tasks_kind
    CHECK (kind IN ('quality', 'latency', 'probe', 'sensitivity'));
ALTER TABLE tasks DROP CONSTRAINT tasks_about;
ALTER TABLE tasks ADD CONSTRAINT tasks_about
    CHECK ((kind IN ('probe', 'sensitivity')) = (candidate IS NULL)
           AND (candidate IS NULL) = (question IS NOT NULL));

-- What came back. Append-only. `payload` is the whole answer as JSON: of a probe every product with
-- its raw samples and intervals, of a sensitivity every swap with its divergence in each window.
ALTER TABLE probe_answers RENAME TO answers;

-- 1 where the device's agent can score what layers lose alone.
ALTER TABLE devices ADD COLUMN can_score_swaps BIGINT NOT NULL DEFAULT 0
    CHECK (can_score_swaps IN (0, 1));

-- More of a search's binding: the sensitivity that its guesses of losses are made from; null where
-- it was bound without one.
ALTER TABLE searches ADD COLUMN bound_sensitivity BIGINT REFERENCES questions (id);
