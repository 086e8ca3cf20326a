package reconciler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// TestAllThatCanBeOpenIsSeenToFlap: as much of the past is kept as it takes, where
// everything is changed back at the same time.
func TestAllThatCanBeOpenIsSeenToFlap(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var past, open []stella.DriftFinding
	for round := range 2 * drift.FlapTimes {
		began := start.Add(time.Duration(round) * 30 * time.Second)
		over := began.Add(time.Second)
		open = nil
		for i := range ledger.MaxOpenFindings {
			f := stella.DriftFinding{Target: "a", Resource: stella.ResourceID(fmt.Sprintf("service/%03d", i)), FirstSeen: began, LastSeen: began}
			open = append(open, f)
			f.EndedAt, f.Ended = &over, stella.EndHealed
			past = append(past, f)
		}
	}
	past = past[:len(past)-len(open)] // the last round is open
	kept := past[max(0, len(past)-ledger.MaxEndedFindings):]
	now := open[0].FirstSeen.Add(time.Second)
	if got := drift.Flaps(append(open, kept...), time.Time{}, now); len(got) != ledger.MaxOpenFindings {
		t.Errorf("%d of %d are seen to flap", len(got), ledger.MaxOpenFindings)
	}
}

// TestWhatIsRecordedGoesByOneClock: limits and flapping compare it with now.
func TestWhatIsRecordedGoesByOneClock(t *testing.T) {
	w := drifting(t, "heal")
	const ahead = 1000 * time.Hour
	cfg := w.config("bob", nil)
	cfg.Now = func() time.Time { return time.Now().Add(ahead) }
	w.Engine = reconciler.New(cfg)
	w.kill("a")
	w.machines["a"].panics = "prepare"
	s := w.scan()
	if s.Healed == nil || s.Healed.FinishedAt == nil || time.Until(s.Healed.StartedAt) < ahead/2 || time.Until(*s.Healed.FinishedAt) < ahead/2 {
		t.Fatalf("healed %+v, not healed %q", s.Healed, s.NotHealed)
	}
	if at := w.book().State.Summary.At; time.Until(at) < ahead/2 {
		t.Errorf("the summary is of %v", at)
	}
	// It did not work, and by the same clock it is too early for the next one.
	if again := w.scan(); again.Healed != nil || time.Until(again.NextHeal) < ahead/2 {
		t.Errorf("healed %+v, not healed %q, next %v", again.Healed, again.NotHealed, again.NextHeal)
	}
}
