-- The share of positions at which the plan ranks another token first than the unquantized model: a
-- figure that searches may steer by and bear a limit on. Null where the outcome is no quality. It
-- was measured before, and is part of the whole measurement.
ALTER TABLE measurements ADD COLUMN mismatch REAL;
UPDATE measurements SET mismatch = 1.0 - json_extract(payload, '$.outcome.same_top_rate')
WHERE outcome = 'quality';
