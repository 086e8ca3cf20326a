package ledger

import (
	"time"

	"github.com/stella-ops/stella"
)

// What is stored has one spelling: lists and maps are never null, times are
// UTC without a monotonic reading. Then what was applied in memory and what is
// replayed from the files are the same value.

func list[E any](s []E) []E {
	if s == nil {
		return []E{}
	}
	return s
}

func dict[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// utc returns the zero time for what RFC 3339 can not write in UTC.
func utc(t time.Time) time.Time {
	u := t.UTC().Round(0)
	if u.IsZero() || u.Year() < 0 || u.Year() > 9999 {
		return time.Time{}
	}
	return u
}

func utcPtr(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := utc(*t)
	return &u
}

func normalState(s State) State {
	s.At = utc(s.At)
	if s.Lock != nil {
		l := normalLock(*s.Lock)
		s.Lock = &l
	}
	s.Holds = each(s.Holds, normalHold)
	s.Machines = dict(s.Machines)
	s.Summary = normalSummary(s.Summary)
	s.Owed = list(s.Owed)
	if s.Pin != nil {
		p := normalPin(*s.Pin)
		s.Pin = &p
	}
	s.FailedCommits = each(s.FailedCommits, func(f FailedCommit) FailedCommit {
		f.At = utc(f.At)
		return f
	})
	s.Stopped = normalStopped(s.Stopped)
	return s
}

func normalStopped(s *Stopped) *Stopped {
	if s == nil {
		return nil
	}
	n := *s
	n.At = utc(n.At)
	return &n
}

// each maps a list into a new one that is never nil.
func each[E any](s []E, f func(E) E) []E {
	out := make([]E, len(s))
	for i, e := range s {
		out[i] = f(e)
	}
	return out
}

func normalSummary(s Summary) Summary {
	s.At, s.DriftSince, s.Blockers, s.ReadyAt = utc(s.At), utcPtr(s.DriftSince), list(s.Blockers), utcPtr(s.ReadyAt)
	return s
}

func normalPin(p Pin) Pin {
	p.Since = utc(p.Since)
	return p
}

func normalLock(l stella.Lock) stella.Lock {
	l.AcquiredAt, l.RenewedAt, l.ExpiresAt = utc(l.AcquiredAt), utc(l.RenewedAt), utc(l.ExpiresAt)
	return l
}

func normalHold(h stella.Hold) stella.Hold {
	h.Since, h.Resources = utc(h.Since), list(h.Resources)
	return h
}

func normalHoldPtr(h *stella.Hold) *stella.Hold {
	if h == nil {
		return nil
	}
	n := normalHold(*h)
	return &n
}

func normalDeployment(d stella.Deployment) stella.Deployment {
	d.StartedAt, d.FinishedAt = utc(d.StartedAt), utcPtr(d.FinishedAt)
	d.Shared, d.Components = dict(d.Shared), dict(d.Components)
	d.Reverts, d.Forced = list(d.Reverts), list(d.Forced)
	d.Targets = normalTargets(d.Targets)
	d.Steps = normalSteps(d.Steps)
	return d
}

func normalTargets(targets []stella.TargetResult) []stella.TargetResult {
	return each(targets, func(t stella.TargetResult) stella.TargetResult {
		t.Before, t.After = dict(t.Before), dict(t.After)
		return t
	})
}

func normalSteps(steps []stella.Step) []stella.Step {
	return each(steps, func(s stella.Step) stella.Step {
		s.StartedAt, s.Detail = utc(s.StartedAt), dict(s.Detail)
		return s
	})
}

// normalEvent keeps the difference between nil and empty where it means
// something: in Progress and Abort nil lists are "unchanged".
func normalEvent(e Event) Event {
	m := e.meta()
	m.At = utc(m.At)
	switch e := e.withMeta(m).(type) {
	case Begin:
		e.Deployment, e.Lock, e.Includes = normalDeployment(e.Deployment), normalLock(e.Lock), list(e.Includes)
		return e
	case Request:
		e.Deployment = normalDeployment(e.Deployment)
		return e
	case Progress:
		e.ExpiresAt = utc(e.ExpiresAt)
		if e.Steps != nil {
			e.Steps = normalSteps(e.Steps)
		}
		if e.Targets != nil {
			e.Targets = normalTargets(e.Targets)
		}
		return e
	case Finish:
		e.Deployment = normalDeployment(e.Deployment)
		e.Hold = normalHoldPtr(e.Hold)
		return e
	case Abort:
		if e.Targets != nil {
			e.Targets = normalTargets(e.Targets)
		}
		return e
	case Lock:
		e.Lock = normalLock(e.Lock)
		return e
	case Note:
		e.Summary, e.Machines, e.Forget = normalSummary(e.Summary), dict(e.Machines), list(e.Forget)
		e.Stopped = normalStopped(e.Stopped)
		return e
	case Found:
		e.Opened, e.Ended = each(e.Opened, normalFinding), each(e.Ended, normalFinding)
		e.Seen, e.SeenAt = list(e.Seen), utc(e.SeenAt)
		return e
	case PinTo:
		e.Pin, e.Hold = normalPin(e.Pin), normalHoldPtr(e.Hold)
		return e
	default:
		return e
	}
}
