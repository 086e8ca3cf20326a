package cli

import (
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// drifts makes production drift, as the ledger has it.
func (f *fakeEngine) drifts() {
	b := f.books["production"]
	ago := func(d time.Duration) time.Time { return noon().Add(-d) }
	finding := func(target string, id stella.ResourceID, path string, class stella.Class, since time.Duration) stella.DriftFinding {
		return stella.DriftFinding{
			Target: target, Resource: id, Path: path, Class: class, Severity: stella.SeverityWarning,
			FirstSeen: ago(since), LastSeen: ago(since / 2),
		}
	}
	ended := func(f stella.DriftFinding, how stella.DriftEnd, at time.Duration) stella.DriftFinding {
		f.Ended, f.EndedAt = how, new(ago(at))
		f.LastSeen = f.FirstSeen
		return f
	}
	image := finding("web-1", "service/api", "/image", stella.Modified, 3*time.Hour)
	image.Severity = stella.SeverityCritical
	b.Drift = ledger.Drift{
		Sequence: 2, Uncounted: 4,
		Open: []stella.DriftFinding{image, finding("web-2", "config/nginx", "/content", stella.Modified, 20*time.Minute)},
		Ended: []stella.DriftFinding{
			ended(finding("web-1", "service/worker", "", stella.Missing, 9*24*time.Hour), stella.EndWentAway, 9*24*time.Hour-40*time.Second),
			ended(finding("web-1", "service/api", "/environment/LOG_LEVEL", stella.Modified, 5*24*time.Hour), stella.EndAdopted, 2*24*time.Hour),
			ended(finding("a-target-with-a-long-name", "volume/a-volume-with-a-long-name", "", stella.Extra, 26*time.Hour), stella.EndIgnored, 25*time.Hour),
			ended(finding("web-2", "service/api", "/command", stella.Modified, 5*time.Hour), stella.EndHealed, 5*time.Hour-3*time.Second),
		},
	}
	b.State.Summary.Drifted, b.State.Summary.DriftSince = b.Drift.Count(), &b.Drift.Open[0].FirstSeen
	f.books["production"] = b
}
