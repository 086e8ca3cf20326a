package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// DiffRequest says what an environment's live state is compared with. At most
// one of Ref, Baseline and With is set; none is what is wanted now.
type DiffRequest struct {
	Environment stella.EnvName
	Ref         string         // a revision of the config repository, or a deployment
	Baseline    bool           // the environment's baseline
	With        stella.EnvName // not live state, but what two environments want
	Explain     bool           // each difference is explained
}

// Diff is how what runs differs from what it is compared with.
type Diff struct {
	Environment stella.EnvName `json:"environment"`
	// Against says what live state is compared with: "desired", a deployment's id,
	// a revision as it was named, "baseline", or the other environment.
	Against    string       `json:"against"`
	Commit     string       `json:"commit"`     // that it was rendered from
	ObservedAt time.Time    `json:"observedAt"` // zero where no target is asked
	Drifted    bool         `json:"drifted"`    // some difference counts
	Targets    []TargetDiff `json:"targets"`    // in environment order
	// Error says why nobody can tell of the whole environment; empty where
	// somebody can.
	Error   string `json:"error"`
	Release string `json:"release"` // version of what it is compared with

	// Standing says how that stands to what was deployed.
	Standing

	Overrides []DeclaredOverride `json:"overrides"` // rendered into what it is compared with: wanted, and no drift
	Owed      []string           `json:"owed"`      // targets that still have to be brought to the deployment in effect
	Expired   []drift.Cover      `json:"expired"`   // ignore rules that ended
	Notes     []string           `json:"notes"`     // what a person should know of the comparison
	// Comparison is that of two environments; nil where live state is compared.
	Comparison *Comparison `json:"comparison"`
}

// TargetDiff is one target's part of a Diff.
type TargetDiff struct {
	Target    string          `json:"target"`
	Reachable bool            `json:"reachable"`
	Error     string          `json:"error"`   // why it could not be read; empty where it could
	Changes   []stella.Change `json:"changes"` // ignored ones are among them
	Notes     []string        `json:"notes"`   // what a person should know of the target
	// Explanations are those of Changes, in their order; empty unless asked for.
	Explanations []drift.Explanation `json:"explanations"`
}

// Unread names the targets that could not be read.
func (d Diff) Unread() []string {
	var names []string
	for _, t := range d.Targets {
		if t.Error != "" {
			names = append(names, t.Target)
		}
	}
	return names
}

// The values of Diff.Against that are no names.
const (
	againstDesired  = "desired"
	againstBaseline = toBaseline
)

// Diff compares what an environment's targets run with what is asked for, or
// what two environments ask for. It changes nothing. A target that can not be
// read is no error: it is in its part.
func (e *Engine) Diff(ctx context.Context, req DiffRequest) (Diff, error) {
	if req.With != "" {
		return e.compareEnvironments(ctx, req)
	}
	sc, err := e.glimpse(ctx, req.Environment)
	if err != nil {
		return Diff{}, err
	}
	want, against, notes, err := e.comparand(ctx, sc, req)
	if err != nil {
		return Diff{}, err
	}
	broken, now := want.invalid, !req.Baseline && req.Ref == ""
	if broken != nil && now {
		// Nobody can tell what is wanted. What runs is still what was deployed, or
		// is not, and the file that is wrong is among those that changed.
		in, d, err := e.inEffect(ctx, sc)
		if err != nil {
			return Diff{}, broken
		}
		want, against = in, d.ID
	} else if broken != nil {
		return Diff{}, broken
	}
	d := e.compareLive(ctx, want, sc.book, against)
	d.Error = sc.lastSeen()
	if broken != nil {
		d.Error = strings.TrimPrefix(d.Error+"; "+broken.Error(), "; ")
	}
	d.Notes = append(d.Notes, notes...)
	if stopped := sc.book.State.Stopped; stopped != nil {
		d.Notes = append(d.Notes, stoppedWords(*stopped))
	}
	if req.Explain {
		d.explain(want.env.Drift.Ignore, d.ObservedAt)
	}
	d.Standing, err = e.stands(ctx, sc, want, now)
	return d, err
}

// comparand is what live state is compared with, what that is called, and what a
// person should know of it.
func (e *Engine) comparand(ctx context.Context, sc *scene, req DiffRequest) (want *source, against string, notes []string, err error) {
	switch {
	case req.Baseline:
		d, err := e.destination(ctx, sc, toBaseline)
		if err != nil {
			return nil, "", nil, err
		}
		want, err := e.asOperated(ctx, sc, d)
		return want, againstBaseline, sharedSince(d, want), err
	case req.Ref != "":
		if d, ok := sc.book.Deployment(req.Ref); ok && d.Tree != "" {
			want, err := e.asOperated(ctx, sc, d)
			return want, d.ID, sharedSince(d, want), err
		}
		at, err := e.revision(ctx, sc, req.Ref)
		if err != nil {
			return nil, "", nil, err
		}
		return at.source, req.Ref, nil, nil
	}
	return sc.source, againstDesired, nil, nil
}

// sharedSince says which shared directories are not as a deployment had them: it
// is compared with today's, as a rollback would leave them.
func sharedSince(d stella.Deployment, want *source) []string {
	var notes []string
	if want == nil {
		return nil
	}
	for _, dir := range sortedKeys(d.Shared) {
		if want.shared[dir] != d.Shared[dir] {
			notes = append(notes, fmt.Sprintf("%s is compared as it is today: it was another one when %s was verified", dir, d.ID))
		}
	}
	return notes
}

// compareLive observes the targets of what is wanted and compares each with its
// part of it. All that looks for drift goes through here.
func (e *Engine) compareLive(ctx context.Context, want *source, book ledger.Book, against string) Diff {
	return e.compareSurvey(e.sites(ctx, want, book), want, book, against)
}

// compareSurvey is compareLive for targets that were observed.
func (e *Engine) compareSurvey(sv *survey, want *source, book ledger.Book, against string) Diff {
	now := sv.at // a rule that ends meanwhile holds for all of it, explanations included
	d := Diff{
		Environment: want.name, Against: against, Commit: string(want.commit), ObservedAt: sv.at.UTC(), Targets: []TargetDiff{},
		Release: want.release.Release.Version, Overrides: declared(want, book, now), Owed: orEmpty(book.State.Owed),
		Expired: covers(drift.Expired(want.env.Drift.Ignore, now), now), Notes: []string{},
	}
	for _, s := range sv.sites {
		t := compareSite(s, want.desired, want.env.Drift.Ignore, now)
		d.Drifted = d.Drifted || drift.Drifted(t.Changes)
		d.Targets = append(d.Targets, t)
	}
	return d
}

// compareSite compares one observed target with what is desired of it.
func compareSite(s *site, desired *configrepo.Desired, ignores []drift.Ignore, now time.Time) TargetDiff {
	t := TargetDiff{Target: s.spec.Name, Changes: []stella.Change{}, Notes: []string{}, Explanations: []drift.Explanation{}}
	if s.err != nil {
		t.Error, t.Reachable = s.err.Error(), !errors.Is(s.err, stella.ErrUnreachable)
		return t
	}
	t.Reachable = true
	if o := s.live.Observed; o != nil {
		t.Notes = append(t.Notes, o.Notes...)
	}
	want, _ := desired.Target(s.spec.Name)
	t.Changes = append(t.Changes, drift.Compare(want, s.live, ignores, now)...)
	return t
}

// explain says of every difference why it is one.
func (d *Diff) explain(ignores []drift.Ignore, now time.Time) {
	for i := range d.Targets {
		t := &d.Targets[i]
		for _, c := range t.Changes {
			t.Explanations = append(t.Explanations, drift.Explain(c, drift.Terms{Ignores: ignores, Now: now, Desired: d.wanting(), Live: "what runs"}))
		}
	}
}

// wanting names what is compared with in a sentence.
func (d *Diff) wanting() string {
	switch d.Against {
	case againstDesired:
		return "what is wanted"
	case againstBaseline:
		return "the baseline"
	}
	return d.Against
}

func covers(rules []drift.Ignore, now time.Time) []drift.Cover {
	out := []drift.Cover{}
	for _, r := range rules {
		out = append(out, r.Cover(now))
	}
	return out
}

// errNothingInEffect is that an environment has no deployment that drift could
// be measured against.
var errNothingInEffect = errors.New("nothing was deployed yet")

// inEffect is what the deployment in effect wants: its app, operated as the
// environment is today, or, where today's environment.yaml can not be read, as
// it was then. Drift is measured against it, and not against the branch: what
// the branch asks for and nobody deployed is no drift.
func (e *Engine) inEffect(ctx context.Context, sc *scene) (*source, stella.Deployment, error) {
	d, ok := sc.book.Current()
	if !ok {
		d, ok = sc.book.Last()
	}
	if !ok || d.Tree == "" {
		return nil, d, fmt.Errorf("environment %s: %w: %w", sc.name, errNothingInEffect, stella.ErrNotFound)
	}
	if d.Tree == string(sc.app) && sc.invalid == nil {
		return sc.source, d, nil
	}
	src, err := e.asOperated(ctx, sc, d)
	return src, d, err
}

// asOperated is what a deployment wants: its app, operated as the environment is
// today, or, where today's environment.yaml can not be read, as it was then.
func (e *Engine) asOperated(ctx context.Context, sc *scene, d stella.Deployment) (*source, error) {
	if sc.branch.env != nil {
		return e.withApp(ctx, sc.branch, d.Commit, d.Tree)
	}
	h, err := e.headAt(ctx, git.ID(d.Commit))
	if err == nil {
		err = e.putSecrets(ctx, h, sc.branch.head, sc.name)
	}
	if err != nil {
		return nil, err
	}
	return e.read(ctx, h, sc.name)
}
