package cli

import (
	"context"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/internal/quickstart"
	"github.com/stella-ops/stella/reconciler"
)

type quickstartOptions struct {
	app  *App
	dir  string
	port int
	exit bool
}

func newQuickstartCmd(a *App) *cobra.Command {
	o := &quickstartOptions{app: a}
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "See it work on this machine: a good release, a bad one, the automatic rollback",
		Long: "Make a config repository, a registry and an environment of two targets in a directory, deploy a good\n" +
			"release and then a bad one, show the automatic rollback, and leave the daemon running. Run again, it goes on\n" +
			"where it was. The config repository is DIR/config.git.",
		Example: "  stella quickstart\n  stella quickstart --dir /tmp/stella --exit",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", ".quickstart", "`directory` for all of it")
	f.IntVar(&o.port, "port", 0, "the first of four `ports` in a row (default: free ones)")
	f.BoolVar(&o.exit, "exit", false, "stop everything after the story")
	return exits(cmd, exitsOfReading())
}

func (o *quickstartOptions) run(cmd *cobra.Command) error {
	const lastPort, ports = 65535, 4
	if o.port < 0 || o.port > lastPort-ports+1 {
		return usage(cmd, "--port %d: want 0 to %d", o.port, lastPort-ports+1)
	}
	executable, err := o.app.process.Executable()
	if err != nil {
		return err
	}
	return quickstart.Run(cmd.Context(), quickstart.Config{
		Dir: o.dir, Port: o.port, Exit: o.exit, Executable: executable, Version: o.app.version(),
		FindGit: func() error { _, err := exec.LookPath("git"); return err },
		Getenv:  o.app.process.Getenv, Out: o.app.out().W, Logger: o.app.logger(), Open: o.open,
	})
}

// open wires an engine as the story asks for it.
func (o *quickstartOptions) open(ctx context.Context, q quickstart.Opening) (*reconciler.Engine, func() error, error) {
	w, err := o.app.wire(ctx, wiring{repo: q.Repo, story: true, state: q.State, roots: []string{q.Roots}, log: o.app.logger(), notify: q.Notify})
	if err != nil {
		return nil, nil, err
	}
	return w.engine, w.close, nil
}
