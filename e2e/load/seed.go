package main

import (
	"context"
	"fmt"
	"time"
)

// clientIDs are the clients of the configuration; grants are theirs in turn.
var clientIDs = [2]string{"rs256", "es256"}

// grantsEach is how many grants of each client are refreshed, in tables of any
// size: a table grows with the devices that people own, not with those in use.
const grantsEach = 5000

// seeded grants: $1 is the number of the first, $2 of the last, $3 when they
// were made, $4 when they expire, $5 how much later each expires than the one
// before. Five belong to one person.
const seedGrants = `
	INSERT INTO grants (id, client_id, connector_id, user_id, sid, scopes, redirect_uri, nonce, code_challenge,
		code_challenge_method, auth_time, acr, amr, created_at, code_expires_at, code_redeemed_at, revoked_reason,
		expires_at, user_agent, ip_address, generation, refreshed_at)
	SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
		CASE i % 2 WHEN 0 THEN 'rs256' ELSE 'es256' END, 'staff', 'person-' || i / 5 % $6, md5(i::text),
		'{openid,offline_access,email,profile,groups}', 'http://127.0.0.1:9/callback', md5('nonce' || i), '', '',
		$3, '', '{pwd}', $3, $3, $3, '',
		$4::timestamptz + (i - $1) * $5::interval, 'kubectl/v1.34.1 (linux/amd64) kubernetes/93248f9', '192.0.2.1', 0, $3
	FROM generate_series($1::bigint, $2::bigint) i`

const seedPeople = `
	INSERT INTO identities (connector_id, user_id, name, preferred_username, email, email_verified, groups, checked_at, expires_at)
	SELECT 'staff', 'person-' || i, 'Person Number ' || i, 'person' || i, 'person-' || i || '@example.com', true,
		'{developers,platform,on-call}', $2, $3
	FROM generate_series(0, $1::bigint - 1) i`

// firstExpired is the number of the first grant that garbage collection is for.
const firstExpired = 1 << 40

// seed puts rows grants into an empty table whose schema the program has made.
// Indexes are built afterwards, in a fraction of the time.
func (d *database) seed(ctx context.Context, rows int) (took time.Duration, err error) {
	began := time.Now()
	rebuild, err := d.dropIndexes(ctx)
	if err != nil {
		return 0, err
	}
	now := began.UTC()
	until := now.Add(30 * 24 * time.Hour)
	if _, err := d.conn.Exec(ctx, seedPeople, rows/5, now, until); err != nil {
		return 0, fmt.Errorf("seeding people: %w", err)
	}
	if _, err := d.conn.Exec(ctx, seedGrants, 0, rows-1, now, until, time.Duration(0), rows/5); err != nil {
		return 0, fmt.Errorf("seeding grants: %w", err)
	}
	for _, statement := range rebuild {
		if _, err := d.conn.Exec(ctx, statement); err != nil {
			return 0, fmt.Errorf("%s: %w", statement, err)
		}
	}
	return time.Since(began), d.settle(ctx)
}

// dropIndexes drops those that are not a primary key, and returns what makes
// them again.
func (d *database) dropIndexes(ctx context.Context) (rebuild []string, err error) {
	rows, err := d.conn.Query(ctx, `
		SELECT x.indexrelid::regclass::text, pg_get_indexdef(x.indexrelid) FROM pg_index x
		WHERE x.indrelid IN ('grants'::regclass, 'identities'::regclass) AND NOT x.indisprimary`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name, definition string
		if err := rows.Scan(&name, &definition); err != nil {
			return nil, err
		}
		names, rebuild = append(names, name), append(rebuild, definition)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := d.conn.Exec(ctx, "DROP INDEX "+name); err != nil {
			return nil, fmt.Errorf("dropping %s: %w", name, err)
		}
	}
	return rebuild, nil
}

// seedExpired adds grants that expired an hour ago and before, of people who are
// there.
func (d *database) seedExpired(ctx context.Context, rows, people int) error {
	long := time.Now().UTC().Add(-2 * time.Hour)
	_, err := d.conn.Exec(ctx, seedGrants, firstExpired, firstExpired+rows-1, long.Add(-time.Hour), long,
		time.Hour/time.Duration(max(rows, 1)), people)
	return err
}

// chains are the grants of a client, by its place among clientIDs, that are
// refreshed: evenly spread over all the rows.
func chains(client, rows int) []chain {
	step := rows / grantsEach &^ 1 // even, so that all are this client's
	all := make([]chain, grantsEach)
	for i := range all {
		all[i].id = grantID(i*step + client)
	}
	return all
}
