package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Drift is what was found to differ from the deployment in effect: drift.json,
// which is there from the first finding on. It is a stored format; fields are
// only ever added.
type Drift struct {
	// Sequence is of the newest deployment when findings were last written.
	Sequence int64 `json:"sequence"`
	// Open are the findings that had not ended, in order of stella.DriftFinding.Compare.
	Open []stella.DriftFinding `json:"open"`
	// Uncounted is how many more differences there were than are in Open.
	Uncounted int `json:"uncounted"`
	// Ended are those that have, in the order in which they did, the newest
	// MaxEndedFindings of them.
	Ended []stella.DriftFinding `json:"ended"`
}

// The bounds of drift.json.
const (
	MaxOpenFindings = 300
	// MaxEndedFindings is enough for all that can be open to be changed back as
	// often as it takes to see that it flaps.
	MaxEndedFindings = 6 * MaxOpenFindings
	MaxDriftBytes    = 16 << 20

	// maxFindingText bounds each text of a finding.
	maxFindingText = 1 << 10
)

// driftDocument is drift.json. It names its environment, as all that is stored.
type driftDocument struct {
	SchemaVersion int            `json:"schemaVersion"`
	Environment   stella.EnvName `json:"environment"`
	Drift
}

// EncodeDrift returns drift.json.
func EncodeDrift(env stella.EnvName, d Drift) ([]byte, error) {
	return encode(driftFile, driftDocument{SchemaVersion: schemaVersion, Environment: env, Drift: normalDrift(d)}, MaxDriftBytes)
}

// DecodeDrift reads drift.json of an environment. Known says that the rules of
// its book are known, so that an unknown field is an error.
func DecodeDrift(env stella.EnvName, data []byte, known bool) (Drift, error) {
	var f driftDocument
	if err := decode(data, MaxDriftBytes, known, &f); err != nil {
		return Drift{}, fmt.Errorf("%s: %w", driftFile, err)
	}
	if err := checkSchema(f.SchemaVersion); err != nil {
		return Drift{}, fmt.Errorf("%s: %w", driftFile, err)
	}
	if f.Environment != env {
		return Drift{}, foreign("%s is of environment %q, not %s", driftFile, safe.Clip(string(f.Environment), 80), env)
	}
	d := normalDrift(f.Drift)
	return d, d.check()
}

func normalDrift(d Drift) Drift {
	d.Open, d.Ended = each(d.Open, normalFinding), each(d.Ended, normalFinding)
	return d
}

func normalFinding(f stella.DriftFinding) stella.DriftFinding {
	f.FirstSeen, f.LastSeen, f.EndedAt = utc(f.FirstSeen), utc(f.LastSeen), utcPtr(f.EndedAt)
	return f
}

func (d Drift) isZero() bool {
	return d.Sequence == 0 && d.Uncounted == 0 && len(d.Open) == 0 && len(d.Ended) == 0
}

// Count is how many differences were last known.
func (d Drift) Count() int { return len(d.Open) + d.Uncounted }

// History are the findings as people read them: those that are open first, then
// the others, the newest first.
func (d Drift) History() []stella.DriftFinding {
	all := append([]stella.DriftFinding{}, d.Open...)
	for _, f := range slices.Backward(d.Ended) {
		all = append(all, f)
	}
	return all
}

// find returns where a finding about the same difference is in Open.
func (d Drift) find(f stella.DriftFinding) (int, bool) {
	return slices.BinarySearchFunc(d.Open, f, stella.DriftFinding.Compare)
}

// check checks what the rules guarantee of every drift.json.
func (d Drift) check() error {
	switch {
	case len(d.Open) > MaxOpenFindings || len(d.Ended) > MaxEndedFindings || d.Uncounted < 0 || d.Sequence < 0:
		return refuse(stella.ErrInvalid, "%s lists too much", driftFile)
	case !slices.IsSortedFunc(d.Open, stella.DriftFinding.Compare):
		return refuse(stella.ErrTampered, "the open findings are not in order")
	}
	for i, f := range d.Open {
		if err := checkFinding(f); err != nil || !f.Open() || i > 0 && d.Open[i-1].Compare(f) == 0 {
			return refuse(stella.ErrTampered, "open finding %d is none", i+1)
		}
	}
	for i, f := range d.Ended {
		if err := checkFinding(f); err != nil || f.Open() {
			return refuse(stella.ErrTampered, "ended finding %d is none", i+1)
		}
	}
	return nil
}

// checkFinding checks a finding by itself. Whether it is open is the caller's
// to know.
func checkFinding(f stella.DriftFinding) error {
	switch {
	case f.Target == "" || f.Resource == "" || len(f.Target)+len(f.Resource)+len(f.Path) > maxFindingText:
		return refuse(stella.ErrInvalid, "a finding wants a target, a resource and a path, of at most %d bytes together", maxFindingText)
	case f.Path != "" && !strings.HasPrefix(f.Path, "/"):
		return refuse(stella.ErrInvalid, "the path of a finding is no JSON Pointer")
	case f.Class != stella.Missing && f.Class != stella.Modified && f.Class != stella.Extra:
		return refuse(stella.ErrInvalid, "a finding of class %q", safe.Clip(string(f.Class), 40))
	case f.Severity != stella.SeverityInfo && f.Severity != stella.SeverityWarning && f.Severity != stella.SeverityCritical:
		return refuse(stella.ErrInvalid, "a finding of severity %q", safe.Clip(string(f.Severity), 40))
	case !storable(f.FirstSeen) || !storable(f.LastSeen) || f.LastSeen.Before(f.FirstSeen):
		return refuse(stella.ErrInvalid, "a finding wants the times at which it was first and last seen, in order")
	case f.EndedAt == nil:
		if f.Ended != "" {
			return refuse(stella.ErrInvalid, "a finding that is open has not ended")
		}
		return nil
	case !storable(*f.EndedAt) || f.EndedAt.Before(f.LastSeen):
		return refuse(stella.ErrInvalid, "a finding ended before it was last seen")
	}
	switch f.Ended {
	case stella.EndHealed, stella.EndAdopted, stella.EndIgnored, stella.EndWentAway:
		return nil
	}
	return refuse(stella.ErrInvalid, "a finding ended as %q", safe.Clip(string(f.Ended), 40))
}
