-- +goose Up
-- For revocation, and for people who look at what they have. The id stands last
-- so that a batch goes on where the one before it ended.
CREATE INDEX grants_of_person_by_id ON grants (connector_id, user_id, id);
DROP INDEX grants_of_person;
CREATE INDEX grants_of_session_by_id ON grants (sid, id);
DROP INDEX grants_of_session;
CREATE INDEX grants_of_client ON grants (client_id, id);

CREATE INDEX sessions_of_sid ON sessions (sid);
CREATE INDEX sessions_of_person ON sessions (connector_id, user_id, auth_time);
CREATE INDEX sessions_by_use ON sessions (last_used_at) WHERE NOT remember;
