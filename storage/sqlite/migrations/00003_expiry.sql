-- +goose Up
-- For garbage collection, which finds what expired first.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX grants_by_expiry ON grants (expires_at);
CREATE INDEX consents_by_expiry ON consents (expires_at);
CREATE INDEX login_failures_by_expiry ON login_failures (expires_at);
CREATE INDEX identities_by_expiry ON identities (expires_at);
