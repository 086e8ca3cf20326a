package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/durable"
	engines "github.com/stella-ops/stella/internal/engine"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// wiring says what an engine is made of.
type wiring struct {
	repo   string   // path or URL
	clone  string   // the clone that was found; empty where the repository was named
	story  bool     // a demonstration, whose commits are nobody's
	state  string   // directory of this repository's state
	roots  []string // that host targets may lie below
	log    *slog.Logger
	notify func(reconciler.Event)
}

// wired is an engine with what it was made of.
type wired struct {
	engine *reconciler.Engine
	repo   *git.Repo
	state  string // directory of this repository's state

	engines *engines.Pool
}

// close ends what the engine was made of.
func (w *wired) close() error { return errors.Join(w.engines.Close(), w.repo.Close()) }

// openRepository opens the config repository that the command line, the
// environment or the working directory names. It reads nothing from it yet.
func (a *App) openRepository(ctx context.Context, notify func(reconciler.Event)) (*session, error) {
	w, err := a.wireHere(ctx, a.logger(), notify)
	if err != nil {
		return nil, err
	}
	return &session{engine: w.engine, protected: w.protected, close: w.close}, nil
}

// wireHere wires an engine for the repository of this command line.
func (a *App) wireHere(ctx context.Context, log *slog.Logger, notify func(reconciler.Event)) (*wired, error) {
	repo, err := a.repository()
	if err != nil {
		return nil, err
	}
	state, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	roots, err := a.hostRoots()
	if err != nil {
		return nil, err
	}
	return a.wire(ctx, wiring{repo: repo, clone: a.clone(), state: filepath.Join(state, "repos", stateName(repo)), roots: roots, log: log, notify: notify})
}

// wire puts an engine together. The caller closes the repository.
func (a *App) wire(ctx context.Context, w wiring) (*wired, error) {
	repo, err := git.Open(ctx, git.Options{
		URL: w.repo, Clone: w.clone, Unsigned: w.story, Dir: filepath.Join(w.state, "git"), Getenv: a.process.Getenv, Logger: w.log,
	})
	if err != nil {
		return nil, err
	}
	self, err := durable.Self()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find out who we are: %w", err), repo.Close())
	}
	executable, err := a.process.Executable()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the stella binary: %w", err), repo.Close())
	}
	me := repo.Identity(ctx)
	actor := fmt.Sprintf("%s <%s>", me.Name, me.Email)
	pool := engines.NewPool(engines.Config{Getenv: a.process.Getenv})
	engine := reconciler.New(reconciler.Config{
		Repo: repo,
		Targets: &targets{
			roots: w.roots, executable: executable, engines: pool, log: w.log,
		},
		Artifacts: func(p *configrepo.Project) reconciler.Artifacts { return a.registries(p, w.log) },
		Ledger: func(prefix string) *ledger.Ledger {
			return ledger.New(ledger.NewGitStore(repo, prefix), ledger.Options{
				Version: a.version(), Actor: actor, Machine: self.String(), Logger: w.log,
			})
		},
		Journals: filepath.Join(w.state, "journals"),
		Actor:    actor, Alone: true, Identity: me, Version: a.version(), Logger: w.log, Notify: w.notify,
	})
	return &wired{engine: engine, repo: repo, state: w.state, engines: pool}, nil
}

// registries is the client for the registries of a project.
func (a *App) registries(p *configrepo.Project, log *slog.Logger) *artifact.Client {
	return artifact.New(artifact.Config{PlainHTTP: p.PlainHTTP, Backup: p.Backup, Getenv: a.process.Getenv, Logger: log})
}

// protected reads from the commit whether the environment wants its changes to
// be confirmed. One whose file can not be read counts as if it did: going back to
// the file of then is a way out of that.
func (w *wired) protected(ctx context.Context, env stella.EnvName, commit string) (bool, error) {
	tree, err := w.repo.Tree(ctx, git.ID(commit))
	if err != nil {
		return false, fmt.Errorf("read commit %s: %w", shortID(commit), err)
	}
	t := reconciler.TreeOf(tree)
	p, err := configrepo.ReadProject(ctx, t)
	if err != nil {
		return false, err
	}
	e, err := configrepo.ReadEnvironment(ctx, t, p, env)
	if errors.Is(err, stella.ErrInvalid) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return e.Protected, nil
}
