-- +goose Up
-- The index comes first: while it is built, grants can still be read. Rotation
-- never changes what it holds, so rotating updates write no index.
CREATE INDEX grants_of_session ON grants (sid);

-- Replicas of the previous version name no clients.
ALTER TABLE sessions ADD COLUMN client_ids text[] NOT NULL DEFAULT '{}';

CREATE TABLE logout_deliveries (
    sid             text NOT NULL,
    client_id       text NOT NULL,
    connector_id    text NOT NULL,
    user_id         text NOT NULL,
    ended_at        timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    attempts        bigint NOT NULL,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (sid, client_id)
);
CREATE INDEX logout_deliveries_due ON logout_deliveries (next_attempt_at);
CREATE INDEX logout_deliveries_by_expiry ON logout_deliveries (expires_at);
