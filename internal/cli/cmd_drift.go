package cli

import "github.com/spf13/cobra"

// newDriftCmd groups what is done about drift. Each command is added where it
// is built: detect, history, ignore, adopt.
func newDriftCmd(a *App) *cobra.Command {
	return group("drift", "Drift, what runs and is not what was deployed: detect, history, ignore, adopt",
		newDriftDetectCmd(a), newDriftHistoryCmd(a), newDriftIgnoreCmd(a), newDriftAdoptCmd(a))
}
