package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// writeWhy is the page of `why`: the verdict, the reason, and what to do.
func writeWhy(p *page, s reconciler.EnvironmentStatus) {
	writeStatusHead(p, s)
	writeOverrides(p, s.Overrides)
	writeHolds(p, s.Holds)
}

// writeStatus is the page of `orch env status`: the verdict, and each target in
// a line.
func writeStatus(p *page, s reconciler.EnvironmentStatus) {
	writeStatusHead(p, s)
	l := &list{columns: columns("TARGET", "DRIVER", "HEALTH", "SYNC", "DEPLOYMENT", "~RUNNING")}
	for _, t := range s.Targets {
		l.add(text(t.Name), text(t.Driver), styled(styleOfHealth(t.Health), string(t.Health)), styled(styleOfSync(t.Sync), string(t.Sync)),
			text(stickerOf(t).Deployment), text(running(t)))
	}
	p.list("Targets", l)
	for _, t := range s.Targets {
		if why := targetProblem(t); why != "" {
			p.wrapped(term.Bad, indent, t.Name+": "+why)
		}
	}
	writeOverrides(p, s.Overrides)
	writeHolds(p, s.Holds)
}

func writeStatusHead(p *page, s reconciler.EnvironmentStatus) {
	p.line(worse(styleOfSync(s.Sync), styleOfHealth(s.Health)), "%s: %s, %s", s.Environment, s.Sync, s.Health)
	p.fields(
		field{label: "because", value: s.Reason},
		field{label: "waits for", value: s.WaitingFor},
		field{label: "runs", value: runs(p, s)},
		field{label: "wanted", value: wanted(s.Desired)},
		field{label: "last deployment", value: lastDeployment(p, s)},
		field{label: "pinned to", value: pinned(s.Pin), style: term.Warn},
		field{label: "drift", value: driftWords(p, s), style: driftStyle(s.Drift)},
		field{label: "differs", value: differsWords(s)},
		field{label: "rollback", value: readyWords(p, s.Ready), style: readyStyle(s.Ready)},
		field{label: "lock", value: lockWords(p, s.Lock), style: term.Warn},
		field{label: "fetched", value: p.moment(s.FetchedAt)},
		field{label: "observed", value: p.instant(s.ObservedAt)},
		field{label: "next try", value: p.instant(s.NextTry)},
	)
}

// differsWords name the command that shows what an environment is not as wanted
// in; nothing where it is.
func differsWords(s reconciler.EnvironmentStatus) string {
	if s.Sync == stella.Synced && s.Drift.Count == 0 {
		return ""
	}
	return fmt.Sprintf("run 'stella orch env config diff %s' to see in what", s.Environment)
}

// worse is the style that a person must see of the two.
func worse(a, b term.Style) term.Style { return max(a, b) }

func runs(p *page, s reconciler.EnvironmentStatus) string {
	d := s.Current
	if d == nil {
		return "nothing that was verified"
	}
	words := fmt.Sprintf("%s (%s", orDash(d.Release), d.ID)
	if d.FinishedAt != nil {
		words += ", verified " + ago(p.now, *d.FinishedAt)
	}
	return words + ")  " + images(d.Components)
}

func wanted(d reconciler.DesiredSummary) string {
	if d.Commit == "" {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s at commit %s  %s", orDash(d.Release), shortID(d.Commit), images(d.Components)))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// lastDeployment is shown where it is not what runs.
func lastDeployment(p *page, s reconciler.EnvironmentStatus) string {
	d := s.Last
	if d == nil || s.Current != nil && d.ID == s.Current.ID {
		return ""
	}
	words := fmt.Sprintf("%s %s %s, %s", d.ID, d.Kind, d.Status, ago(p.now, d.StartedAt))
	if d.Error != "" {
		words += ": " + d.Error
	}
	return words
}

func pinned(pin *reconciler.Proposal) string {
	if pin == nil {
		return ""
	}
	return fmt.Sprintf("commit %s; %s waits for review", shortID(pin.Commit), pin.Where())
}

// driftWords claims that there is none only where the targets were asked.
func driftWords(p *page, s reconciler.EnvironmentStatus) string {
	d := s.Drift
	switch {
	case d.Count == 0 && s.ObservedAt == nil:
		return "none known"
	case d.Count == 0:
		return "none"
	}
	words := count(d.Count, "difference")
	if d.Since != nil {
		words += " since " + p.moment(*d.Since)
	}
	if d.Mode != "" {
		words += ", mode " + d.Mode
	}
	words += fmt.Sprintf(": run 'stella reconcile %s' to bring it back", s.Environment)
	if d.Flapping > 0 {
		words += fmt.Sprintf("; %s was changed back each time and is left alone, see who writes it in the log of 'stella serve'", count(d.Flapping, "resource"))
	}
	return words
}

func driftStyle(d reconciler.DriftSummary) term.Style {
	if d.Count > 0 {
		return term.Warn
	}
	return term.Plain
}

// readyWords tells what was looked into from what only the ledger says.
func readyWords(p *page, r reconciler.Readiness) string {
	words := "ready"
	if !r.Ready {
		words = "not ready"
	}
	if r.To != "" {
		words += ", to " + r.To
	}
	if r.CheckedAt != nil {
		words += " (checked " + ago(p.now, *r.CheckedAt) + ")"
	} else if r.Ready {
		words += " (by the ledger alone)"
	}
	if len(r.Blockers) > 0 {
		words += ": " + strings.Join(r.Blockers, "; ")
	}
	return words
}

func readyStyle(r reconciler.Readiness) term.Style {
	if r.Ready {
		return term.Good
	}
	return term.Warn
}

func lockWords(p *page, l *reconciler.LockStatus) string {
	if l == nil {
		return ""
	}
	words := fmt.Sprintf("%s by %s since %s", lockKind(*l), l.Holder, p.moment(l.AcquiredAt))
	if l.Purpose != "" {
		words += ": " + l.Purpose
	}
	if l.Stale {
		words += "; stale: " + l.StaleReason
	}
	return words
}

func lockKind(l reconciler.LockStatus) string {
	switch {
	case l.ByHand:
		return "frozen"
	case l.Deployment != "":
		return "held for " + l.Deployment
	}
	return "held"
}

func writeHolds(p *page, holds []stella.Hold) {
	p.list("Holds", holdList(p.now, holds))
}

func holdList(now time.Time, holds []stella.Hold) *list {
	l := &list{columns: columns("HOLD", "ENVIRONMENT", "RELEASE", "FAILED AS", "SINCE", "~BY", "~REASON", "+TREE", "+RESOURCES")}
	for _, h := range holds {
		l.add(text(h.ID), text(string(h.Environment)), text(h.Release), text(h.Deployment), age(now, h.Since), person(h.By), text(h.Reason),
			gitID(h.Tree), text(strings.Join(h.Resources, " ")))
	}
	return l
}

func stickerOf(t reconciler.TargetStatus) stella.Sticker {
	if t.Sticker == nil {
		return stella.Sticker{}
	}
	return *t.Sticker
}

// running lists what was seen to run on a target.
func running(t reconciler.TargetStatus) string {
	var all []string
	for _, c := range t.Components {
		if c.State == stella.RunRunning {
			all = append(all, c.Name+" "+image(c.Running))
		} else {
			all = append(all, c.Name+" "+string(c.State))
		}
	}
	return strings.Join(all, ", ")
}

func targetProblem(t reconciler.TargetStatus) string {
	if t.Error != "" {
		return t.Error
	}
	for _, c := range t.Checks {
		if !c.OK {
			return c.Name + ": " + c.Error
		}
	}
	for _, c := range t.Components {
		if c.State != stella.RunRunning && c.Detail != "" {
			return c.Name + ": " + c.Detail
		}
	}
	return ""
}
