package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/internal/term"
)

// version is how the binary calls itself in records.
func (a *App) version() string {
	if a.process.Version == "" {
		return "dev"
	}
	return a.process.Version
}

func newVersionCmd(a *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Which stella this is",
		Example: "  stella version\n  stella version -o json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			return a.print(view{
				doc: struct {
					SchemaVersion int    `json:"schemaVersion"`
					Version       string `json:"version"`
					Commit        string `json:"commit"`
					Platform      string `json:"platform"`
				}{1, a.version(), a.process.Commit, platform},
				names: []string{a.version()},
				page: func(p *page) {
					p.line(term.Plain, "stella %s", a.version())
					p.fields(field{label: "commit", value: a.process.Commit}, field{label: "platform", value: platform})
				},
			})
		},
	}
	return exits(cmd, exitsOfReading())
}
