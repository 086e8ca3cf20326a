package cli

import "github.com/spf13/cobra"

// newDriftCmd groups what is done about drift. Each command is added where it
// is built: detect, history, ignore, adopt.
func newDriftCmd(*App) *cobra.Command {
	cmd := group("drift", "Drift, what runs and is not what was deployed: detect, history, ignore, adopt")
	cmd.Example = "  stella drift detect --all\n  stella drift ignore production api /environment/LOG_LEVEL --reason 'raised during incidents'"
	return cmd
}
