package web_test

import (
	"testing"

	"github.com/countersign/countersign/server/web"
)

func newSite(t *testing.T, config web.Config) *web.Site {
	t.Helper()
	site, err := web.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return site
}
