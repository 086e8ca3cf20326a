package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
)

// resourceArgs are the arguments of a command about one resource of an
// environment, and a place in it: [ENV] RESOURCE [PATH].
type resourceArgs struct{ environmentFlag }

// check counts the arguments.
func (r *resourceArgs) check(cmd *cobra.Command, args []string) error {
	most := 3
	if r.name != "" {
		args, most = append([]string{r.name}, args...), 4
	}
	switch {
	case len(args) == 0:
		return usage(cmd, "%s %v and a resource of it", cmd.Name(), errNoEnvironment)
	case len(args) == 1:
		return usage(cmd, "%s needs a resource of %q, such as 'api' or 'service/api'", cmd.Name(), args[0])
	case len(args) > most:
		return usage(cmd, "%s takes an environment, a resource and a path, got %q too", cmd.Name(), args[most])
	}
	return nil
}

// take returns what the arguments name; the path is empty where there is none.
func (r *resourceArgs) take(a *App, cmd *cobra.Command, args []string) (env stella.EnvName, resource, path string, err error) {
	// With --env the environment may be among the arguments all the same.
	if given := r.name != "" && (len(args) == 1 || len(args) == 2 && strings.HasPrefix(args[1], "/")); !given {
		env, err = r.need(a, cmd, args[:1])
		args = args[1:]
	} else {
		env, err = r.need(a, cmd, nil)
	}
	if err != nil {
		return "", "", "", err
	}
	if len(args) > 2 {
		return "", "", "", usage(cmd, "%s takes an environment, a resource and a path, got %q too", cmd.Name(), args[2])
	}
	if len(args) == 2 {
		path = args[1]
	}
	return env, args[0], path, nil
}
