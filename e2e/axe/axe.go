// Package axe checks the accessibility of a page in a running Chromium with
// axe-core.
//
// It refuses to skip: without npm, which fetches axe-core once, the test fails.
//
// Threat: the version and its hash are pinned in package-lock.json; see package npm.
// axe is evaluated over the DevTools protocol, which is not subject to the page's
// Content-Security-Policy, so the pages need no exception for it.
package axe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/e2e/npm"
)

// Violation is one rule that the page breaks, and where.
type Violation struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML           string `json:"html"`
		FailureSummary string `json:"failureSummary"`
	} `json:"nodes"`
}

// String is the rule and every place, for the log of a test.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.ID, v.Help)
	for _, n := range v.Nodes {
		fmt.Fprintf(&b, "\n  %s\n    %s", n.HTML, strings.ReplaceAll(n.FailureSummary, "\n", "\n    "))
	}
	return b.String()
}

// Source returns axe-core, installing it when the pinned version is not there.
func Source(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(browser.Root(t), "e2e", "axe")
	if err := npm.Install(folder); err != nil {
		t.Fatalf("installing axe-core: %v", err)
	}
	source, err := os.ReadFile(filepath.Join(folder, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("reading axe-core: %v", err)
	}
	return string(source)
}

// Check runs every rule on the page that ctx shows: WCAG and best practices.
func Check(t testing.TB, ctx context.Context, source string) []Violation {
	t.Helper()
	if err := inject(ctx, source); err != nil {
		t.Fatalf("injecting axe-core: %v", err)
	}
	result, err := chromedp.Run(ctx, chromedp.Evaluate[string](
		`axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations))`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("running axe-core: %v", err)
	}
	var violations []Violation
	if err := json.Unmarshal([]byte(result), &violations); err != nil {
		t.Fatalf("reading the result of axe-core: %v", err)
	}
	return violations
}

// inject gives axe-core to the page, unless it has it from an earlier check.
func inject(ctx context.Context, source string) error {
	there, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`typeof axe === "object"`))
	if err != nil || there {
		return err
	}
	return chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](source))
}
