package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

func TestExitCodes(t *testing.T) {
	for script, expected := range map[string]int{
		"exit 0": 0, "exit 7": 7, "kill -TERM $$": 128 + 15,
		"echo $" + pgcluster.Variable + " | grep -q ^postgres": 0,
	} {
		t.Setenv(pgcluster.Variable, "postgres://given")
		code, err := command([]string{"sh", "-c", script}, nil)
		if err != nil || code != expected {
			t.Errorf("%s: %d, %v", script, code, err)
		}
	}
	if _, err := command([]string{"/does/not/exist"}, nil); err == nil {
		t.Error("a command that is not there ran")
	}
	if _, err := run([]string{"--"}); err == nil {
		t.Error("no command ran")
	}
}

func TestSignalsAreForwarded(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	code, err := command([]string{"sleep", "600"}, signals)
	if err != nil || code != 128+2 {
		t.Errorf("%d, %v", code, err)
	}
}

func TestAdviceNamesEveryPackage(t *testing.T) {
	text := advice(needs)
	for _, n := range needs {
		if !strings.Contains(text, n.what) || !strings.Contains(text, strings.Join(n.packages, " ")) {
			t.Errorf("%q is not in:\n%s", n.what, text)
		}
	}
}

func TestServicesAreForbiddenForAWhile(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy-rc.d")
	allow, err := forbidServices(policy)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := exitCode(exec.Command(policy).Run()); code != 101 {
		t.Errorf("policy says %d, %v", code, err)
	}
	kept, err := forbidServices(policy) // there already, not ours
	if err != nil {
		t.Fatal(err)
	}
	if err := kept(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(policy); err != nil {
		t.Errorf("somebody else's policy is gone: %v", err)
	}
	if err := allow(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(policy); !os.IsNotExist(err) {
		t.Errorf("our policy is still there: %v", err)
	}
}
