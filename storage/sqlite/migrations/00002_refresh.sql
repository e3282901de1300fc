-- +goose Up
-- NULL in refreshed_at: not since the code's redemption; that is how processes
-- of the previous version leave it, too.
ALTER TABLE grants ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN refreshed_at INTEGER;
ALTER TABLE grants ADD COLUMN refreshed_user_agent TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN refreshed_ip_address TEXT NOT NULL DEFAULT '';

CREATE INDEX grants_of_person ON grants (connector_id, user_id);
