package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// healDrift brings back what differs, where the environment asks for it, what is
// in effect is what must be kept, and the limits allow it. Whatever it does not,
// it says.
func (e *Engine) healDrift(ctx context.Context, s *sight, open []stella.DriftFinding, out *Scan) {
	flaps := e.flaps(s.sc.book)
	out.Flapping = e.flapping(ctx, s, flaps)
	if out.Mode != configrepo.DriftHeal {
		return
	}
	rest := besides(open, flaps)
	if len(rest) == 0 {
		out.NotHealed, out.NextHeal = flapWords(out.Flapping), until(out.Flapping)
		return
	}
	kept, v, why := e.keeping(s)
	if why != "" {
		out.NotHealed = why
		return
	}
	if l := s.sc.book.Lock(e.cfg.Now()); l != nil && l.ByHand {
		out.NotHealed, out.NextHeal = fmt.Sprintf("frozen by %s: %s", l.Holder, l.Purpose), l.ExpiresAt.UTC()
		return
	}
	if next, why := drift.NextHeal(heals(s.sc.book), e.cfg.Now()); why != "" {
		out.NotHealed, out.NextHeal = why, next
		return
	}
	done, err := e.heal(ctx, kept.leaving(flaps), v, ReconcileRequest{
		Environment: s.sc.name, Heal: true, Automatic: true, Options: Options{Reason: healReason(rest, s.in.ID)},
	})
	e.healed(ctx, s, done, err, out)
}

// healed says what became of a heal: what it ended is read from the ledger.
func (e *Engine) healed(ctx context.Context, s *sight, done Outcome, err error, out *Scan) {
	if d := done.Deployment; d != nil && d.Kind == stella.KindHeal && !done.Nothing {
		out.Healed = d
		if d.Status != stella.Succeeded {
			out.NotHealed = fmt.Sprintf("%s is %s: %s", d.ID, d.Status, firstLine(d.Error))
		}
	}
	if err != nil {
		out.NotHealed = firstLine(err.Error())
	}
	if out.NotHealed == "" && len(out.Flapping) > 0 {
		out.NotHealed = flapWords(out.Flapping) // what else differed is healed
	}
	book, err := s.sc.ledger.Read(ctx, s.sc.name)
	if err != nil {
		return
	}
	for _, was := range out.Open {
		at := slices.IndexFunc(book.Drift.Ended, func(f stella.DriftFinding) bool {
			return f.Compare(was) == 0 && f.FirstSeen.Equal(was.FirstSeen)
		})
		if at >= 0 {
			out.Ended = append(out.Ended, book.Drift.Ended[at])
		}
	}
	out.found(book.Drift.Open, book.Drift.Uncounted)
	if next, why := drift.NextHeal(heals(book), e.cfg.Now()); why != "" && len(out.Open) > 0 {
		out.NextHeal = next
	}
}

// keeping is the scene in which what is in effect is what is wanted, and the
// verdict of a heal in it; or why nothing is healed. While the branch asks for
// something else that may run, a heal would only come before the deployment that
// brings that. What is held, or can not be read, never runs: then the deployment
// in effect is what must be kept.
func (e *Engine) keeping(s *sight) (*scene, verdict, string) {
	sc := s.sc
	v := sc.decide(false, false)
	heal := verdict{sync: v.sync, kind: stella.KindHeal, restores: &s.in}
	switch {
	case v.act == actNothing, v.act == actSettle:
		return sc, heal, ""
	case v.act == actStop && (v.sync == stella.Held || v.sync == stella.Invalid) && sc.book.State.Current != "":
		return sc.wanting(s.want), heal, ""
	case v.act == actStop:
		return nil, v, v.reason
	}
	return nil, v, v.reason + ": the next pass brings that, and what differs with it"
}

// keep heals an environment whose branch asks for what is held, or for nothing
// that can be read: what is in effect must be kept, and stays what it is.
func (e *Engine) keep(ctx context.Context, sc *scene, held Outcome, req ReconcileRequest) (Outcome, error) {
	if !req.Heal || held.Sync != stella.Held && held.Sync != stella.Invalid || sc.book.State.Current == "" {
		return held, nil
	}
	want, in, err := e.inEffect(ctx, sc)
	if err != nil {
		return held, nil //nolint:nilerr // a held environment is not healed then: it says that it is held
	}
	out, err := e.heal(ctx, sc.wanting(want), verdict{sync: held.Sync, kind: stella.KindHeal, restores: &in}, req)
	if err == nil && out.Nothing {
		return held, nil
	}
	if out.Sync == stella.Synced {
		out.Sync, out.Reason = held.Sync, held.Reason
	}
	return out, err
}

// leaving is the scene with some places left as they are: for this heal, what
// differs in them does not count.
func (sc *scene) leaving(alone []drift.Flap) *scene {
	if len(alone) == 0 {
		return sc
	}
	src := *sc.source
	src.alone = placesOf(alone)
	left := sc.wanting(&src)
	if sc.branch == sc.source {
		left.branch = &src
	}
	return left
}

func placesOf(flaps []drift.Flap) []drift.Place {
	var out []drift.Place
	for _, f := range flaps {
		out = append(out, drift.Place{Target: f.Target, Resource: f.Resource})
	}
	return out
}

// escapePattern makes a pattern of path.Match that only matches the text.
func escapePattern(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// besides are the findings that are not where something flaps.
func besides(open []stella.DriftFinding, flaps []drift.Flap) (rest []stella.DriftFinding) {
	alone := placesOf(flaps)
	for _, f := range open {
		if !slices.Contains(alone, drift.Place{Target: f.Target, Resource: f.Resource}) {
			rest = append(rest, f)
		}
	}
	return rest
}

// maxToldSuspects is how many traces a sentence has; the scan has all.
const maxToldSuspects = 3

func flapWords(flaps []Flapping) string {
	f := flaps[0]
	words := fmt.Sprintf("%s on %s was changed back %d times since %s: it is left alone until it was quiet for an hour, or somebody acts",
		f.Resource, f.Target, f.Times, f.Since.UTC().Format(time.RFC3339))
	if len(f.Suspects) > 0 {
		words += "; who else seems to write it: " + strings.Join(f.Suspects[:min(len(f.Suspects), maxToldSuspects)], "; ")
	}
	if n := len(flaps) - 1; n > 0 {
		words += fmt.Sprintf(" (and %s)", plural(n, "other resource"))
	}
	return safe.Line(words)
}

func until(flaps []Flapping) (first time.Time) {
	for _, f := range flaps {
		if first.IsZero() || f.Until.Before(first) {
			first = f.Until
		}
	}
	return first.UTC()
}

// maxHealReason bounds the reason of a heal.
const maxHealReason = 300

// healReason names what drifted.
func healReason(open []stella.DriftFinding, from string) string {
	const most = 3
	var names []string
	for _, f := range open[:min(most, len(open))] {
		names = append(names, strings.TrimSuffix(fmt.Sprintf("%s %s %s", f.Target, f.Resource, f.Path), " "))
	}
	words := strings.Join(names, ", ")
	if n := len(open) - most; n > 0 {
		words += fmt.Sprintf(" and %d more", n)
	}
	return safe.Clip(fmt.Sprintf("drift from %s: %s", from, words), maxHealReason)
}

// heals are the heals that nobody asked for, as recorded. What is owed today says
// nothing of how one of them ended.
func heals(b ledger.Book) []drift.Heal {
	var out []drift.Heal
	for _, d := range b.Deployments {
		if d.Kind != stella.KindHeal || !d.Automatic || d.FinishedAt == nil {
			continue
		}
		out = append(out, drift.Heal{Began: d.StartedAt, Ended: *d.FinishedAt, OK: d.Status == stella.Succeeded})
	}
	return out
}
