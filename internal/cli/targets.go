package cli

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	engines "github.com/stella-ops/stella/internal/engine"
	"github.com/stella-ops/stella/reconciler"
	"github.com/stella-ops/stella/target/docker"
	"github.com/stella-ops/stella/target/host"
)

// targets opens drivers. It is the only place that knows which there are.
type targets struct {
	roots      []string // that a host target may lie below
	executable string
	engines    *engines.Pool
	log        *slog.Logger
}

var _ reconciler.Targets = (*targets)(nil)

// Open implements reconciler.Targets.
func (t *targets) Open(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	switch {
	case spec.Target.Host != nil:
		return t.host(ctx, spec)
	case spec.Target.Docker != nil:
		return t.docker(ctx, spec)
	}
	return nil, fmt.Errorf("target %s: %w: has no driver", spec.Target.Name, stella.ErrInvalid)
}

func (t *targets) docker(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	where, rollout := spec.Target.Docker, spec.Environment.Rollout
	api, err := t.engines.Open(ctx, engines.Address{Host: where.Host, Context: where.Context, TLS: where.TLS})
	if err != nil {
		return nil, err
	}
	c := docker.Config{
		Environment: spec.Environment.Name, Name: spec.Target.Name, Project: where.Project, Engine: api, Machine: spec.Machine,
		Local:           strings.HasPrefix(where.Host, "unix://"),
		DiscardPrevious: !rollout.KeepPrevious, StartFirst: rollout.UpdateOrder == configrepo.StartFirst, Logger: t.log,
	}
	if credentials, ok := spec.Artifacts.(docker.Credentials); ok {
		c.Credentials = credentials
	}
	d, err := docker.Open(ctx, c)
	if err != nil {
		return nil, engines.Explain(err)
	}
	return d, nil
}

func (t *targets) host(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	c := host.Config{
		Environment: spec.Environment.Name, Name: spec.Target.Name, Root: spec.Target.Host.Root,
		AllowedRoots: t.roots, AllowRoot: spec.Environment.AllowRoot,
		Executable: t.executable, Machine: spec.Machine, Logger: t.log,
	}
	if spec.Artifacts != nil {
		c.Images = spec.Artifacts
	}
	h, err := host.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// hostRoots are the directories that a host target may lie below: --host-root
// and STELLA_HOST_ROOTS, else the user's home, /srv and /opt.
func (a *App) hostRoots() ([]string, error) {
	roots := a.flags.hostRoots
	if env := a.process.Getenv("STELLA_HOST_ROOTS"); len(roots) == 0 && env != "" {
		roots = filepath.SplitList(env)
	}
	if len(roots) == 0 {
		roots = []string{"/srv", "/opt"}
		if home := a.process.Getenv("HOME"); filepath.IsAbs(home) && filepath.Clean(home) != "/" {
			roots = append(roots, filepath.Clean(home))
		}
		return roots, nil
	}
	for i, root := range roots {
		if !filepath.IsAbs(root) || strings.TrimSpace(root) == "" {
			return nil, stella.WithHint(fmt.Errorf("%w: host root %q is not an absolute path", stella.ErrInvalid, root), "give absolute directories with --host-root or STELLA_HOST_ROOTS")
		}
		roots[i] = filepath.Clean(root)
	}
	return roots, nil
}
