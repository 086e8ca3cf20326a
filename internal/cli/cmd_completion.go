package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
)

func newCompletionCmd(a *App) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	cmd := &cobra.Command{
		Use:     "completion bash|zsh|fish",
		Short:   "Print the completion script for a shell",
		Example: "  source <(stella completion bash)\n  stella completion fish > ~/.config/fish/completions/stella.fish",
		Args:    exactly(1, "one of "+strings.Join(shells, ", ")),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), a.out().W
			a.printed = true
			switch args[0] {
			case "bash":
				return printError(root.GenBashCompletionV2(out, true))
			case "zsh":
				return printError(root.GenZshCompletion(out))
			case "fish":
				return printError(root.GenFishCompletion(out, true))
			}
			return usage(cmd, "unknown shell %q: want one of %s", args[0], strings.Join(shells, ", "))
		},
	}
	cmd.ValidArgs = shells
	return exits(cmd, exitsOfReading())
}

// completeEnvironments completes ENV with the directories of envs/ in the clone
// that the working directory is in: no network, no lock, no cache.
func (a *App) completeEnvironments(cmd *cobra.Command) {
	complete := func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		names := slices.DeleteFunc(a.nearbyEnvironments(), func(name string) bool {
			return !strings.HasPrefix(name, prefix) || slices.Contains(args, name)
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.ValidArgsFunction = complete
	// It fails only for a flag that there is not, which the tests would show.
	_ = cmd.RegisterFlagCompletionFunc("env", complete)
}

func (a *App) nearbyEnvironments() []string {
	dir, err := a.process.Getwd()
	if err != nil {
		return nil
	}
	_, top, err := findClone(dir)
	if err != nil {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(top, "envs", "*", "environment.yaml"))
	if err != nil {
		return nil
	}
	var names []string
	for _, file := range found {
		name := filepath.Base(filepath.Dir(file))
		if _, err := stella.ParseName(name); err == nil && isFile(file) {
			names = append(names, name)
		}
	}
	return names
}

func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}
