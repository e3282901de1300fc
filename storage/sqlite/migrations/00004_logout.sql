-- +goose Up
CREATE INDEX grants_of_session ON grants (sid);

-- Processes of the previous version name no clients.
ALTER TABLE sessions ADD COLUMN client_ids TEXT NOT NULL DEFAULT '[]';

CREATE TABLE logout_deliveries (
    sid             TEXT NOT NULL,
    client_id       TEXT NOT NULL,
    connector_id    TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    ended_at        INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (sid, client_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX logout_deliveries_due ON logout_deliveries (next_attempt_at);
CREATE INDEX logout_deliveries_by_expiry ON logout_deliveries (expires_at);
