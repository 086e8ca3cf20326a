package reconciler_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// stalled is a world whose deployment of "b" waits in prepare on machine a
// until it is let go.
type stalled struct {
	*world

	config reconciler.Config // of an engine beside the one that drives it
	letGo  func()
	end    <-chan asked
}

func stall(t *testing.T, w *world) stalled {
	t.Helper()
	w.reconcile()
	block, begun := make(chan struct{}), make(chan struct{})
	var once, ended sync.Once
	m := w.machines["a"]
	m.mu.Lock()
	m.block, m.prepared = block, func() { once.Do(func() { close(begun) }) }
	m.mu.Unlock()
	config := w.config("ana", nil)
	s := stalled{world: w, config: w.config("bob", nil), letGo: func() { ended.Do(func() { close(block) }) }}
	s.config.Journals = config.Journals // as two processes of one person have it
	s.end = deployWith(w, reconciler.New(config), "b", reconciler.Options{})
	t.Cleanup(s.letGo)
	<-begun
	return s
}

// follow follows prod-2 and returns what it is told.
func (s stalled) follow() (<-chan reconciler.Event, <-chan error) {
	events, done := make(chan reconciler.Event, 1000), make(chan error, 1)
	config := s.config
	config.Notify = func(ev reconciler.Event) { events <- ev }
	go func() {
		done <- reconciler.New(config).Follow(s.t.Context(), prod, "prod-2", time.Minute)
		close(events)
	}()
	return events, done
}

func TestADeploymentOfThisMachineIsFollowedStepByStepAheadOfTheLedger(t *testing.T) {
	s := stall(t, newWorld(t))
	events, done := s.follow()
	var told []string
	for ev := range events {
		switch ev := ev.(type) {
		case reconciler.Started:
			told = append(told, "started "+ev.Deployment.ID)
		case reconciler.StepBegan:
			if ev.Step.Name == stella.StepPrepare && ev.Step.Target == "a" {
				told = append(told, "preparing a")
				s.letGo() // the ledger does not know of the step yet: only the journal does
			}
		case reconciler.StepEnded:
			told = append(told, ev.Step.Name+" "+ev.Step.Target)
		case reconciler.Ended:
			told = append(told, "ended "+string(ev.Deployment.Status))
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all := strings.Join(told, "; ")
	at := -1
	for _, want := range []string{"started prod-2", "preflight", "lock", "commit", "preparing a", "prepare a", "apply a", "verify a", "apply b", "ended succeeded"} {
		i := strings.Index(all, want)
		if i < at || strings.Count(all, want) != 1 {
			t.Errorf("%q is missing, told twice or in another order: %s", want, all)
		}
		at = max(at, i)
	}
}

func TestADeploymentOfAnotherMachineIsFollowedByItsLedger(t *testing.T) {
	s := stall(t, newWorld(t))
	s.config.Journals = t.TempDir()
	events, done := s.follow()
	for ev := range events {
		if _, ok := ev.(reconciler.Started); ok {
			s.letGo()
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r := <-s.end; r.err != nil || s.runs() != "bb" {
		t.Errorf("%v, runs %s", r.err, s.runs())
	}
}

func TestFollowingEndsWhenTheDriverIsDeadAndSaysWhatToDo(t *testing.T) {
	s := stall(t, newWorld(t))
	s.config.Alone = true // the other engine of this process counts as dead
	events, done := s.follow()
	var last reconciler.Event
	for ev := range events {
		last = ev
	}
	if w, ok := last.(reconciler.Warned); !ok || !strings.HasPrefix(w.Text, "nobody carries prod-2 out any more") {
		t.Errorf("told at last: %+v", last)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	e := reconciler.New(s.config)
	trace, err := e.Trace(t.Context(), prod, "prod-2", false)
	if err != nil {
		t.Fatal(err)
	}
	d := trace.Driver
	if d == nil || d.State != reconciler.DriverDead || d.Holder != "ana" || d.Since == nil || !strings.Contains(d.Machine, "this machine, process") ||
		!strings.Contains(trace.Next, "stella reconcile prod") {
		t.Errorf("%+v; next: %s", d, trace.Next)
	}
	if !slices.ContainsFunc(trace.Deployment.Steps, func(s stella.Step) bool { return s.Name == stella.StepPrepare && s.Status == stella.StepRunning }) {
		t.Errorf("its steps: %+v", trace.Deployment.Steps)
	}
	st, err := e.RollbackStatus(t.Context(), prod, "prod-2")
	if err != nil || st.Agrees || st.Driver == nil || st.Driver.State != reconciler.DriverDead {
		t.Errorf("%+v, %v", st, err)
	}
	s.letGo()
	<-s.end
}

func TestALivingDriverIsNamedAndFollowingTimesOut(t *testing.T) {
	s := stall(t, newWorld(t))
	e := reconciler.New(s.config)
	trace, err := e.Trace(t.Context(), prod, "prod-2", false)
	if err != nil || trace.Driver == nil || trace.Driver.State != reconciler.DriverAlive || !strings.Contains(trace.Next, "--follow") {
		t.Errorf("%+v, %v", trace.Driver, err)
	}
	if err := e.Follow(t.Context(), prod, "prod-2", time.Nanosecond); err == nil || stella.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	s.letGo()
	<-s.end
}

func TestTheTraceOfARollbackReadsLikeAReport(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{Reason: "5xx", Incident: "INC-7"}}); err != nil {
		t.Fatal(err)
	}
	trace, err := w.Trace(t.Context(), prod, "", true)
	if err != nil {
		t.Fatal(err)
	}
	c := trace.Components
	if trace.Deployment.ID != "prod-3" || len(c) != 1 || len(c[0].From) != 1 || !strings.Contains(c[0].From[0], "web:b@") || !strings.Contains(c[0].To, "web:a@") {
		t.Errorf("components: %+v", c)
	}
	if u := trace.Undone; len(u) != 1 || u[0].Subject == "" || u[0].Author != "ana" || u[0].At == nil {
		t.Errorf("undone: %+v", u)
	}
	if len(trace.Held) != 1 || trace.Driver != nil || !strings.Contains(trace.Next, "stella orch holds release prod") || len(trace.Logs) != 0 {
		t.Errorf("%+v", trace)
	}
	if _, err := w.Trace(t.Context(), prod, "prod-9", false); err == nil {
		t.Error("a deployment that is not there was found")
	}
}

func TestStatusIsAboutTheDeploymentThatIsNamed(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod}); err != nil {
		t.Fatal(err)
	}
	for id, agrees := range map[string]bool{"": true, "prod-3": true, "prod-2": false, "prod-1": false} {
		st, err := w.RollbackStatus(t.Context(), prod, id)
		if err != nil || st.Agrees != agrees || id != "" && st.Deployment.ID != id || agrees != (len(st.Disagree) == 0) {
			t.Errorf("%q: %v: %+v", id, err, st)
		}
	}
	w.machines["b"].sticker = nil
	st, err := w.RollbackStatus(t.Context(), prod, "")
	if err != nil || strings.Join(st.Disagree, ",") != "b" {
		t.Errorf("%v: %v", err, st.Disagree)
	}
}

// talker is a machine that keeps what its components write.
type talker struct {
	*machine

	log string
}

func (t talker) Logs(context.Context, string, int64) ([]byte, error) { return []byte(t.log), nil }

// talkers opens machines as talkers.
type talkers struct {
	site

	log string
}

func (s talkers) Open(ctx context.Context, spec reconciler.TargetSpec) (reconciler.Target, error) {
	target, err := s.site.Open(ctx, spec)
	if m, ok := target.(*machine); ok {
		return talker{m, s.log}, err
	}
	return nil, err
}

func TestLogTailsAreReadFromTheTargetAndNeverRecorded(t *testing.T) {
	w := newWorld(t, "onFailure: rollback", "onFailure: pause")
	w.reconcile()
	var log strings.Builder
	for i := range 100 {
		fmt.Fprintf(&log, "line %d with password=hunter2\n", i)
	}
	config := w.config("ana", nil)
	config.Targets = talkers{w.machines, log.String()}
	w.Engine = reconciler.New(config)
	w.machines["a"].sick[string(digestOf("b"))] = true
	if out, err := w.deploy("b"); err != nil || out.Deployment.Status == stella.Succeeded {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	trace, err := w.Trace(t.Context(), prod, "prod-2", true)
	if err != nil || len(trace.Logs) != 1 || trace.Logs[0].Target != "a" || trace.Logs[0].Component != "web" {
		t.Fatalf("%v: %+v", err, trace.Logs)
	}
	if text := trace.Logs[0].Text; strings.Count(text, "\n") != 19 || !strings.HasPrefix(text, "line 80 ") || !strings.HasSuffix(text, "line 99 with password=hunter2") {
		t.Errorf("the tail: %s", text)
	}
	if without, err := w.Trace(t.Context(), prod, "prod-2", false); err != nil || len(without.Logs) != 0 {
		t.Errorf("logs that nobody asked for: %v, %v", without.Logs, err)
	}
	b, err := w.Book(t.Context(), prod)
	if err != nil || strings.Contains(fmt.Sprintf("%+v", b), "hunter2") {
		t.Errorf("%v: the ledger has what a component wrote", err)
	}
}
