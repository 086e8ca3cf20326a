package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// situations are the books that every event is tried on.
func situations(t *testing.T) map[string]*story {
	held := func() ledger.Finish {
		s := newStory(t).begin(stella.Deployment{Kind: stella.KindDeploy, Tree: "a"})
		f := s.finish(stella.Failed)
		f.Hold = &stella.Hold{ID: "hold-1", Tree: "a"}
		return f
	}()
	keep := func(s *story) ledger.Finish {
		f := s.finish(stella.Failed)
		f.KeepLock = true
		return f
	}
	running := func() *story { return newStory(t).begin(stella.Deployment{Tree: "a"}) }
	newer := newStory(t)
	newer.book.State.Rules = ledger.RulesVersion + 1
	kept := running()
	kept.do(keep(kept))
	holding := running()
	held.LockID, held.Deployment.Fence, held.Deployment.StartedAt = holding.lockID(), 1, holding.book.Deployments[0].StartedAt
	holding.do(held)
	return map[string]*story{
		"new":     newStory(t),
		"pending": newStory(t).do(ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}}),
		"running": running(),
		"ended":   newStory(t).deploy("a", stella.Succeeded),
		"frozen":  newStory(t).do(frozen(noon().Add(time.Hour))),
		"thawed":  newStory(t).do(frozen(noon().Add(time.Second))),
		"kept":    kept,
		"held":    holding,
		"pinned": newStory(t).deploy("a", stella.Succeeded).do(
			ledger.PinTo{Pin: stellaPin("production-1", "a")}),
		"newer": newer,
	}
}

func stellaPin(deployment, tree string) ledger.Pin {
	return ledger.Pin{Ref: "refs/heads/stella/rollback/production/production-2", Commit: "c1", Tree: tree, Deployment: deployment}
}

// attempts are the events that are tried on every book.
func attempts() map[string]func(s *story) ledger.Event {
	next := stella.Deployment{Kind: stella.KindDeploy, Tree: "b"}
	first := func(s *story) stella.Deployment {
		d, _ := s.book.Deployment("production-1")
		return d
	}
	end := func(s *story, status stella.Status) stella.Deployment {
		d := first(s)
		d.ID, d.Status, d.FinishedAt = "production-1", status, nil
		return d
	}
	return map[string]func(s *story) ledger.Event{
		"begin":               func(*story) ledger.Event { return ledger.Begin{Deployment: next} },
		"begin, taking over":  func(s *story) ledger.Event { return ledger.Begin{Deployment: next, Takeover: or(s.lockID(), "gone")} },
		"begin, taking other": func(*story) ledger.Event { return ledger.Begin{Deployment: next, Takeover: "other"} },
		"begin the first":     func(*story) ledger.Event { return ledger.Begin{Deployment: withID(next, "production-1", 1)} },
		"begin the ninth":     func(*story) ledger.Event { return ledger.Begin{Deployment: withID(next, "production-9", 9)} },
		"request":             func(*story) ledger.Event { return ledger.Request{Deployment: next} },
		"request the first":   func(*story) ledger.Event { return ledger.Request{Deployment: withID(next, "production-1", 1)} },
		"progress": func(s *story) ledger.Event {
			return ledger.Progress{ID: "production-1", LockID: or(s.lockID(), "gone")}
		},
		"progress, other lock": func(*story) ledger.Event { return ledger.Progress{ID: "production-1", LockID: "other"} },
		"renewal":              func(s *story) ledger.Event { return ledger.Progress{LockID: or(s.lockID(), "gone")} },
		"finish": func(s *story) ledger.Event {
			return ledger.Finish{Deployment: end(s, stella.Succeeded), LockID: or(s.lockID(), "gone"), Current: true}
		},
		"finish, other lock": func(s *story) ledger.Event {
			return ledger.Finish{Deployment: end(s, stella.Succeeded), LockID: "other"}
		},
		"finish, failed and current": func(s *story) ledger.Event {
			return ledger.Finish{Deployment: end(s, stella.Failed), LockID: or(s.lockID(), "gone"), Current: true}
		},
		"finish as running": func(s *story) ledger.Event {
			return ledger.Finish{Deployment: end(s, stella.Running), LockID: or(s.lockID(), "gone")}
		},
		"abort": func(*story) ledger.Event { return ledger.Abort{ID: "production-1", Reason: "no"} },
		"abort with the lock": func(s *story) ledger.Event {
			return ledger.Abort{ID: "production-1", LockID: or(s.lockID(), "gone"), Reason: "no"}
		},
		"abort without reason": func(s *story) ledger.Event { return ledger.Abort{ID: "production-1", LockID: s.lockID()} },
		"freeze":               func(s *story) ledger.Event { return frozen(s.now.Add(time.Hour)) },
		"freeze into the past": func(s *story) ledger.Event { return frozen(s.now.Add(-time.Hour)) },
		"unlock":               func(s *story) ledger.Event { return ledger.Unlock{LockID: or(s.lockID(), "gone")} },
		"unlock as another": func(s *story) ledger.Event {
			return ledger.Unlock{Meta: ledger.Meta{By: "ben"}, LockID: or(s.lockID(), "gone")}
		},
		"unlock by force": func(s *story) ledger.Event {
			return ledger.Unlock{Meta: ledger.Meta{By: "ben"}, LockID: or(s.lockID(), "gone"), Force: true, Reason: "it hangs"}
		},
		"unlock by force, unexplained": func(s *story) ledger.Event { return ledger.Unlock{LockID: or(s.lockID(), "gone"), Force: true} },
		"lift":                         func(*story) ledger.Event { return ledger.Lift{HoldID: "hold-1", Reason: "fixed"} },
		"note":                         func(*story) ledger.Event { return ledger.Note{Summary: ledger.Summary{Sync: stella.Synced}} },
		"pin":                          func(*story) ledger.Event { return ledger.PinTo{Pin: stellaPin("production-1", "a")} },
		"pin to another tree":          func(*story) ledger.Event { return ledger.PinTo{Pin: stellaPin("production-1", "z")} },
		"unpin":                        func(*story) ledger.Event { return ledger.Unpin{} },
	}
}

func withID(d stella.Deployment, id string, sequence int64) stella.Deployment {
	d.ID, d.Sequence = id, sequence
	return d
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// TestEveryEventInEverySituation is the whole of the rules, version 1. A cell
// that changes changes what old transitions mean: that is a new version.
func TestEveryEventInEverySituation(t *testing.T) {
	columns := strings.Fields("new pending running ended frozen thawed kept held pinned newer")
	for name, event := range attempts() {
		var got []string
		for _, c := range columns {
			s := situations(t)[c]
			got = append(got, className(s.try(event(s))))
		}
		if want, ok := rules1[name]; !ok || !slices.Equal(strings.Split(want, "|"), got) {
			t.Errorf("%s:\n got %q\nwant %q\n  of %v", name, strings.Join(got, "|"), want, columns)
		}
	}
	if len(rules1) != len(attempts()) {
		t.Errorf("the table has %d rows for %d events", len(rules1), len(attempts()))
	}
	fmt.Fprintln(t.Output(), "cells:", len(rules1)*len(columns))
}

// rules1 says for each event what comes of it when the ledger is: new, with a
// pending deployment, a running one, one that succeeded, frozen, frozen until a
// moment ago, locked without a deployment, with a hold, pinned, or written by
// newer rules.
var rules1 = map[string]string{
	"begin":                        "ok|ok|locked|ok|frozen|ok|locked|ok|ok|unsupported",
	"begin, taking over":           "conflict|conflict|ok|conflict|frozen|ok|ok|conflict|conflict|unsupported",
	"begin, taking other":          "conflict|conflict|conflict|conflict|frozen|conflict|conflict|conflict|conflict|unsupported",
	"begin the first":              "ok|ok|locked|conflict|frozen|ok|locked|conflict|conflict|unsupported",
	"begin the ninth":              "conflict|conflict|locked|conflict|frozen|conflict|locked|conflict|conflict|unsupported",
	"request":                      "ok|ok|ok|ok|frozen|ok|ok|ok|ok|unsupported",
	"request the first":            "ok|conflict|conflict|conflict|frozen|ok|conflict|conflict|conflict|unsupported",
	"progress":                     "fenced|fenced|ok|fenced|invalid|invalid|conflict|fenced|fenced|unsupported",
	"progress, other lock":         "fenced|fenced|fenced|fenced|fenced|fenced|fenced|fenced|fenced|unsupported",
	"renewal":                      "fenced|fenced|conflict|fenced|invalid|invalid|ok|fenced|fenced|unsupported",
	"finish":                       "fenced|fenced|ok|fenced|invalid|invalid|conflict|fenced|fenced|unsupported",
	"finish, other lock":           "fenced|fenced|fenced|fenced|fenced|fenced|fenced|fenced|fenced|unsupported",
	"finish, failed and current":   "fenced|fenced|invalid|fenced|invalid|invalid|conflict|fenced|fenced|unsupported",
	"finish as running":            "fenced|fenced|invalid|fenced|invalid|invalid|conflict|fenced|fenced|unsupported",
	"abort":                        "not found|ok|locked|conflict|not found|not found|conflict|conflict|conflict|unsupported",
	"abort with the lock":          "not found|ok|ok|conflict|not found|not found|conflict|conflict|conflict|unsupported",
	"abort without reason":         "invalid|invalid|invalid|invalid|invalid|invalid|invalid|invalid|invalid|unsupported",
	"freeze":                       "ok|ok|locked|ok|frozen|ok|locked|ok|ok|unsupported",
	"freeze into the past":         "invalid|invalid|locked|invalid|frozen|invalid|locked|invalid|invalid|unsupported",
	"unlock":                       "fenced|fenced|locked|fenced|ok|ok|ok|fenced|fenced|unsupported",
	"unlock as another":            "fenced|fenced|locked|fenced|frozen|ok|locked|fenced|fenced|unsupported",
	"unlock by force":              "fenced|fenced|ok|fenced|ok|ok|ok|fenced|fenced|unsupported",
	"unlock by force, unexplained": "fenced|fenced|invalid|fenced|invalid|invalid|invalid|fenced|fenced|unsupported",
	"lift":                         "not found|not found|not found|not found|not found|not found|not found|ok|not found|unsupported",
	"note":                         "ok|ok|ok|ok|ok|ok|ok|ok|ok|unsupported",
	"pin":                          "refused|refused|refused|ok|refused|refused|refused|refused|ok|unsupported",
	"pin to another tree":          "refused|refused|refused|refused|refused|refused|refused|refused|refused|unsupported",
	"unpin":                        "not found|not found|not found|not found|not found|not found|not found|not found|ok|unsupported",
}
