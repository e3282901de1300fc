// Command countersign is an OpenID Connect provider that asks upstreams who
// people are, and the small tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, end := context.WithCancel(context.Background())
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; the next one is not ours any more,
	// and ends the process at once. That holds before anybody can see the end begin:
	// a context that gave the signals back afterwards could swallow the next.
	go func() {
		<-asked
		signal.Stop(asked)
		end()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// commands are all commands, in the order of the help.
func commands() []*cobra.Command {
	return []*cobra.Command{
		serveCommand(),
		configCommand(),
		loginCommand(),
		hashPasswordCommand(),
		versionCommand(),
	}
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "countersign: %v\nTry \"%s --help\".\n", err, cmd.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "countersign: interrupted")
	default:
		fmt.Fprintln(stderr, explain(err))
	}
	return exitFailure
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "countersign",
		Short: "A lightweight OpenID Connect identity broker",
		Long: `Countersign is an OpenID Connect provider without users of its own: it asks an
upstream who somebody is, and countersigns the answer as a short-lived id_token
that kube-apiserver and every other relying party can check.

Exit codes: 0 done, 1 failed, 2 wrong use.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	group(root, commands()...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// group makes a command of which only the subcommands do something.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("there is no command %q", args[0])
		for _, s := range cmd.SuggestionsFor(args[0]) {
			text += fmt.Sprintf("; did you mean %q?", s)
		}
		return &usageError{errors.New(text)}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(subcommands...)
}

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// usage makes the errors of an argument check usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}
