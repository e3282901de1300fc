-- +goose Up
-- Processes of the previous version keep nothing of an upstream's own tokens.
ALTER TABLE identities ADD COLUMN upstream_sealed BLOB NOT NULL DEFAULT x'';
ALTER TABLE identities ADD COLUMN asked_until INTEGER NOT NULL DEFAULT -62135596800000000;

CREATE TABLE arrivals (
    id           BLOB PRIMARY KEY,
    connector_id TEXT NOT NULL,
    sealed       BLOB NOT NULL, -- empty: taken
    take_until   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX arrivals_by_expiry ON arrivals (expires_at);
