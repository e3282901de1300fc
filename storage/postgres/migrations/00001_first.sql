-- +goose Up
-- Rows are found by primary key alone. The zero time is that of year 1.

CREATE TABLE identities (
    connector_id       text NOT NULL,
    user_id            text NOT NULL,
    name               text NOT NULL,
    preferred_username text NOT NULL,
    email              text NOT NULL,
    email_verified     boolean NOT NULL,
    groups             text[] NOT NULL,
    checked_at         timestamptz NOT NULL,
    expires_at         timestamptz NOT NULL,
    PRIMARY KEY (connector_id, user_id)
) WITH (fillfactor = 80);

CREATE TABLE sessions (
    id_hash          bytea PRIMARY KEY,
    sid              text NOT NULL,
    connector_id     text NOT NULL,
    user_id          text NOT NULL,
    auth_time        timestamptz NOT NULL,
    amr              text[] NOT NULL,
    login_client_ids text[] NOT NULL,
    remember         boolean NOT NULL,
    user_agent       text NOT NULL,
    ip_address       text NOT NULL,
    created_at       timestamptz NOT NULL,
    last_used_at     timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL
) WITH (fillfactor = 80);

-- Updates touch no indexed column, and a page keeps room for them: they stay on
-- their page and write no index (heap-only tuples).
CREATE TABLE grants (
    id                    uuid PRIMARY KEY,
    client_id             text NOT NULL,
    connector_id          text NOT NULL,
    user_id               text NOT NULL,
    sid                   text NOT NULL,
    scopes                text[] NOT NULL,
    redirect_uri          text NOT NULL,
    nonce                 text NOT NULL,
    code_challenge        text NOT NULL,
    code_challenge_method text NOT NULL,
    auth_time             timestamptz NOT NULL,
    acr                   text NOT NULL,
    amr                   text[] NOT NULL,
    created_at            timestamptz NOT NULL,
    code_expires_at       timestamptz NOT NULL,
    code_redeemed_at      timestamptz, -- NULL: not yet
    revoked_at            timestamptz, -- NULL: not revoked
    revoked_reason        text NOT NULL,
    expires_at            timestamptz NOT NULL,
    user_agent            text NOT NULL,
    ip_address            text NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE consents (
    connector_id text NOT NULL,
    user_id      text NOT NULL,
    client_id    text NOT NULL,
    scopes       text[] NOT NULL,
    granted_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (connector_id, user_id, client_id)
) WITH (fillfactor = 80);

CREATE TABLE login_failures (
    key        bytea PRIMARY KEY, -- SHA-256 of what a stranger typed
    count      bigint NOT NULL,
    last_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE signing_keys (
    kid            text PRIMARY KEY,
    algorithm      text NOT NULL,
    sequence       bigint NOT NULL,
    public         bytea NOT NULL,
    sealed_private bytea NOT NULL,
    created_at     timestamptz NOT NULL,
    active_from    timestamptz NOT NULL,
    UNIQUE (algorithm, sequence)
);

CREATE TABLE leases (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE master_secret (
    id         integer PRIMARY KEY CHECK (id = 1), -- there is one
    secret     bytea NOT NULL,
    created_at timestamptz NOT NULL
);
