package ledgertest_test

import (
	"errors"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/ledger/ledgertest"
)

func TestMemory(t *testing.T) {
	ledgertest.Run(t, func(*testing.T) func() ledger.Store {
		m := ledgertest.NewMemory()
		return func() ledger.Store { return m.Client() }
	})
}

func deploy(ledger.Book) ([]ledger.Event, error) {
	return []ledger.Event{ledger.Request{Deployment: stella.Deployment{Kind: stella.KindDeploy}}}, nil
}

func TestLostResponseLandsAndLostRequestDoesNot(t *testing.T) {
	m := ledgertest.NewMemory()
	l := ledger.New(m, ledger.Options{Actor: "ana"})
	for _, c := range []struct {
		name  string
		lose  func(int)
		lands bool
	}{
		{"response", m.LoseResponses, true},
		{"request", m.LoseRequests, false},
	} {
		before, err := l.Refresh(t.Context(), "production")
		if err != nil {
			t.Fatal(err)
		}
		c.lose(1)
		_, err = l.Append(t.Context(), "production", deploy)
		if !errors.Is(err, stella.ErrUnreachable) || !errors.Is(err, git.ErrUnknownOutcome) {
			t.Errorf("lost %s: %v, want stella.ErrUnreachable", c.name, err)
		}
		after, err := l.Refresh(t.Context(), "production")
		if err != nil {
			t.Fatal(err)
		}
		if landed := after.State.Transitions > before.State.Transitions; landed != c.lands {
			t.Errorf("lost %s: landed is %v, want %v", c.name, landed, c.lands)
		}
	}
}

func TestRewoundRemoteIsTampering(t *testing.T) {
	m := ledgertest.NewMemory()
	l := ledger.New(m, ledger.Options{Actor: "ana"})
	for range 2 {
		if _, err := l.Append(t.Context(), "production", deploy); err != nil {
			t.Fatal(err)
		}
	}
	m.Rewind("production", 1)
	if _, err := l.Refresh(t.Context(), "production"); !errors.Is(err, stella.ErrTampered) {
		t.Errorf("Refresh: %v, want stella.ErrTampered", err)
	}
	if _, err := l.Append(t.Context(), "production", deploy); err == nil {
		t.Error("Append to a rewound ledger succeeded")
	}
	if _, err := m.Client().Environments(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOfflineClientKeepsItsCache(t *testing.T) {
	m := ledgertest.NewMemory()
	l := ledger.New(m, ledger.Options{Actor: "ana"})
	if _, err := l.Append(t.Context(), "production", deploy); err != nil {
		t.Fatal(err)
	}
	m.SetOffline(true)
	if b, err := l.Read(t.Context(), "production"); err != nil || b.State.Sequence != 1 {
		t.Errorf("Read: %+v, %v", b.State, err)
	}
	if _, err := l.Append(t.Context(), "production", deploy); !errors.Is(err, stella.ErrUnreachable) {
		t.Errorf("Append: %v, want stella.ErrUnreachable", err)
	}
	if m.Saves() != 1 {
		t.Errorf("%d saves, want 1", m.Saves())
	}
}
