package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
)

type initOptions struct {
	app  *App
	from string
	name string
	envs []string
	// docker is the engine that the Compose file runs on already.
	docker string
}

func newInitCmd(a *App) *cobra.Command {
	o := &initOptions{app: a}
	cmd := &cobra.Command{
		Use:   "init [DIR] [--from compose.yaml]",
		Short: "Write a small config repository that validates",
		Long: "Write stella.yaml and environments to start from into a directory, the working directory by default; with\n" +
			"--from, out of a Compose file that there is. A file that exists already is never overwritten.",
		Example: "  stella init shop-config\n  stella init shop-config --from docker-compose.yaml\n" +
			"  stella init shop-config --from compose.yaml --docker unix:///var/run/docker.sock",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return o.run(cmd.Context(), dir)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "make the app out of this Compose `file`")
	f.StringVar(&o.docker, "docker", "", "the Compose file runs on this `engine` already, as unix:///var/run/docker.sock: 'stella adopt' takes it over; needs --from")
	f.StringVar(&o.name, "name", "", "the project's `name` (default: the directory's)")
	f.StringSliceVar(&o.envs, "environment", nil, "`name` of an environment; may be repeated (default: staging and production)")
	return exits(cmd, exitsOfReading())
}

func (o *initOptions) run(ctx context.Context, dir string) error {
	abs, err := o.absolute(dir)
	if err != nil {
		return err
	}
	starter, err := o.starter(ctx, abs)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(starter.Files))
	if err := refuseExisting(abs, names); err != nil {
		return err
	}
	for _, name := range names {
		if err := writeNew(filepath.Join(abs, filepath.FromSlash(name)), starter.Files[name]); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return o.report(dir, abs, names, starter.Notes)
}

func (o *initOptions) absolute(dir string) (string, error) {
	if filepath.IsAbs(dir) {
		return filepath.Clean(dir), nil
	}
	here, err := o.app.process.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	return filepath.Join(here, dir), nil
}

func (o *initOptions) starter(ctx context.Context, abs string) (*configrepo.StarterFiles, error) {
	options := configrepo.StarterOptions{Name: o.name, Environments: o.envs}
	if options.Name == "" {
		options.Name = projectName(filepath.Base(abs))
	}
	if o.from == "" {
		if o.docker != "" {
			return nil, stella.WithHint(fmt.Errorf("%w: --docker is for a Compose file that runs", stella.ErrInvalid), "name the Compose file with --from")
		}
		return configrepo.Starter(ctx, options)
	}
	from, err := o.absolute(o.from)
	if err != nil {
		return nil, err
	}
	if options.Compose, err = readSmall(from); err != nil {
		err = fmt.Errorf("read the Compose file: %w: %w", stella.ErrInvalid, err)
		return nil, stella.WithHint(err, "name a Compose file with --from")
	}
	root, err := os.OpenRoot(filepath.Dir(from))
	if err != nil {
		return nil, fmt.Errorf("open the directory of %s: %w", safe.Line(o.from), err)
	}
	defer func() { _ = root.Close() }() // it was only read
	options.ComposeDir, options.Engine, options.WorkingDir = root, o.docker, filepath.Dir(from)
	return configrepo.Starter(ctx, options)
}

// projectName makes a project's name out of a directory's.
func projectName(dir string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(dir))
	name = strings.Trim(name[:min(stella.MaxNameBytes, len(name))], "-")
	if name == "" {
		return "shop"
	}
	return name
}

// refuseExisting looks at all files before the first is written.
func refuseExisting(dir string, names []string) error {
	var there []string
	for _, name := range names {
		_, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name)))
		switch {
		case err == nil:
			there = append(there, name)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("look at %s: %w", safe.Line(dir), err)
		}
	}
	if len(there) == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %s has %s already; nothing was written", stella.ErrInvalid, safe.Line(dir), strings.Join(there, ", "))
	return stella.WithHint(err, "name another directory: 'stella init DIR'")
}

// writeNew writes a file and the directories on the way to it.
func writeNew(file string, content []byte) error {
	const readable = 0o755 // a working copy is nothing secret
	if err := os.MkdirAll(filepath.Dir(file), readable); err != nil {
		return err
	}
	return durable.WriteFile(file, content, 0o644)
}

func (o *initOptions) report(dir, abs string, names, notes []string) error {
	l := &list{columns: columns("FILE")}
	for _, name := range names {
		l.add(text(name))
	}
	err := o.app.print(view{
		doc: struct {
			SchemaVersion int      `json:"schemaVersion"`
			Directory     string   `json:"directory"`
			Files         []string `json:"files"`
			Notes         []string `json:"notes"`
		}{1, abs, names, notes},
		names: names,
		list:  l,
	})
	if err != nil {
		return err
	}
	for _, note := range notes {
		o.app.note("to do: %s", note)
	}
	o.app.note("next:")
	for _, command := range o.nextCommands(dir, abs, o.first(names)) {
		o.app.note("  %s", command)
	}
	return nil
}

// first is the environment to begin with.
func (o *initOptions) first(files []string) string {
	switch {
	case len(o.envs) > 0:
		return o.envs[0]
	case slices.Contains(files, "envs/staging/environment.yaml"):
		return "staging"
	}
	return "production"
}

// nextCommands lead from the written files to a reconciled repository.
func (o *initOptions) nextCommands(dir, abs, env string) []string {
	var next []string
	if dir != "." {
		next = append(next, "cd "+dir)
	}
	if _, _, err := findClone(abs); err != nil {
		next = append(next, "git init -b main")
	}
	if o.docker != "" {
		return append(next, "git add . && git commit -m 'Start' && git push", fmt.Sprintf("stella adopt %s --dry-run   # what runs, against the files", env), "stella adopt "+env)
	}
	return append(next,
		fmt.Sprintf("$EDITOR envs/%s/app/release.yaml   # name your images", env),
		"stella validate --fix                   # check everything, pin tags to digests",
		"git add . && git commit -m 'Start' && git push",
		"stella plan "+env,
		"stella reconcile "+env,
	)
}
