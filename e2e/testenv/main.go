// Command testenv runs a command with everything the tests need:
//
//	go run ./e2e/testenv -- go test ./...
//
// It is the one place that knows what that is: it installs what is missing where
// it may, says exactly what to install where it may not, starts one throwaway
// PostgreSQL cluster for the whole run, and stops it afterwards. It refuses to
// skip anything.
//
// Threat: it runs as root in CI. It starts no system service, and what it starts
// ends with it, also when it is killed (see pgcluster).
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = 1
	}
	os.Exit(code)
}

// run returns the exit code of the command.
func run(args []string) (code int, err error) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 0, errors.New("usage: testenv -- COMMAND [ARGUMENT…]")
	}
	// From here on a signal is the command's to answer, so that we outlive it
	// and clean up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := provide(); err != nil {
		return 0, err
	}
	if os.Getenv(pgcluster.Variable) == "" {
		cluster, err := pgcluster.Start(pgcluster.Options{})
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, cluster.Close()) }()
		if err := os.Setenv(pgcluster.Variable, cluster.DSN()); err != nil {
			return 0, err
		}
	}
	return command(args, signals)
}

// command runs the command to its end.
func command(args []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended just now
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// exitCode is what a shell would say of how a command ended.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}
