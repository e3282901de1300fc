package account

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/countersign/countersign/server/clients"
	"github.com/countersign/countersign/server/device"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/session"
	"github.com/countersign/countersign/server/web"
	"github.com/countersign/countersign/storage"
)

// How much is shown: browsers all at once, apps a page at a time.
const (
	maxBrowsers = 50
	maxApps     = 50
	// maxReads bounds how often a page is read on for apps, past those that were
	// not used for too long.
	maxReads = 5
)

// browsers shows the person's sessions. Two tabs that signed in at once have made
// two of one name: they are one browser, and end together.
func (a *Account) browsers(ctx context.Context, current *session.Current, page *web.Account) error {
	found, err := a.cfg.Store.SessionsOf(ctx, storage.Holding{
		ConnectorID: current.Session.ConnectorID, UserID: current.Session.UserID, Now: a.cfg.Now(),
		UsedAfter: a.cfg.Browsers.UsedAfter(), Limit: maxBrowsers + 1,
	})
	if err != nil {
		return fmt.Errorf("reading a person's sessions: %w", err)
	}
	if len(found) > maxBrowsers {
		found, page.MoreBrowsers = found[:maxBrowsers], true
	}
	page.Browsers = []web.Browser{browser(current.Session, true)}
	seen := map[string]bool{current.Session.SID: true}
	for _, s := range found {
		if !seen[s.SID] {
			page.Browsers = append(page.Browsers, browser(s, false))
			seen[s.SID] = true
		}
	}
	return nil
}

func browser(s storage.Session, current bool) web.Browser {
	return web.Browser{
		ID: s.SID, Current: current, Used: s.LastUsedAt,
		Since: web.Where{Device: device.Of(s.UserAgent), Address: s.IPAddress, At: s.AuthTime},
	}
}

// apps shows the person's grants that keep an app signed in, from before one on.
func (a *Account) apps(ctx context.Context, current *session.Current, before storage.GrantID, page *web.Account) error {
	if before != (storage.GrantID{}) {
		page.NewestURL = a.cfg.Path
	}
	of := storage.Holding{
		ConnectorID: current.Session.ConnectorID, UserID: current.Session.UserID, Now: a.cfg.Now(),
		Scope: oauth.ScopeOfflineAccess, Before: before, Limit: maxApps,
	}
	for range maxReads {
		found, err := a.cfg.Store.GrantsOf(ctx, of)
		if err != nil {
			return fmt.Errorf("reading a person's grants: %w", err)
		}
		for _, g := range found {
			app, ok, err := a.app(ctx, g, of.Now)
			if err != nil {
				return err
			}
			if ok && len(page.Apps) == maxApps {
				page.OlderURL = a.older(of.Before)
				return nil
			}
			if of.Before = g.ID; ok {
				page.Apps = append(page.Apps, app)
			}
		}
		if len(found) < of.Limit {
			return nil
		}
	}
	page.OlderURL = a.older(of.Before)
	return nil
}

// app is a grant on the page; not ok: it keeps no app signed in. A client that is not
// there any more is shown by its id: it might come back.
func (a *Account) app(ctx context.Context, g storage.Grant, now time.Time) (app web.App, ok bool, err error) {
	client, err := clients.Lookup(ctx, a.cfg.Clients, g.ClientID)
	if err != nil {
		return app, false, err
	}
	if client == nil {
		client = &storage.Client{ID: g.ClientID}
	}
	if !oauth.KeepsSignedIn(g, *client, a.cfg.Policy, now) {
		return app, false, nil
	}
	return web.App{
		ID: g.ID.String(), Name: cmp.Or(client.Name, client.ID),
		Since: web.Where{Device: device.Of(g.UserAgent), Address: g.IPAddress, At: g.CreatedAt},
		Used:  web.Where{Address: g.RefreshedIPAddress, At: g.RefreshedAt},
	}, true, nil
}

func (a *Account) older(than storage.GrantID) string {
	return a.cfg.Path + "?" + url.Values{"before": {than.String()}}.Encode()
}
