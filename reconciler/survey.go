package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/health"
	"github.com/stella-ops/stella/ledger"
)

// site is one target of an environment, opened.
type site struct {
	spec   configrepo.Target
	target Target       // nil when it could not be opened
	live   stella.State // as first observed
	err    error        // why it could not be opened or observed
}

// driver names what runs the target.
func driver(t configrepo.Target) string {
	if t.Docker != nil {
		return "docker"
	}
	return "host"
}

// maxParallel bounds how many targets, registries or environments are spoken
// to at once.
const maxParallel = 16

// survey is an environment's targets as they were found.
type survey struct {
	sites     []*site // in environment order
	artifacts Artifacts
	// at is when they were found, by Config.Now. The ignore rules of this moment
	// hold for all that follows from it.
	at    time.Time
	guard func(what string, fn func() error) error // Engine.guard
}

// openSites opens and observes all targets of an environment, in parallel.
func (e *Engine) openSites(ctx context.Context, project *configrepo.Project, env *configrepo.Environment, book ledger.Book) *survey {
	s := &survey{artifacts: e.cfg.Artifacts(project), at: e.cfg.Now(), guard: e.guard, sites: make([]*site, len(env.Targets))}
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, t := range env.Targets {
		s.sites[i] = &site{spec: t}
		g.Go(func() error {
			e.visit(ctx, s.sites[i], TargetSpec{
				Environment: env, Target: t, Machine: book.State.Machines[t.Name], Artifacts: s.artifacts,
			})
			return nil
		})
	}
	_ = g.Wait() // errors stay with their sites
	return s
}

// visit opens and observes a target. One that hangs is as good as one that is
// not there, and stops nobody else.
func (e *Engine) visit(ctx context.Context, s *site, spec TargetSpec) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	type found struct {
		target Target
		live   stella.State
		err    error
	}
	done := make(chan found, 1)
	go func() {
		var f found
		f.err = e.guard("observe "+spec.Target.Name, func() error {
			target, err := e.cfg.Targets.Open(ctx, spec)
			if err != nil {
				return err
			}
			f.target = target
			f.live, err = target.Observe(ctx)
			return err
		})
		done <- f
	}()
	select {
	case f := <-done:
		s.target, s.live, s.err = f.target, f.live, f.err
	case <-ctx.Done():
		s.err = fmt.Errorf("no answer for %s: %w: %w", observeTimeout, stella.ErrUnreachable, context.Cause(ctx))
	}
}

// anyOf reports whether one of the named targets answered.
func (s *survey) anyOf(names []string) bool {
	return slices.ContainsFunc(s.sites, func(site *site) bool { return site.err == nil && slices.Contains(names, site.spec.Name) })
}

func (s *survey) live() map[string]stella.State {
	out := map[string]stella.State{}
	for _, site := range s.sites {
		if site.err == nil {
			out[site.spec.Name] = site.live
		}
	}
	return out
}

func (s *survey) site(name string) *site {
	for _, site := range s.sites {
		if site.spec.Name == name {
			return site
		}
	}
	return nil
}

// fence is the highest fence that any target has seen.
func (s *survey) fence() int64 {
	var most int64
	for _, site := range s.sites {
		if site.err == nil && site.live.Observed != nil {
			most = max(most, site.live.Observed.Fence)
		}
	}
	return most
}

// machines returns the identity of each target that has one.
func (s *survey) machines() map[string]string {
	out := map[string]string{}
	for _, site := range s.sites {
		if site.err == nil && site.live.Observed != nil && site.live.Observed.Machine != "" {
			out[site.spec.Name] = site.live.Observed.Machine
		}
	}
	return out
}

// Exec implements health.Executor with the targets of the survey.
func (s *survey) Exec(ctx context.Context, target, component string, command []string) (string, error) {
	for _, site := range s.sites {
		if target != "" && site.spec.Name != target || site.target == nil {
			continue
		}
		x, ok := site.target.(Executor)
		if !ok {
			return "", fmt.Errorf("run a command on %s: %w", site.spec.Name, stella.ErrUnsupported)
		}
		return x.Exec(ctx, component, command)
	}
	return "", fmt.Errorf("run a command on %q: %w", target, stella.ErrUnreachable)
}

// checks are the environment's verification checks for the named targets,
// with those of the whole environment when whole is set.
func checks(env *configrepo.Environment, names []string, whole bool) []health.Check {
	var out []health.Check
	for _, t := range env.Targets {
		for _, name := range names {
			if t.Name == name {
				out = append(out, env.ChecksFor(t)...)
			}
		}
	}
	if whole {
		out = append(out, env.EnvironmentChecks()...)
	}
	return out
}

func targetNames(env *configrepo.Environment) []string {
	names := make([]string, len(env.Targets))
	for i, t := range env.Targets {
		names[i] = t.Name
	}
	return names
}

// check runs checks once, in parallel.
func (e *Engine) check(ctx context.Context, s *survey, list []health.Check) []health.Result {
	return e.prober(s).Run(ctx, list)
}

func (e *Engine) prober(s *survey) *health.Runner {
	return health.New(health.Config{Exec: s, Logger: e.cfg.Logger})
}

// notify hands an event to the subscriber, one at a time.
type notifier struct {
	mu   sync.Mutex // guards calls of tell
	tell func(Event)
}

func (n *notifier) notify(ev Event) {
	if n.tell == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(ev)
}

// unreachable says why a site can not be used, with its class kept.
func (s *site) unreachable() string {
	if errors.Is(s.err, stella.ErrUnreachable) {
		return s.err.Error()
	}
	return fmt.Sprintf("can not be observed: %v", s.err)
}
