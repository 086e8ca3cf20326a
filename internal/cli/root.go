package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups of the root command's help.
const (
	groupWork  = "work"
	groupBack  = "back"
	groupWatch = "watch"
	groupSetup = "setup"
)

func newRootCmd(a *App) *cobra.Command {
	root := group("stella", "Release from Git, and go back, on your own machines.")
	root.Example = "  stella quickstart\n  stella deploy production --artifact registry.example.com/shop/api:2.4.0\n  stella rollback production"
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	root.SetHelpFunc(a.help)
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.checkFlags(cmd) }
	addGlobalFlags(root, &a.flags)
	a.flags.output = outputOf(a.process.Args)
	root.AddGroup(
		&cobra.Group{ID: groupWork, Title: "Release:"},
		&cobra.Group{ID: groupBack, Title: "Go back:"},
		&cobra.Group{ID: groupWatch, Title: "Look and operate:"},
		&cobra.Group{ID: groupSetup, Title: "Set up:"},
	)
	addCommands(root, groupWork, newDeployCmd(a), newAdoptCmd(a), newPlanCmd(a), newReconcileCmd(a), newServeCmd(a), newWhyCmd(a))
	addCommands(root, groupBack, newRollbackCmd(a), newBaselineCmd(a))
	addCommands(root, groupWatch, newDriftCmd(a), newRegistryCmd(a), newOrchCmd(a))
	addCommands(root, groupSetup, newQuickstartCmd(a), newInitCmd(a), newValidateCmd(a), newSchemaCmd(a), newVersionCmd(a), newCompletionCmd(a))
	return root
}

func addCommands(root *cobra.Command, groupID string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = groupID
		root.AddCommand(c)
	}
}

func addGlobalFlags(root *cobra.Command, f *globalFlags) {
	p := root.PersistentFlags()
	p.StringVar(&f.repo, "repo", "", "`URL or path` of the config repository (STELLA_REPO; default: of the clone you are in)")
	p.StringVarP(&f.output, "output", "o", "", "`format`: "+strings.Join(formats(), "|"))
	p.StringSliceVar(&f.hostRoots, "host-root", nil, "`directory` that host targets may lie below (STELLA_HOST_ROOTS; default: your home, /srv and /opt)")
	p.BoolVar(&f.noColor, "no-color", false, "no colour (NO_COLOR)")
	p.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on stderr; errors only")
	p.BoolVar(&f.debug, "debug", false, "log on stderr what the engine does")
}

func (a *App) checkFlags(cmd *cobra.Command) error {
	if o := a.flags.output; o != "" && !slices.Contains(formats(), o) {
		return usage(cmd, "--output %q: want one of %s", o, strings.Join(formats(), ", "))
	}
	return noneEmpty(cmd)
}

// noneEmpty refuses an option that was given without a value: --to "$VERSION"
// with VERSION unset must not mean the default. Only --listen has a meaning for
// nothing.
func noneEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" && f.Name != "listen" && err == nil {
			err = usage(cmd, "--%s is empty", f.Name)
		}
	})
	return err
}

// outputOf finds the output format in a command line that may not parse: an
// error in it is a document too where one was asked for.
func outputOf(args []string) string {
	for i, arg := range args {
		for _, name := range []string{"-o", "--output"} {
			if v, ok := strings.CutPrefix(arg, name+"="); ok && slices.Contains(formats(), v) {
				return v
			}
			if arg == name && i+1 < len(args) && slices.Contains(formats(), args[i+1]) {
				return args[i+1]
			}
		}
		if v, ok := strings.CutPrefix(arg, "-o"); ok && slices.Contains(formats(), v) {
			return v
		}
	}
	return ""
}
