package quickstart

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// act is one scene of the story.
type act struct {
	version string
	title   string
	// good: it is verified; otherwise it is rejected and the environment goes
	// back.
	good bool
}

func acts() []act {
	return []act{
		{"1.0.0", "A first release", true},
		{"1.1.0", "An upgrade, one target after the other", true},
		{"1.2.0", "A bad release: it starts, and its health check fails", false},
	}
}

// tell plays the acts that were not played yet.
func (s *stage) tell(ctx context.Context) error {
	book, err := s.engine.Book(ctx, Environment)
	if err != nil {
		return err
	}
	fresh := len(book.Deployments) == 0
	if !fresh {
		if err := s.goOn(ctx); err != nil {
			return err
		}
		if book, err = s.engine.Book(ctx, Environment); err != nil {
			return err
		}
	}
	for i, a := range acts() {
		if played(book, a) {
			continue
		}
		s.line("\n%d. %s", i+1, a.title)
		if err := s.play(ctx, a); err != nil {
			return err
		}
	}
	s.line("\nWhat everybody says now")
	return s.witnesses(ctx)
}

// played reports whether the ledger has seen an act end.
func played(b ledger.Book, a act) bool {
	for _, d := range b.Deployments {
		if d.Kind == stella.KindDeploy && d.Release == a.version && (d.Status == stella.Succeeded || !a.good && d.Status != stella.Aborted && !d.Status.Open()) {
			return true
		}
	}
	return false
}

// goOn brings an earlier story's environment back to what Git says.
func (s *stage) goOn(ctx context.Context) error {
	s.say("going on where the last start ended")
	out, err := s.engine.Reconcile(ctx, reconciler.ReconcileRequest{
		Environment: Environment, Retry: true, Heal: true, Options: reconciler.Options{Reason: "quickstart goes on"},
	})
	if err != nil {
		return err
	}
	if out.Deployment != nil {
		s.say("production runs %s again (%s)", out.Deployment.Release, out.Deployment.ID)
	}
	return nil
}

func (s *stage) play(ctx context.Context, a act) error {
	if a.version == acts()[0].version {
		return s.first(ctx)
	}
	image := s.props.images(a.version)
	s.line("   $ stella deploy production --artifact %s", image)
	out, err := s.engine.Deploy(ctx, reconciler.DeployRequest{
		Environment: Environment, Artifacts: map[string]stella.Artifact{"": image}, Version: a.version,
		Options: reconciler.Options{Reason: "quickstart: " + strings.ToLower(a.title)},
	})
	switch {
	case err != nil:
		return err
	case out.Deployment == nil:
		return fmt.Errorf("deploy %s: nothing happened", a.version)
	case a.good && out.Deployment.Status != stella.Succeeded:
		return fmt.Errorf("deploy %s: %s ended %s: %s", a.version, out.Deployment.ID, out.Deployment.Status, out.Deployment.Error)
	case !a.good && (out.Rollback == nil || out.Rollback.Status != stella.Succeeded):
		return fmt.Errorf("deploy %s: it was to be rejected and rolled back, and was not: %s ended %s", a.version, out.Deployment.ID, out.Deployment.Status)
	}
	return nil
}

// first brings up what the config repository asks for from the start.
func (s *stage) first(ctx context.Context) error {
	s.line("   $ stella reconcile production")
	out, err := s.engine.Reconcile(ctx, reconciler.ReconcileRequest{
		Environment: Environment, Retry: true, Options: reconciler.Options{Reason: "quickstart: a first release"},
	})
	if err == nil && (out.Deployment == nil || out.Deployment.Status != stella.Succeeded) {
		err = fmt.Errorf("the first release was not verified: %s", out.Reason)
	}
	return err
}

// hear turns the engine's events into a few calm lines.
func (s *stage) hear(ev reconciler.Event) {
	s.metrics.Notify(ev)
	switch ev := ev.(type) {
	case reconciler.Started:
		if ev.Deployment.Kind == stella.KindRollback {
			s.say("%s: back to %s, as a Git revert", ev.Deployment.ID, ev.Deployment.Restores)
		}
	case reconciler.StepEnded:
		s.step(ev)
	case reconciler.Ended:
		d := ev.Deployment
		s.say("%s: %s %s %s in %.1fs", d.ID, d.Kind, d.Release, d.Status, d.DurationSeconds)
	case reconciler.Warned:
		s.say("%s", ev.Text)
	}
}

// step tells the steps that matter to somebody who watches: which target was
// changed, and what verification said.
func (s *stage) step(ev reconciler.StepEnded) {
	switch {
	case ev.Step.Status == stella.StepFailed:
		text, _, _ := strings.Cut(ev.Step.Error, "\n")
		s.say("%s: %s %s failed: %s", ev.Deployment, ev.Step.Name, ev.Step.Target, text)
	case ev.Step.Name == stella.StepVerify:
		s.say("%s: %s verified (%.1fs)", ev.Deployment, ev.Step.Target, ev.Step.DurationSeconds)
	case ev.Step.Name == stella.StepApply:
		s.say("%s: %s changed", ev.Deployment, ev.Step.Target)
	}
}

// witnesses shows that Git, the ledger, the stickers and the processes agree.
func (s *stage) witnesses(ctx context.Context) error {
	st, err := s.engine.RollbackStatus(ctx, Environment, "")
	if err != nil {
		return err
	}
	s.line("   $ stella rollback status production")
	s.say("git        commit %.12s, app tree %.12s: %s", st.Witnesses.Git.Commit, st.Witnesses.Git.Tree, agrees(st.Witnesses.Git.OK))
	s.say("ledger     %s is in effect: %s", st.Witnesses.Ledger.Deployment, agrees(st.Witnesses.Ledger.OK))
	for _, t := range st.Witnesses.Targets {
		s.say("%-10s sticker %s, web runs %s: %s", t.Name, t.Sticker.Deployment, stella.Digest(t.Running["web"]).Short(), agrees(t.OK))
	}
	if !st.Agrees {
		return fmt.Errorf("the witnesses disagree: %w", stella.ErrUnhealthy)
	}
	return nil
}

func agrees(ok bool) string {
	if ok {
		return "agrees"
	}
	return "DISAGREES"
}

// commands is the page of what to try next.
func (s *stage) commands() {
	if s.props.Docker != nil {
		s.commandsOnEngine()
		return
	}
	s.line(`
Try it from another terminal:

  export PATH=%[6]s:$PATH
  export STELLA_REPO=%[1]s
  export STELLA_STATE=%[2]s
  export STELLA_HOST_ROOTS=%[3]s

  curl http://127.0.0.1:%[4]d/
  stella orch env status production --detailed    what runs, and who says so
  stella orch deployments list production         the history, from Git
  stella rollback trace production                how the rollback went, step by step
  stella orch holds list                          why 1.2.0 does not come back
  stella orch env config diff production          what runs beside what is wanted: nothing differs
  stella why production                           why this runs, and what it waits for
  stella plan production                          what a pass would change: nothing
  stella rollback production --dry-run            what going back once more would do
  stella deploy production --artifact %[5]s
  git -C %[1]s log --stat main`,
		s.path("config.git"), s.path("state"), s.path("hosts"), s.props.TargetPorts[0], s.props.images("1.0.0"),
		filepath.Dir(s.cfg.Executable))
}
