package serve

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/ledger/ledgertest"
	"github.com/stella-ops/stella/reconciler"
)

const simulated = stella.EnvName("production")

// simulation is a world in memory: what one environment wants, machines that
// somebody works on by hand, and the ledger's store.
type simulation struct {
	t     *testing.T
	start time.Time
	store *ledgertest.Memory

	mu       sync.Mutex // guards what follows
	policy   configrepo.DriftPolicy
	wanted   stella.State            // of each target
	live     map[string]stella.State // by target
	away     map[string]bool         // targets that do not answer
	watchers map[string]func()
	watches  int
	scans    []time.Duration // since the start
	account  []string        // what happened, by the minute
}

func newSimulation(t *testing.T) *simulation {
	s := &simulation{
		t: t, start: time.Now(), store: ledgertest.NewMemory(), live: map[string]stella.State{}, away: map[string]bool{}, watchers: map[string]func(){},
		wanted: stella.State{Resources: []stella.Resource{
			{ID: "service/api", Fields: map[string]any{"image": "r.example.com/shop/api:1@sha256:11", "environment": map[string]any{"LOG_LEVEL": "info"}}},
			{ID: "service/worker", Fields: map[string]any{"image": "r.example.com/shop/worker:1@sha256:22", "environment": map[string]any{"SIZE": "4"}}},
		}},
	}
	for _, target := range []string{"web-1", "web-2"} {
		s.live[target] = clone(s.wanted)
	}
	s.policy = configrepo.DriftPolicy{Schedule: "*/15 * * * *", Mode: configrepo.DriftHeal}
	e := s.engine()
	if err := e.deploy(t.Context(), stella.Deployment{Kind: stella.KindDeploy, Tree: "t1", Commit: "c1", Release: "1"}, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func clone(s stella.State) stella.State {
	var out stella.State
	for _, r := range s.Resources {
		fields := map[string]any{}
		for k, v := range r.Fields {
			if m, ok := v.(map[string]any); ok {
				v = maps.Clone(m)
			}
			fields[k] = v
		}
		out.Resources = append(out.Resources, stella.Resource{ID: r.ID, Fields: fields})
	}
	return out
}

// write is a hand on a target; where it tells, its watchers hear of it.
func (s *simulation) write(target string, resource stella.ResourceID, name, value string, tells bool) {
	s.mu.Lock()
	r, _ := s.live[target].Resource(resource)
	env, _ := r.Fields["environment"].(map[string]any)
	env[name] = value
	s.mu.Unlock()
	if tells {
		s.tell()
	}
}

func (s *simulation) tell() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.watchers))
	s.mu.Unlock()
	for _, changed := range all {
		changed()
	}
}

func (s *simulation) commit(change func(p *configrepo.DriftPolicy)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.policy)
}

func (s *simulation) answers(target string, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[target] = !yes
}

// note writes down what happened. The caller has no lock.
func (s *simulation) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account = append(s.account, time.Now().UTC().Format("15:04 ")+fmt.Sprintf(format, args...))
}

// simulatedEngine is what the reconciler does about drift, on the simulation: it
// decides with the same pure functions and writes through the same ledger.
type simulatedEngine struct {
	*simulation
	ledger *ledger.Ledger
	seen   map[string]time.Time
	lastNo string // why it did not heal, the last time
}

func (s *simulation) engine() *simulatedEngine {
	return &simulatedEngine{simulation: s, seen: map[string]time.Time{}, ledger: ledger.New(s.store.Client(), ledger.Options{Version: "1", Actor: "daemon", Machine: "m/b/1/1"})}
}

func (e *simulatedEngine) Heads(context.Context) (reconciler.Heads, error) {
	return reconciler.Heads{Keys: map[stella.EnvName]string{simulated: "c1"}}, nil
}

func (e *simulatedEngine) Reconcile(context.Context, reconciler.ReconcileRequest) (reconciler.Outcome, error) {
	return reconciler.Outcome{Sync: stella.Synced, Nothing: true, Commit: "c1"}, nil
}

func (e *simulatedEngine) CheckReady(context.Context, ...stella.EnvName) ([]reconciler.EnvironmentReadiness, error) {
	return nil, nil
}

func (e *simulatedEngine) Retain(context.Context, reconciler.RetentionRequest) (reconciler.RetentionReport, error) {
	return reconciler.RetentionReport{}, nil
}

func (e *simulatedEngine) CheckBaselines(context.Context) ([]reconciler.AutomaticBaseline, error) {
	return nil, nil
}

func (e *simulatedEngine) DriftPolicies(context.Context) (map[stella.EnvName]configrepo.DriftPolicy, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return map[stella.EnvName]configrepo.DriftPolicy{simulated: e.policy}, nil
}

func (e *simulatedEngine) Watch(ctx context.Context, _ stella.EnvName, changed func()) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watches++
	id := fmt.Sprint(e.watches)
	e.watchers[id] = changed
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watchers, id)
	})
	return nil
}

// observe compares every target that answers.
func (e *simulatedEngine) observe() (drift.Look, reconciler.Diff) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now().UTC()
	look := drift.Look{At: now, Read: map[string][]stella.Change{}, Deployed: map[string]bool{}, Seen: maps.Clone(e.seen)}
	diff := reconciler.Diff{Environment: simulated, ObservedAt: now}
	for _, name := range slices.Sorted(maps.Keys(e.live)) {
		look.Targets = append(look.Targets, name)
		if e.away[name] {
			diff.Targets = append(diff.Targets, reconciler.TargetDiff{Target: name, Error: "no route to host: unreachable"})
			continue
		}
		changes := drift.Compare(e.wanted, clone(e.live[name]), e.policy.Ignore, now)
		look.Read[name] = changes
		diff.Drifted = diff.Drifted || drift.Drifted(changes)
		diff.Targets = append(diff.Targets, reconciler.TargetDiff{Target: name, Reachable: true, Changes: changes})
	}
	return look, diff
}

func (e *simulatedEngine) Scan(ctx context.Context, env stella.EnvName) (reconciler.Scan, error) {
	e.mu.Lock()
	e.scans = append(e.scans, time.Since(e.start))
	mode := e.policy.Mode
	e.mu.Unlock()
	look, diff := e.observe()
	book, err := e.ledger.Refresh(ctx, env)
	if err != nil {
		return reconciler.Scan{}, err
	}
	known := drift.Known{Open: book.Drift.Open, Uncounted: book.Drift.Uncounted, Most: ledger.MaxOpenFindings}
	turn := drift.Follow(known, look)
	if turn.Changed(known) {
		if book, err = e.found(ctx, turn.Opened, turn.Ended, look.At); err != nil {
			return reconciler.Scan{}, err
		}
	}
	for name := range look.Read {
		e.seen[name] = look.At
	}
	out := reconciler.Scan{Diff: diff, Mode: mode, Open: turn.Open, Opened: turn.Opened, Ended: turn.Ended}
	err = e.heal(ctx, book, look, &out)
	return out, err
}

func (e *simulatedEngine) found(ctx context.Context, opened, ended []stella.DriftFinding, at time.Time) (ledger.Book, error) {
	for _, f := range opened {
		e.note("%s %s%s drifts", f.Target, f.Resource, f.Path)
	}
	for _, f := range ended {
		e.note("%s %s%s ended: %s, after %s", f.Target, f.Resource, f.Path, f.Ended, f.Duration(at).Round(time.Minute))
	}
	return e.ledger.Append(ctx, simulated, func(b ledger.Book) ([]ledger.Event, error) {
		return []ledger.Event{ledger.Found{Sequence: b.State.Sequence, Opened: opened, Ended: ended, SeenAt: at}}, nil
	})
}

// heal brings back what may be brought back, by the limits that the reconciler
// has.
func (e *simulatedEngine) heal(ctx context.Context, book ledger.Book, look drift.Look, out *reconciler.Scan) error {
	now := time.Now()
	alone := map[drift.Place]bool{}
	for _, f := range drift.Flaps(append(slices.Clone(book.Drift.Open), book.Drift.Ended...), time.Time{}, now) {
		if slices.ContainsFunc(out.Open, func(o stella.DriftFinding) bool { return o.Target == f.Target && o.Resource == f.Resource }) {
			out.Flapping = append(out.Flapping, reconciler.Flapping{Target: f.Target, Resource: f.Resource, Times: f.Times, Since: f.Since, Until: f.Until})
			alone[drift.Place{Target: f.Target, Resource: f.Resource}] = true
			out.NextHeal, out.NotHealed = f.Until, fmt.Sprintf("%s flaps, changed back %d times", f.Resource, f.Times)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(out.Open), func(f stella.DriftFinding) bool {
		return alone[drift.Place{Target: f.Target, Resource: f.Resource}] || look.Read[f.Target] == nil
	})
	if len(rest) > 0 {
		out.NotHealed, out.NextHeal = "", time.Time{}
		if next, why := drift.NextHeal(heals(book), now); why != "" {
			out.NotHealed, out.NextHeal = why, next
		}
	}
	if out.Mode != configrepo.DriftHeal {
		out.NotHealed, out.NextHeal = "", time.Time{}
		return nil
	}
	if out.NotHealed != e.lastNo {
		if e.lastNo = out.NotHealed; out.NotHealed != "" {
			e.note("not healed: %s", out.NotHealed)
		}
	}
	if len(rest) == 0 || out.NotHealed != "" {
		return nil
	}
	return e.bringBack(ctx, alone, look, out)
}

func (e *simulatedEngine) bringBack(ctx context.Context, alone map[drift.Place]bool, look drift.Look, out *reconciler.Scan) error {
	before := out.Open
	err := e.deploy(ctx, stella.Deployment{Kind: stella.KindHeal, Automatic: true, Tree: "t1", Commit: "c1", Release: "1"}, func() {
		e.mu.Lock()
		for target := range look.Read {
			for i, r := range clone(e.wanted).Resources {
				if !alone[drift.Place{Target: target, Resource: r.ID}] {
					e.live[target].Resources[i] = r
				}
			}
		}
		e.mu.Unlock()
		e.tell() // our own hand is one too
	})
	if err != nil {
		return err
	}
	settled := drift.Settlement{At: time.Now().UTC(), Verified: look.Read, Alone: slices.Collect(maps.Keys(alone)), Wanted: func(stella.DriftFinding) bool { return false }}
	ended := drift.Settle(before, settled)
	book, err := e.found(ctx, nil, ended, settled.At)
	if err != nil {
		return err
	}
	healed, _ := book.Current()
	out.Healed, out.Ended, out.Open = &healed, append(out.Ended, ended...), book.Drift.Open
	return nil
}

// deploy records a deployment that takes three seconds.
func (e *simulatedEngine) deploy(ctx context.Context, d stella.Deployment, act func()) error {
	book, err := e.ledger.Append(ctx, simulated, func(ledger.Book) ([]ledger.Event, error) { return []ledger.Event{ledger.Begin{Deployment: d}}, nil })
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // simulated
	if act != nil {
		act()
	}
	d, _ = book.Running()
	d.Status = stella.Succeeded
	d.Targets = []stella.TargetResult{{Name: "web-1", Status: stella.TargetVerified}, {Name: "web-2", Status: stella.TargetVerified}}
	_, err = e.ledger.Append(ctx, simulated, func(b ledger.Book) ([]ledger.Event, error) {
		return []ledger.Event{ledger.Finish{Deployment: d, LockID: b.State.Lock.ID, Current: true}}, nil
	})
	e.note("%s, a %s, %s", d.ID, d.Kind, d.Status)
	return err
}

func heals(b ledger.Book) (all []drift.Heal) {
	for _, d := range b.Deployments {
		if d.Kind == stella.KindHeal && d.FinishedAt != nil {
			all = append(all, drift.Heal{Began: d.StartedAt, Ended: *d.FinishedAt, OK: d.Status == stella.Succeeded})
		}
	}
	return all
}

func (s *simulation) happened() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.account, "\n") + "\n"
}
