package ledger

import (
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// rules2 adds findings of drift and environments that were stopped on purpose to
// rules 1. What else ends being stopped, see unverified and settle, means nothing
// by rules 1, where it never began.
func (d *draft) rules2(e Event) error {
	switch e := e.(type) {
	case Found:
		return d.found(e)
	case Note:
		if err := d.stop(e.Stopped); err != nil {
			return err
		}
		if err := d.note(e); err != nil {
			return err
		}
		d.countDrift() // whoever wrote the note had an older count
		return nil
	case Finish:
		was := d.State.Current
		if err := d.finish(e); err != nil {
			return err
		}
		if brokenHeal(e.Deployment) {
			d.State.Current = was
		}
		return nil
	default:
		return d.rules1(e)
	}
}

// brokenHeal reports whether a heal came to its end and did not bring back what
// it was to. What it goes back to was verified and stays what is in effect: what
// differs from it still is drift, to be seen and brought back like any other.
func brokenHeal(r stella.Deployment) bool {
	return r.Kind == stella.KindHeal && (r.Status == stella.Failed || r.Status == stella.Partial)
}

func (d *draft) stop(s *Stopped) error {
	switch {
	case s == nil:
		return nil
	case s.How != "stopped" && s.How != "deleted", s.By == "", !storable(s.At):
		return refuse(stella.ErrInvalid, "being stopped wants how, by whom and when")
	}
	d.State.Stopped = s
	return nil
}

// found brings the findings up to date. Two that look at the same time write one
// after the other: the second one opens what is open, or ends what has ended, and
// is refused.
func (d *draft) found(e Found) error {
	if r, busy := d.Running(); busy {
		return refuse(stella.ErrConflict, "%s runs: what is seen half way is no drift", r.ID)
	}
	if e.Sequence < 1 {
		return refuse(stella.ErrInvalid, "nothing was deployed yet that could drift")
	}
	if e.Sequence != d.State.Sequence {
		return refuse(stella.ErrConflict, "what was seen is of deployment %d, and the newest is %d", e.Sequence, d.State.Sequence)
	}
	if len(e.Opened) == 0 && len(e.Ended) == 0 && e.Uncounted == d.Drift.Uncounted {
		return refuse(stella.ErrInvalid, "nothing began and nothing ended")
	}
	next := Drift{Sequence: e.Sequence, Uncounted: e.Uncounted, Open: slices.Clone(d.Drift.Open), Ended: slices.Clone(d.Drift.Ended)}
	for _, f := range e.Ended {
		if err := next.end(f); err != nil {
			return err
		}
	}
	next.saw(e)
	for _, f := range e.Opened {
		if err := next.begin(f); err != nil {
			return err
		}
	}
	next.Ended = next.Ended[max(0, len(next.Ended)-MaxEndedFindings):]
	if err := next.check(); err != nil {
		return refuse(stella.ErrInvalid, "%s", err)
	}
	d.Drift = normalDrift(next)
	d.countDrift()
	return nil
}

// countDrift makes the summary say what drift.json says, so that the two never
// contradict each other.
func (d *draft) countDrift() {
	s := &d.State.Summary
	s.Drifted, s.DriftSince = d.Drift.Count(), nil
	for _, f := range d.Drift.Open {
		if s.DriftSince == nil || f.FirstSeen.Before(*s.DriftSince) {
			first := f.FirstSeen
			s.DriftSince = &first
		}
	}
}

func (d *Drift) end(f stella.DriftFinding) error {
	i, ok := d.find(f)
	if !ok || !d.Open[i].FirstSeen.Equal(f.FirstSeen) {
		return refuse(stella.ErrConflict, "no finding on %s of %s is open since then", safe.Clip(string(f.Resource)+f.Path, 200), safe.Clip(f.Target, 80))
	}
	if err := checkFinding(f); err != nil {
		return err
	}
	if f.Open() {
		return refuse(stella.ErrInvalid, "a finding that ends wants to have ended")
	}
	f.Severity = d.Open[i].Severity
	d.Open = slices.Delete(d.Open, i, i+1)
	d.Ended = append(d.Ended, f)
	return nil
}

func (d *Drift) begin(f stella.DriftFinding) error {
	if err := checkFinding(f); err != nil {
		return err
	}
	i, open := d.find(f)
	switch {
	case !f.Open():
		return refuse(stella.ErrInvalid, "a finding that begins has ended")
	case open:
		return refuse(stella.ErrConflict, "the finding on %s of %s is open already", safe.Clip(string(f.Resource)+f.Path, 200), safe.Clip(f.Target, 80))
	case len(d.Open) >= MaxOpenFindings:
		return refuse(stella.ErrInvalid, "more than %d findings are open", MaxOpenFindings)
	}
	d.Open = slices.Insert(d.Open, i, f)
	return nil
}

// saw brings forward when what stays open was last seen. Of what is in a resource
// that differs as a whole nothing was.
func (d *Drift) saw(e Found) {
	type place struct {
		target   string
		resource stella.ResourceID
	}
	whole := map[place]bool{}
	for _, f := range slices.Concat(d.Open, e.Opened) {
		if f.Path == "" {
			whole[place{f.Target, f.Resource}] = true
		}
	}
	for i, f := range d.Open {
		if f.Path != "" && whole[place{f.Target, f.Resource}] {
			continue
		}
		if storable(e.SeenAt) && e.SeenAt.After(f.LastSeen) && slices.Contains(e.Seen, f.Target) {
			d.Open[i].LastSeen = e.SeenAt
		}
	}
}
