-- +goose Up
-- Replicas of the previous version keep nothing of an upstream's session.
ALTER TABLE sessions ADD COLUMN upstream_sealed bytea;
