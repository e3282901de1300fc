-- +goose Up
-- For garbage collection, which finds what expired first. Rotation, the use of a
-- session and a recheck change no expiry: they write none of these.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX consents_by_expiry ON consents (expires_at);
CREATE INDEX login_failures_by_expiry ON login_failures (expires_at);
CREATE INDEX identities_by_expiry ON identities (expires_at);
-- The largest comes last: while it is built, grants can be read, not written.
CREATE INDEX grants_by_expiry ON grants (expires_at);
