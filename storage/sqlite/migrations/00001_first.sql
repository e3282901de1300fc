-- +goose Up
-- Times are unix microseconds; the zero time is that of year 1. Lists are JSON.

CREATE TABLE identities (
    connector_id       TEXT NOT NULL,
    user_id            TEXT NOT NULL,
    name               TEXT NOT NULL,
    preferred_username TEXT NOT NULL,
    email              TEXT NOT NULL,
    email_verified     INTEGER NOT NULL,
    groups             TEXT NOT NULL,
    checked_at         INTEGER NOT NULL,
    expires_at         INTEGER NOT NULL,
    PRIMARY KEY (connector_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id_hash          BLOB PRIMARY KEY,
    sid              TEXT NOT NULL,
    connector_id     TEXT NOT NULL,
    user_id          TEXT NOT NULL,
    auth_time        INTEGER NOT NULL,
    amr              TEXT NOT NULL,
    login_client_ids TEXT NOT NULL,
    remember         INTEGER NOT NULL,
    user_agent       TEXT NOT NULL,
    ip_address       TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    last_used_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    id                    BLOB PRIMARY KEY,
    client_id             TEXT NOT NULL,
    connector_id          TEXT NOT NULL,
    user_id               TEXT NOT NULL,
    sid                   TEXT NOT NULL,
    scopes                TEXT NOT NULL,
    redirect_uri          TEXT NOT NULL,
    nonce                 TEXT NOT NULL,
    code_challenge        TEXT NOT NULL,
    code_challenge_method TEXT NOT NULL,
    auth_time             INTEGER NOT NULL,
    acr                   TEXT NOT NULL,
    amr                   TEXT NOT NULL,
    created_at            INTEGER NOT NULL,
    code_expires_at       INTEGER NOT NULL,
    code_redeemed_at      INTEGER, -- NULL: not yet
    revoked_at            INTEGER, -- NULL: not revoked
    revoked_reason        TEXT NOT NULL,
    expires_at            INTEGER NOT NULL,
    user_agent            TEXT NOT NULL,
    ip_address            TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE consents (
    connector_id TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    client_id    TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    granted_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    PRIMARY KEY (connector_id, user_id, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE login_failures (
    key        BLOB PRIMARY KEY, -- SHA-256 of what a stranger typed
    count      INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    kid            TEXT PRIMARY KEY,
    algorithm      TEXT NOT NULL,
    sequence       INTEGER NOT NULL,
    public         BLOB NOT NULL,
    sealed_private BLOB NOT NULL,
    created_at     INTEGER NOT NULL,
    active_from    INTEGER NOT NULL,
    UNIQUE (algorithm, sequence)
) STRICT;

CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE master_secret (
    id         INTEGER PRIMARY KEY CHECK (id = 1), -- there is one
    secret     BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
