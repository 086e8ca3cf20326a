package baseline

import (
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// Automatic decides whether a deployment becomes the baseline by itself.
type Automatic struct {
	After      time.Duration // of health; zero: never
	Deployment stella.Deployment
	// Present is the baseline there is; nil for none, and also where the file can
	// not be read: Unreadable then says so, and a person has to look.
	Present    *configrepo.Baseline
	Unreadable bool
	// SickAt is when it was last seen unhealthy or drifted; zero for never.
	SickAt time.Time
	// Drift is what the ledger knows of drift: it outlives who saw it.
	Drift ledger.Drift
	Now   time.Time
}

// Due says whether it may be captured now, and if not, when at the earliest: the
// zero time means never, as things are.
//
// What was agreed to after the deployment was verified stands, whoever agreed to
// it: with another deployment running, somebody chose this one.
func (a Automatic) Due() (now bool, at time.Time) {
	d := a.Deployment
	switch {
	case a.After <= 0 || a.Unreadable || d.Status != stella.Succeeded || d.FinishedAt == nil:
		return false, time.Time{}
	case a.Present != nil && (a.Present.Deployment == d.ID || !a.Present.CapturedAt.Before(*d.FinishedAt)):
		return false, time.Time{}
	case a.Present != nil && a.Present.Tree == d.Tree && a.Present.Desired == d.Desired:
		return false, time.Time{} // it went away from that and came back to it
	}
	since := *d.FinishedAt
	if a.SickAt.After(since) {
		since = a.SickAt
	}
	for _, f := range a.Drift.Ended {
		if f.Ended != stella.EndIgnored && f.EndedAt != nil && f.EndedAt.After(since) {
			since = *f.EndedAt
		}
	}
	at = since.Add(a.After)
	return !a.Now.Before(at), at
}
