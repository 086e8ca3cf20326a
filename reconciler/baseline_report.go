package reconciler

import (
	"maps"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/baseline"
	"github.com/stella-ops/stella/configrepo"
)

// BaselineFile is what baselines/NAME.yaml says.
type BaselineFile struct {
	Environment stella.EnvName    `json:"environment"`
	Deployment  string            `json:"deployment"`
	Commit      string            `json:"commit"`
	Tree        string            `json:"tree"`
	Release     string            `json:"release"`
	Components  map[string]string `json:"components"` // component → image with digest
	Shared      map[string]string `json:"shared"`     // shared directory → tree id
	Desired     stella.Digest     `json:"desired"`
	CapturedAt  time.Time         `json:"capturedAt"`
	CapturedBy  string            `json:"capturedBy"`
	Reason      string            `json:"reason"`
}

func baselineFile(b configrepo.Baseline) *BaselineFile {
	f := &BaselineFile{
		Environment: b.Environment, Deployment: b.Deployment, Commit: b.Commit, Tree: b.Tree, Release: b.Release, Desired: b.Desired,
		CapturedAt: b.CapturedAt, CapturedBy: b.CapturedBy, Reason: b.Reason, Components: map[string]string{}, Shared: map[string]string{},
	}
	for name, a := range b.Components {
		f.Components[name] = a.String()
	}
	maps.Copy(f.Shared, b.Shared)
	return f
}

// CapturedBaseline is how a capture ended.
type CapturedBaseline struct {
	Environment stella.EnvName `json:"environment"`
	Baseline    *BaselineFile  `json:"baseline"` // null where it was refused
	Replaces    *BaselineFile  `json:"replaces"` // what was the baseline before; null for none, or one that could not be read
	Nothing     bool           `json:"nothing"`  // it is the baseline already
	Commit      string         `json:"commit"`   // that it was written with; empty for none
	Proposal    *Proposal      `json:"proposal"`
	// Plan is what was planned, with everything that was refused.
	Plan *Plan `json:"-"`
}

// BaselineReport is what every witness says of an environment's baseline.
type BaselineReport struct {
	Environment stella.EnvName `json:"environment"`
	Baseline    *BaselineFile  `json:"baseline"` // null where there is none that can be read
	// OK: every witness that was asked agrees, so that it can be gone back to.
	OK        bool              `json:"ok"`
	Unknown   bool              `json:"unknown"`  // a witness could not be asked
	Findings  []string          `json:"findings"` // why it is not OK
	Witnesses []BaselineWitness `json:"witnesses"`
	InEffect  bool              `json:"inEffect"` // its app is what the deployment in effect brought
	// AgeSeconds is how long ago it was captured.
	AgeSeconds float64 `json:"ageSeconds"`
	// Error says why nobody can tell anything; empty where somebody can.
	Error string `json:"error"`
}

// BaselineWitness is what one of those who know says of a baseline.
type BaselineWitness struct {
	Name    string `json:"name"` // file, commit, tree, ledger, release, desired, today, a shared directory, an image
	OK      bool   `json:"ok"`
	Unknown bool   `json:"unknown"` // it could not be asked
	Why     string `json:"why"`     // what it says; there may be more to know where it agrees
}

// hear puts what witnesses said into a report.
func (r *BaselineReport) hear(all []baseline.Witness) {
	r.OK, r.Unknown = baseline.Verdict(all)
	r.Findings, r.Witnesses = baseline.Findings(all), []BaselineWitness{}
	for _, w := range all {
		r.Witnesses = append(r.Witnesses, BaselineWitness(w))
	}
}

// BaselineEntry is one baseline, as a commit of the branch wrote it.
type BaselineEntry struct {
	Environment stella.EnvName `json:"environment"`
	Baseline    *BaselineFile  `json:"baseline"` // null where the commit removed it, or it can not be read
	Commit      string         `json:"commit"`   // that wrote it; empty where nobody looked
	Author      string         `json:"author"`   // of that commit
	At          time.Time      `json:"at"`       // when it was written, by its author's clock
	Removed     bool           `json:"removed"`  // the commit took it away
	Error       string         `json:"error"`    // why it can not be read
}

// BaselineDiff is what changed between an environment's baseline and what its
// branch asks for.
type BaselineDiff struct {
	Environment stella.EnvName    `json:"environment"`
	Baseline    *BaselineFile     `json:"baseline"`
	Commit      string            `json:"commit"` // of the branch
	Same        bool              `json:"same"`
	Release     ValueChange       `json:"release"`
	Components  []ComponentChange `json:"components"` // those that differ, by name
	Files       []FileChange      `json:"files"`      // of the app
	Shared      []SharedChange    `json:"shared"`     // directories that differ
	// Commits changed the app since, newest first.
	Commits []CommitSummary `json:"commits"`
	More    bool            `json:"more"` // there are more commits than these
}

// ValueChange is a value then and now.
type ValueChange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// ComponentChange is a component's image then and now; empty where it has none.
type ComponentChange struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

// SharedChange is a shared directory's tree then and now.
type SharedChange struct {
	Directory string `json:"directory"`
	From      string `json:"from"`
	To        string `json:"to"`
}

// CommitSummary is a config commit in a line.
type CommitSummary struct {
	Commit  string    `json:"commit"`
	Subject string    `json:"subject"`
	Author  string    `json:"author"`
	At      time.Time `json:"at"` // when it was written, by its author's clock
}

// AutomaticBaseline is what a look for due baselines found out about one
// environment.
type AutomaticBaseline struct {
	Environment stella.EnvName
	Deployment  string        // in effect
	Captured    *BaselineFile // by this look; nil for not
	Proposal    *Proposal     // that it waits on, where the branch refused it
	DueAt       time.Time     // when it becomes due if it stays healthy; zero for never
	Blockers    []Finding     // why its time begins anew
	Error       string        // why nobody can tell
}
