package stella

import (
	"cmp"
	"time"
)

// DriftFinding is one difference between what an environment's deployment in
// effect wants and what runs, followed from when it was first seen to when it
// ended. What it is about is told by target, resource, path and class; values
// are never kept. It is a stored format: fields are only ever added.
type DriftFinding struct {
	Target   string     `json:"target"`
	Resource ResourceID `json:"resource"`
	Path     string     `json:"path"` // JSON Pointer into the resource; empty for a whole resource
	Class    Class      `json:"class"`
	Severity Severity   `json:"severity"`
	// FirstSeen is when the scan that opened it observed the target.
	FirstSeen time.Time `json:"firstSeen"`
	// LastSeen is the last time it is known to have been there. A scan that finds
	// nothing new writes nothing, so of one that is open the ledger may know an
	// older one.
	LastSeen time.Time  `json:"lastSeen"`
	EndedAt  *time.Time `json:"endedAt"` // null while it is open
	Ended    DriftEnd   `json:"ended"`   // empty while it is open
}

// Open reports whether the difference was still there when last looked at.
func (f DriftFinding) Open() bool { return f.EndedAt == nil }

// Duration is how long it lasted, or has lasted by now.
func (f DriftFinding) Duration(now time.Time) time.Duration {
	if f.EndedAt != nil {
		now = *f.EndedAt
	}
	return max(0, now.Sub(f.FirstSeen))
}

// Compare orders findings by what they are about: target, resource, path and
// class. It is 0 for two that are about the same difference.
func (f DriftFinding) Compare(o DriftFinding) int {
	return cmp.Or(cmp.Compare(f.Target, o.Target), cmp.Compare(f.Resource, o.Resource), cmp.Compare(f.Path, o.Path), cmp.Compare(f.Class, o.Class))
}

// DriftEnd is how a finding ended.
type DriftEnd string

// The ways a finding ends.
const (
	EndHealed   DriftEnd = "healed"    // a deployment brought it back
	EndAdopted  DriftEnd = "adopted"   // what is wanted took over what runs
	EndIgnored  DriftEnd = "ignored"   // a rule covers it now
	EndWentAway DriftEnd = "went away" // it is not there any more, and it was none of us
)
