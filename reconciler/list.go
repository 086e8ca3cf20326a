package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// fetching is how the config repository is looked at: [Engine.fetch], or
// fetchOrSeen for who only reads.
type fetching func(ctx context.Context, envs ...stella.EnvName) (*head, error)

// names lists the environments of the branch, and fetches their ledgers too.
func (e *Engine) names(ctx context.Context, fetch fetching) (*head, []configrepo.EnvironmentRef, error) {
	h, err := fetch(ctx)
	if err != nil {
		return nil, nil, err
	}
	refs, err := configrepo.Environments(ctx, h.tree, h.project)
	if err != nil || h.unfetched != nil {
		return h, refs, err
	}
	envs := make([]stella.EnvName, len(refs))
	for i, r := range refs {
		envs[i] = r.Name
	}
	if h, err = fetch(ctx, envs...); err != nil {
		return nil, nil, err
	}
	return h, refs, nil
}

// Environments sums every environment up, from Git and the ledger alone. One
// that can not be read is in the list with the reason.
func (e *Engine) Environments(ctx context.Context) ([]EnvironmentSummary, error) {
	h, refs, err := e.names(ctx, e.fetchOrSeen)
	if err != nil {
		return nil, err
	}
	out := make([]EnvironmentSummary, len(refs))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, ref := range refs {
		g.Go(func() error {
			err := e.guard("read "+string(ref.Name), func() error {
				out[i] = e.summary(ctx, h, ref.Name)
				return nil
			})
			if err != nil {
				out[i] = EnvironmentSummary{Name: ref.Name, Sync: stella.SyncUnknown, Health: stella.HealthUnknown, Reason: err.Error()}
			}
			return nil
		})
	}
	return out, g.Wait()
}

func (e *Engine) summary(ctx context.Context, h *head, env stella.EnvName) EnvironmentSummary {
	sc, err := e.sceneAt(ctx, h, env)
	if err != nil {
		return EnvironmentSummary{Name: env, Sync: stella.SyncUnknown, Health: stella.HealthUnknown, Reason: err.Error()}
	}
	return summarise(e.statusOf(sc))
}

func summarise(st EnvironmentStatus) EnvironmentSummary {
	s := EnvironmentSummary{
		Name: st.Environment, Sync: st.Sync, Health: st.Health, Release: st.Desired.Release, Commit: st.SeenCommit,
		Drifted: st.Drift.Count > 0, Ready: st.Ready.Ready, Locked: st.Lock != nil, Held: len(st.Holds) > 0, Reason: st.Reason,
		ReadyCheckedAt: st.Ready.CheckedAt,
	}
	if st.Current != nil {
		s.Release, s.Deployment = st.Current.Release, st.Current.ID
	}
	return s
}

// Plan says what reconciling an environment to a revision would change. An
// empty ref is the branch's head; otherwise it is a commit id or the id of a
// deployment.
func (e *Engine) Plan(ctx context.Context, env stella.EnvName, ref string) (Plan, error) {
	sc, err := e.glimpse(ctx, env)
	if err != nil {
		return Plan{}, err
	}
	if ref != "" {
		if sc, err = e.revision(ctx, sc, ref); err != nil {
			return Plan{}, err
		}
	}
	if sc.invalid != nil {
		return Plan{}, sc.invalid
	}
	j, err := e.inspect(ctx, sc, intent{kind: stella.KindDeploy}, nil, nil)
	if err != nil {
		return Plan{}, err
	}
	if ref == "" && sc.pinned() != nil {
		j.in.plan.Warnings = append(j.in.plan.Warnings, sc.pinReason())
	}
	return j.in.plan, nil
}

// Book fetches and returns one environment's ledger. It works for an
// environment that is gone from the branch.
func (e *Engine) Book(ctx context.Context, env stella.EnvName) (ledger.Book, error) {
	if _, err := stella.ParseName(string(env)); err != nil {
		return ledger.Book{}, err
	}
	h, err := e.fetchOrSeen(ctx, env)
	if err != nil {
		return ledger.Book{}, err
	}
	b, err := e.ledger(h).Read(ctx, env)
	if err != nil || b.State.Sequence > 0 || b.State.Fence > 0 {
		return b, err
	}
	refs, err := configrepo.Environments(ctx, h.tree, h.project)
	if err != nil {
		return b, err
	}
	if !slices.ContainsFunc(refs, func(r configrepo.EnvironmentRef) bool { return r.Name == env }) {
		return b, stella.WithHint(fmt.Errorf("environment %s: %w", env, stella.ErrNotFound), "run 'stella orch env list'")
	}
	return b, nil
}

// Books returns the ledger of every environment on the branch.
func (e *Engine) Books(ctx context.Context) (map[stella.EnvName]ledger.Book, error) {
	h, refs, err := e.names(ctx, e.fetchOrSeen)
	if err != nil {
		return nil, err
	}
	out := make(map[stella.EnvName]ledger.Book, len(refs))
	for _, ref := range refs {
		if out[ref.Name], err = e.ledger(h).Read(ctx, ref.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// FindDeployment reads "ENV|DEPLOYMENT": the name of an existing environment
// wins, else the longest environment that is followed by "-N". The deployment
// is nil when s names an environment.
func (e *Engine) FindDeployment(ctx context.Context, s string) (stella.EnvName, *stella.Deployment, error) {
	_, err := e.Book(ctx, stella.EnvName(s))
	if err == nil {
		return stella.EnvName(s), nil, nil
	}
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || !errors.Is(err, stella.ErrNotFound) && !errors.Is(err, stella.ErrInvalid) {
		return "", nil, err
	}
	env := stella.EnvName(s[:i])
	b, err := e.Book(ctx, env)
	if err != nil {
		return "", nil, err
	}
	d, ok := b.Deployment(s)
	if !ok {
		return "", nil, stella.WithHint(fmt.Errorf("deployment %s: %w", s, stella.ErrNotFound), fmt.Sprintf("run 'stella orch deployments list %s'", env))
	}
	return env, &d, nil
}

// Locks lists the locks of one environment, or of all with an empty name.
func (e *Engine) Locks(ctx context.Context, env stella.EnvName) ([]LockStatus, error) {
	books, err := e.books(ctx, env)
	if err != nil {
		return nil, err
	}
	h, err := e.fetchOrSeen(ctx)
	if err != nil {
		return nil, err
	}
	out := []LockStatus{}
	for _, name := range sortedKeys(books) {
		if lock := books[name].Lock(time.Now()); lock != nil {
			out = append(out, *e.lockStatus(e.ledger(h), name, *lock))
		}
	}
	return out, nil
}

func (e *Engine) books(ctx context.Context, env stella.EnvName) (map[stella.EnvName]ledger.Book, error) {
	if env == "" {
		return e.Books(ctx)
	}
	b, err := e.Book(ctx, env)
	return map[stella.EnvName]ledger.Book{env: b}, err
}
