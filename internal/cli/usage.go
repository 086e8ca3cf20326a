package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
)

// usageError says that a command line can not be understood.
type usageError struct {
	command string // "stella deploy"
	what    string
}

func (u *usageError) Error() string { return u.what }

// Is reports that a usage error is of class ErrInvalid.
func (u *usageError) Is(target error) bool { return target == stella.ErrInvalid }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{command: cmd.CommandPath(), what: fmt.Sprintf(format, args...)}
}

// flagError is cobra's complaint about a flag, as a usage error.
func flagError(cmd *cobra.Command, err error) error {
	return &usageError{command: cmd.CommandPath(), what: err.Error()}
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "%s takes no argument, got %q", cmd.Name(), args[0])
	}
	return nil
}

// atMostOne refuses a second argument.
func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(cmd, "%s takes one argument, got %q too", cmd.Name(), args[1])
	}
	return nil
}

// exactlyOne wants one argument and says what it is.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage(cmd, "%s needs %s", cmd.Name(), what)
		case len(args) > 1:
			return usage(cmd, "%s takes %s, got %q too", cmd.Name(), what, args[1])
		}
		return nil
	}
}

// subcommands is for a command that only groups others: anything else is an
// unknown command.
func subcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	what := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		what += fmt.Sprintf("; did you mean %q?", near[0])
	} else if deeper := below(cmd, args[0]); deeper != "" {
		what += fmt.Sprintf("; did you mean %q?", deeper)
	}
	return &usageError{command: cmd.CommandPath(), what: what}
}

// below finds a command of the name further down: "env" for "orch env".
func below(cmd *cobra.Command, name string) string {
	for _, c := range cmd.Commands() {
		if c.Name() == name {
			return c.CommandPath()
		}
		if deeper := below(c, name); deeper != "" {
			return deeper
		}
	}
	return ""
}

// group returns a command that only groups others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: subcommands, RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(children...)
	return cmd
}

// environmentFlag lets an environment be given with --env as well as by
// position.
type environmentFlag struct{ name string }

func (e *environmentFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.name, "env", "", "the `environment`, instead of the argument")
}

// errNoEnvironment is what a command that needs an environment and got none
// says; see need.
var errNoEnvironment = errors.New("needs the name of an environment")

// take returns the environment of a command line, "" where none was given.
func (e *environmentFlag) take(a *App, cmd *cobra.Command, args []string) (stella.EnvName, error) {
	name := e.name
	if len(args) > 0 {
		if name != "" && name != args[0] {
			return "", usage(cmd, "%s got two environments, %q and --env %q", cmd.Name(), args[0], name)
		}
		name = args[0]
	}
	if name == "" {
		return "", nil
	}
	if _, err := stella.ParseName(name); err != nil {
		return "", err
	}
	a.environment = stella.EnvName(name)
	return a.environment, nil
}

// need is take for a command that can not do without.
func (e *environmentFlag) need(a *App, cmd *cobra.Command, args []string) (stella.EnvName, error) {
	env, err := e.take(a, cmd, args)
	if err == nil && env == "" {
		return "", usage(cmd, "%s %v", cmd.Name(), errNoEnvironment)
	}
	return env, err
}
