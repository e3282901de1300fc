package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/countersign/countersign/cmd/countersign/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Work with configuration files"}
	group(cmd, &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a configuration file is right, without starting",
		Long: `Read a configuration file, and every file and variable that it names, as "serve"
does, and say what is wrong with it: all problems at once, a line each, as
FILE:LINE: KEY: what is wrong and what to do.

Nothing is started, and no database is opened. Warnings are what works, but
perhaps not as meant; with warnings only, the exit code is 0.`,
		Example: "  countersign config check /etc/countersign/config.yaml",
		Args:    usage(cobra.ExactArgs(1)),
		RunE:    checkConfig,
	})
	return cmd
}

func checkConfig(cmd *cobra.Command, args []string) error {
	cfg, err := config.Load(args[0], os.LookupEnv)
	if err != nil {
		return err
	}
	p, err := compose(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	p.store.Close()
	for _, w := range cfg.Warnings {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: warning: %s\n", args[0], w)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
	return nil
}

// explain is how an error is shown: problems of a configuration name their file
// themselves.
func explain(err error) string {
	var bad *config.Error
	if errors.As(err, &bad) {
		return bad.Error()
	}
	return "countersign: " + err.Error()
}
