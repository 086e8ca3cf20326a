package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// Follow tells the subscriber of events what becomes of a deployment that
// somebody carries out, wherever, until it has ended or its driver is known to
// be dead: then it returns without an error. The ledger is looked at once a
// second; what this machine drives itself is told sooner, from its journal. It
// is an error of class stella.ErrTimeout when it takes longer than the timeout;
// zero means 10 minutes.
func (e *Engine) Follow(ctx context.Context, env stella.EnvName, id string, timeout time.Duration) error {
	f := &follower{e: e, env: env, id: id, told: map[string]stella.StepStatus{}}
	deadline := time.Now().Add(Options{Timeout: timeout}.timeout())
	for {
		done, err := f.look(ctx)
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			err := fmt.Errorf("%s has not ended: %w", id, stella.ErrTimeout)
			return stella.WithHint(err, fmt.Sprintf("run 'stella rollback status %s'; it goes on", id))
		}
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
}

// follower is one Follow.
type follower struct {
	e     *Engine
	env   stella.EnvName
	id    string
	last  stella.Deployment            // as the ledger had it
	told  map[string]stella.StepStatus // by step
	waits string                       // what was last told to be waited for
}

// journalEvery is how often the journal is read between two looks at the ledger.
const journalEvery = 200 * time.Millisecond

// look reads the ledger and tells what is new.
func (f *follower) look(ctx context.Context) (done bool, err error) {
	h, err := f.e.fetch(ctx, f.env)
	if errors.Is(err, stella.ErrUnreachable) {
		f.waiting("the config repository, which does not answer; what this machine's journal says is told all the same")
		return false, nil // the deadline decides
	}
	if err != nil {
		return false, err
	}
	led := f.e.ledger(h)
	b, err := led.Read(ctx, f.env)
	if err != nil {
		return false, err
	}
	d, ok := b.Deployment(f.id)
	if !ok {
		return false, stella.WithHint(fmt.Errorf("deployment %s: %w", f.id, stella.ErrNotFound), fmt.Sprintf("run 'stella orch deployments list %s'", f.env))
	}
	if f.last.ID == "" {
		f.e.events.notify(Started{Deployment: d})
	}
	f.last = d
	f.steps()
	driver := f.e.driver(led, b, d, time.Now())
	switch {
	case driver == nil:
		f.e.events.notify(Ended{Deployment: d})
		return true, nil
	case driver.State == DriverDead:
		f.e.events.notify(Warned{Environment: f.env, Text: fmt.Sprintf("nobody carries %s out any more: %s", f.id, driver.Reason)})
		return true, nil
	case driver.State == DriverSilent:
		f.waiting(driver.Holder + ": " + driver.Reason)
	case driver.State == DriverWaiting:
		f.waiting("whoever applies")
	}
	return false, nil
}

// wait lets about a second pass, and tells what comes into the journal.
func (f *follower) wait(ctx context.Context) error {
	next := time.After(lookEvery/2 + rand.N(lookEvery)) //nolint:gosec // jitter, not a secret
	tick := time.NewTicker(journalEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return stella.WithHint(fmt.Errorf("stopped following %s, it goes on: %w", f.id, context.Cause(ctx)),
				fmt.Sprintf("run 'stella rollback status %s --follow' to follow it again", f.id))
		case <-next:
			return nil
		case <-tick.C:
			if f.last.ID != "" {
				f.steps()
			}
		}
	}
}

// steps tells each step when it begins and when it ends, once.
func (f *follower) steps() {
	for _, s := range f.e.finer(f.last).Steps {
		key := stepKey(s)
		before, known := f.told[key]
		if known && before == s.Status {
			continue
		}
		f.told[key] = s.Status
		if !known && s.Status == stella.StepRunning {
			f.e.events.notify(StepBegan{Environment: f.env, Deployment: f.id, Step: s})
		}
		if s.Status != stella.StepRunning {
			f.e.events.notify(StepEnded{Environment: f.env, Deployment: f.id, Step: s})
		}
	}
}

func (f *follower) waiting(what string) {
	if f.waits != what {
		f.waits = what
		f.e.events.notify(Waiting{Environment: f.env, For: what, Since: time.Now()})
	}
}

func stepKey(s stella.Step) string {
	return s.Name + " " + s.Target + " " + s.StartedAt.UTC().Format(time.RFC3339Nano)
}

// finer adds to an open deployment the steps that this machine's journal has and
// the ledger has not yet, in the order in which they began.
func (e *Engine) finer(d stella.Deployment) stella.Deployment {
	if !d.Status.Open() || e.cfg.Journals == "" {
		return d
	}
	lines, err := ledger.ReadJournal(e.cfg.Journals, d.ID)
	if err != nil {
		return d // another machine drives it, or it has just ended
	}
	at := map[string]int{}
	steps := slices.Clone(d.Steps)
	for i, s := range steps {
		at[stepKey(s)] = i
	}
	for _, l := range lines {
		s := journalStep(l)
		i, known := at[stepKey(s)]
		switch {
		case l.Step == "":
		case !known:
			at[stepKey(s)] = len(steps)
			steps = append(steps, s)
		case steps[i].Status == stella.StepRunning:
			steps[i] = s
		}
	}
	slices.SortStableFunc(steps, func(a, b stella.Step) int { return cmp.Compare(a.StartedAt.UnixNano(), b.StartedAt.UnixNano()) })
	d.Steps = steps
	return d
}

// The members of a journal line's detail.
const journalSeconds = "seconds"

func journalLine(s stella.Step) ledger.JournalLine {
	l := ledger.JournalLine{At: s.StartedAt, Step: s.Name, Target: s.Target, Event: string(s.Status), Error: s.Error}
	if s.Status != stella.StepRunning {
		l.Detail = map[string]string{journalSeconds: strconv.FormatFloat(s.DurationSeconds, 'f', 3, 64)}
	}
	return l
}

func journalStep(l ledger.JournalLine) stella.Step {
	s := stella.Step{
		Name: l.Step, Target: l.Target, Status: stella.StepStatus(l.Event), StartedAt: l.At, Error: l.Error, Detail: map[string]any{},
	}
	s.DurationSeconds, _ = strconv.ParseFloat(l.Detail[journalSeconds], 64) // none: it has not ended
	return s
}
