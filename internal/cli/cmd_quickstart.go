package cli

import (
	"context"
	"errors"
	"os/exec"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	engines "github.com/stella-ops/stella/internal/engine"
	"github.com/stella-ops/stella/internal/quickstart"
	"github.com/stella-ops/stella/reconciler"
)

type quickstartOptions struct {
	app  *App
	dir  string
	port int
	exit bool

	docker, remove bool
	engine         string // that was named; empty for the reader's own
}

func newQuickstartCmd(a *App) *cobra.Command {
	o := &quickstartOptions{app: a}
	cmd := &cobra.Command{
		Use:   "quickstart [--docker [ENGINE]]",
		Short: "See it work on this machine: a good release, a bad one, the automatic rollback",
		Long: "Make a config repository, a registry and an environment of two targets in a directory, deploy a good\n" +
			"release and then a bad one, show the automatic rollback, and leave the daemon running. Run again, it goes on\n" +
			"where it was. The config repository is DIR/config.git.\n\n" +
			"The targets need no container engine. With --docker they are two projects on yours: ENGINE is a unix://,\n" +
			"ssh:// or tcp:// address or the name of a Docker context, by default what the docker command uses. All that is\n" +
			"made there is labelled; --exit removes it after the story, --remove removes it and does nothing else.",
		Example: "  stella quickstart\n  stella quickstart --dir /tmp/stella --exit\n  stella quickstart --docker\n  stella quickstart --docker ssh://me@web-1.example.com --exit",
		Args:    atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.engine = args[0]
			}
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "`directory` for all of it (default .quickstart, with --docker .quickstart-docker)")
	f.BoolVar(&o.docker, "docker", false, "tell it on a container engine")
	f.BoolVar(&o.remove, "remove", false, "with --docker: remove what an earlier start left on the engine")
	f.IntVar(&o.port, "port", 0, "the first of four `ports` in a row (default: free ones)")
	f.BoolVar(&o.exit, "exit", false, "stop everything after the story")
	return exits(cmd, exitsOfReading())
}

func (o *quickstartOptions) run(cmd *cobra.Command) (err error) {
	const lastPort, ports = 65535, 4
	if o.port < 0 || o.port > lastPort-ports+1 {
		return usage(cmd, "--port %d: want 0 to %d", o.port, lastPort-ports+1)
	}
	if !o.docker && (o.engine != "" || o.remove) {
		return usage(cmd, "an engine and --remove need --docker")
	}
	executable, err := o.app.process.Executable()
	if err != nil {
		return err
	}
	pool := engines.NewPool(engines.Config{Getenv: o.app.process.Getenv})
	defer func() { err = errors.Join(err, pool.Close()) }()
	on, err := o.onEngine(pool)
	if err != nil {
		return err
	}
	return quickstart.Run(cmd.Context(), quickstart.Config{
		Dir: o.directory(), Port: o.port, Exit: o.exit, Docker: on, Executable: executable, Version: o.app.version(),
		FindGit: func() error { _, err := exec.LookPath("git"); return err },
		Getenv:  o.app.process.Getenv, Out: o.app.out().W, Logger: o.app.logger(), Open: o.open,
	})
}

func (o *quickstartOptions) directory() string {
	switch {
	case o.dir != "":
		return o.dir
	case o.docker:
		return ".quickstart-docker"
	}
	return ".quickstart"
}

// onEngine says which engine the story is told on; nil for none.
func (o *quickstartOptions) onEngine(pool *engines.Pool) (*quickstart.Docker, error) {
	if !o.docker {
		return nil, nil //nolint:nilnil // no engine is no error
	}
	d := &quickstart.Docker{Given: o.engine != "", Remove: o.remove, Connect: func(ctx context.Context, a engines.Address) (*client.Client, string, error) {
		host, err := pool.Where(a)
		if err != nil {
			return nil, "", err
		}
		api, err := pool.Open(ctx, a)
		return api, host, err
	}}
	if d.Given {
		d.Address = engines.At(o.engine, o.app.process.Getenv)
		return d, nil
	}
	var err error
	d.Address, err = engines.Current(o.app.process.Getenv)
	return d, err
}

// open wires an engine as the story asks for it.
func (o *quickstartOptions) open(ctx context.Context, q quickstart.Opening) (*reconciler.Engine, func() error, error) {
	w, err := o.app.wire(ctx, wiring{repo: q.Repo, story: true, state: q.State, roots: []string{q.Roots}, log: o.app.logger(), notify: q.Notify})
	if err != nil {
		return nil, nil, err
	}
	return w.engine, w.close, nil
}
