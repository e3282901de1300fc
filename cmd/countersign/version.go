package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker: -X main.version=v1.2.3.
var version string

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionText(version, info))
			return err
		},
	}
}

// versionText joins what the linker and the build know.
func versionText(version string, info *debug.BuildInfo) string {
	version, commit := identify(version, info)
	if commit != "" {
		commit = " " + commit
	}
	return fmt.Sprintf("countersign %s%s %s %s/%s", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// identify returns the version, and the commit if it is known.
func identify(linked string, info *debug.BuildInfo) (version, commit string) {
	version = linked
	if info != nil {
		if version == "" {
			version = info.Main.Version
		}
		commit = commitOf(info)
	}
	if version == "" {
		version = "(devel)"
	}
	return version, commit
}

// commitOf is the commit that was built, marked when files differed from it.
func commitOf(info *debug.BuildInfo) string {
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return ""
	}
	return revision[:min(12, len(revision))] + modified
}
