package pgcluster_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// child makes the test binary start a cluster and wait to be killed.
const child = "COUNTERSIGN_TEST_CLUSTER_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	cluster, err := pgcluster.Start(pgcluster.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(cluster.Folder())
	select {}
}

func TestClusterIsGoneAfterClose(t *testing.T) {
	cluster, err := pgcluster.Start(pgcluster.Options{Fsync: true, Settings: map[string]string{"max_connections": "20"}})
	if err != nil {
		t.Fatal(err)
	}
	pgcluster.Exec(t, cluster.DSN(), "CREATE TABLE kept (id int)")
	if err := cluster.Restart(pgcluster.Immediate); err != nil {
		t.Fatal(err)
	}
	pgcluster.Exec(t, cluster.DSN(), "SELECT id FROM kept")
	if err := cluster.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cluster.Folder()); !os.IsNotExist(err) {
		t.Errorf("folder after Close: %v", err)
	}
}

// A test run that is killed leaves nothing behind.
func TestClusterIsGoneAfterKill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	folder, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child started no cluster: %v", err)
	}
	folder = strings.TrimSpace(folder)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as asked
	deadline := time.After(time.Minute)
	for {
		if _, err := os.Stat(folder); os.IsNotExist(err) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			entries, _ := fs.Glob(os.DirFS(folder), "*")
			t.Fatalf("%s is still there: %v", folder, entries)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
