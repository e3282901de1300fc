package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "countersign"}
	root.AddCommand(serveCommand())
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

type bi struct{ Version, Revision string }

func build() bi { return bi{} }
