-- +goose Up
-- Replicas of the previous version keep nothing of an upstream's own tokens.
ALTER TABLE identities
    ADD COLUMN upstream_sealed bytea NOT NULL DEFAULT '',
    ADD COLUMN asked_until timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00';

CREATE TABLE arrivals (
    id           bytea PRIMARY KEY,
    connector_id text NOT NULL,
    sealed       bytea NOT NULL, -- empty: taken
    take_until   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX arrivals_by_expiry ON arrivals (expires_at);
