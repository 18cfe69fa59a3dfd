-- The share of positions at which the plan ranks another token first than the unquantized model: a
-- figure that searches may steer by and bear a limit on. Null where the outcome is no quality. It
-- was measured before, and is part of the whole measurement.
ALTER TABLE measurements ADD COLUMN mismatch DOUBLE PRECISION;
UPDATE measurements
SET mismatch = 1.0 - (payload::jsonb #>> '{outcome,same_top_rate}')::double precision
WHERE outcome = 'quality';
