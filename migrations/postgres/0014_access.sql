-- Who may do what at the coordinators over this database.

-- An access token. Its secret is 256 bits from the system's generator and is stored nowhere: who reads
-- this table can show none of them. A digest that is slow to compute would add nothing, since no one
-- can try that many.
CREATE TABLE access_tokens (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('agent', 'submit', 'read', 'admin')),
    -- The SHA-256 digest of the secret, in hexadecimal characters.
    digest TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    -- It counts no more from then on; never where it is null.
    expires_at BIGINT,
    -- Set once, by whoever revokes it. The row stays, so that its holder can be told.
    revoked_at BIGINT
);
CREATE UNIQUE INDEX access_tokens_by_name ON access_tokens (name) WHERE revoked_at IS NULL;

-- What a person did that changed something, or meant to.
--
-- begun     the call, before it does anything      the same call, when it is known what came of it
-- done      something changed                      nothing
-- nothing   nothing changed                        nothing
--
-- Where it stays begun the coordinator was ended amid it, or could not note more; it may have been done.
CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    -- The name of an access token, or `local` of a caller who needed none.
    by_whom TEXT NOT NULL,
    action TEXT NOT NULL,
    -- The number of a search, the digest of a blob, the name of an access token.
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('begun', 'done', 'nothing'))
);
CREATE INDEX audit_in_time ON audit (at);
