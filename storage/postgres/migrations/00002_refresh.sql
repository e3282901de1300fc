-- +goose Up
-- The index comes first: while it is built, grants can still be read. Rotation
-- never changes what it holds, so rotating updates write no index.
CREATE INDEX grants_of_person ON grants (connector_id, user_id);

-- What a rotation changes lies together at the row's end: the log holds only
-- that. NULL in refreshed_at: not since the code's redemption; that is how
-- replicas of the previous version leave it, too.
ALTER TABLE grants
    ADD COLUMN generation           bigint NOT NULL DEFAULT 0,
    ADD COLUMN refreshed_at         timestamptz,
    ADD COLUMN refreshed_user_agent text NOT NULL DEFAULT '',
    ADD COLUMN refreshed_ip_address text NOT NULL DEFAULT '';
