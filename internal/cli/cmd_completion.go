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
		Args:    exactlyOne("one of " + strings.Join(shells, ", ")),
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

// completeImages completes IMAGE with what the releases of the environments name
// in the clone that the working directory is in.
func (a *App) completeImages(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var images []string
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, file := range a.nearby("app", "release.yaml") {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for word := range strings.FieldsSeq(string(content)) {
			image, err := stella.ParseArtifact(strings.Trim(word, `"'`))
			if name := image.String(); err == nil && strings.HasPrefix(name, prefix) && !slices.Contains(images, name) {
				images = append(images, name)
			}
		}
	}
	return images, cobra.ShellCompDirectiveNoFileComp
}

// nearby returns the files of this name of every environment of the clone that
// the working directory is in.
func (a *App) nearby(path ...string) []string {
	dir, err := a.process.Getwd()
	if err != nil {
		return nil
	}
	_, top, err := findClone(dir)
	if err != nil {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(append([]string{top, "envs", "*"}, path...)...))
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(found, func(file string) bool { return !isFile(file) })
}

func (a *App) nearbyEnvironments() []string {
	var names []string
	for _, file := range a.nearby("environment.yaml") {
		name := filepath.Base(filepath.Dir(file))
		if _, err := stella.ParseName(name); err == nil {
			names = append(names, name)
		}
	}
	return names
}

func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}
