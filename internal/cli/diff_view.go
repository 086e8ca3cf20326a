package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// writeDiff is the page of a comparison of live state.
func writeDiff(p *page, d reconciler.Diff, explain bool) {
	explain = explain || p.wide
	found := sumUp(d.Targets)
	p.wrapped(styleOfDiff(d, found), "", diffTitle(d, found))
	p.fields(
		field{label: "against", value: againstWords(d)},
		field{label: "sync", value: syncWords(d), style: styleOfSync(d.Sync)},
		field{label: "severity", value: found.severities()},
		field{label: "owed", value: owedWords(d), style: term.Warn},
		field{label: "observed", value: p.moment(d.ObservedAt)},
	)
	for _, n := range d.Notes {
		p.wrapped(term.Warn, indent, "note: "+n)
	}
	for _, group := range groupTargets(d.Targets) {
		writeTargets(p, group, explain)
	}
	writeFiles(p, d)
	writeOverrides(p, d.Overrides)
	writeExpired(p, d.Expired)
}

// tally counts what was found.
type tally struct {
	counted, ignored int // differences, over all targets
	differ, unread   int // targets
	targets          int
	by               map[stella.Severity]int // counted ones
}

func sumUp(targets []reconciler.TargetDiff) tally {
	n := tally{targets: len(targets), by: map[stella.Severity]int{}}
	for _, t := range targets {
		before := n.counted
		for _, c := range t.Changes {
			if c.Ignored {
				n.ignored++
				continue
			}
			n.counted++
			n.by[c.Severity]++
		}
		if n.counted > before {
			n.differ++
		}
		if t.Error != "" {
			n.unread++
		}
	}
	return n
}

// severities says how many differences are of which severity.
func (n tally) severities() string {
	var all []string
	for _, s := range []stella.Severity{stella.SeverityCritical, stella.SeverityWarning, stella.SeverityInfo} {
		if n.by[s] > 0 {
			all = append(all, fmt.Sprintf("%d %s", n.by[s], s))
		}
	}
	return strings.Join(all, ", ")
}

func diffTitle(d reconciler.Diff, n tally) string {
	var what []string
	switch {
	case d.Error != "":
		what = append(what, "could not tell what is wanted: "+d.Error)
	case n.counted == 0 && n.unread == n.targets && n.targets > 0:
	case n.counted == 0:
		what = append(what, "no difference on "+count(n.targets-n.unread, "target"))
	}
	if n.counted > 0 {
		what = append(what, fmt.Sprintf("%s on %d of %s", count(n.counted, "difference"), n.differ, count(n.targets, "target")))
	}
	if n.unread > 0 {
		what = append(what, count(n.unread, "target")+" could not be read")
	}
	if len(d.Files) > 0 {
		verb := " differ from "
		if len(d.Files) == 1 {
			verb = " differs from "
		}
		what = append(what, count(len(d.Files), "file")+verb+d.Deployment)
	}
	if d.OutOfSync && n.counted == 0 && len(d.Files) == 0 && d.Error == "" {
		what = append(what, "and yet it is not what was verified last")
	}
	return fmt.Sprintf("%s: %s", d.Environment, strings.Join(what, "; "))
}

func styleOfDiff(d reconciler.Diff, n tally) term.Style {
	switch {
	case d.Error != "" || n.unread > 0 || n.by[stella.SeverityCritical] > 0:
		return term.Bad
	case d.Drifted || d.OutOfSync:
		return term.Warn
	}
	return term.Good
}

// againstWords say what live state is compared with.
func againstWords(d reconciler.Diff) string {
	what := d.Against
	switch d.Against {
	case "desired":
		what = "what is wanted now"
	case "baseline":
		what = "the baseline"
	}
	if d.Release != "" {
		what += ", release " + d.Release
	}
	return what + ", commit " + shortID(d.Commit)
}

// syncWords say where the environment stands, where that is worth a line.
func syncWords(d reconciler.Diff) string {
	if d.Against != "desired" && d.Error == "" || d.Sync == stella.Synced && d.Reason == "" {
		return ""
	}
	return strings.TrimSuffix(fmt.Sprintf("%s: %s", d.Sync, d.Reason), ": ")
}

func owedWords(d reconciler.Diff) string {
	if len(d.Owed) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: not brought to the deployment in effect yet", strings.Join(d.Owed, ", "))
}

// groupTargets puts targets with equal differences together: those that could
// not be read, those that differ, those that do not.
func groupTargets(targets []reconciler.TargetDiff) [][]reconciler.TargetDiff {
	var groups [][]reconciler.TargetDiff
	at := map[string]int{}
	for _, t := range targets {
		key := t.Error
		if text, err := json.Marshal(t.Changes); err == nil {
			key += "\x00" + string(text)
		}
		i, known := at[key]
		if !known {
			i = len(groups)
			at[key], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], t)
	}
	rank := func(g []reconciler.TargetDiff) int {
		switch {
		case g[0].Error != "":
			return 0
		case slices.ContainsFunc(g[0].Changes, counts):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(groups, func(a, b []reconciler.TargetDiff) int { return rank(a) - rank(b) })
	return groups
}

// writeTargets writes the part of targets that are equal.
func writeTargets(p *page, group []reconciler.TargetDiff, explain bool) {
	var names []string
	for _, t := range group {
		names = append(names, t.Target)
	}
	who, one := fewNames(names), group[0]
	if p.wide {
		who = strings.Join(names, ", ")
	}
	n := sumUp(group[:1])
	same := ""
	if len(group) > 1 {
		same = "the same "
	}
	p.b.WriteByte('\n')
	switch {
	case one.Error != "":
		p.wrapped(term.Bad, "", who+": could not be read: "+one.Error)
		return
	case n.counted > 0:
		p.wrapped(term.Bold, "", who+": "+same+count(n.counted, "difference"))
	default:
		p.wrapped(term.Bold, "", who+": as wanted")
	}
	writeDifferences(p, liveSides(), one, explain)
	writeNotes(p, group)
}

// writeNotes writes what drivers say, once for all targets that say it.
func writeNotes(p *page, group []reconciler.TargetDiff) {
	var notes []string
	who := map[string][]string{}
	for _, t := range group {
		for _, n := range t.Notes {
			if who[n] == nil {
				notes = append(notes, n)
			}
			who[n] = append(who[n], t.Target)
		}
	}
	for _, n := range notes {
		where := ""
		if len(who[n]) < len(group) {
			where = " (" + fewNames(who[n]) + ")"
		}
		p.wrapped(term.Dim, indent, "note: "+n+where)
	}
}

// writeDifferences writes the differences of one target under the resources
// that they are of.
func writeDifferences(p *page, s sides, t reconciler.TargetDiff, explain bool) {
	last := stella.ResourceID("")
	ignored, shown := 0, 0
	for i, c := range t.Changes {
		switch {
		case c.Ignored && !explain:
			ignored++
			continue
		case shown >= mostDifferences && !p.wide:
			shown++
			continue
		}
		shown++
		if c.Resource != last {
			p.indented(term.Bold, "%s", c.Resource)
			last = c.Resource
		}
		writeDifference(p, s, c)
		if explain && i < len(t.Explanations) {
			writeExplanation(p, t.Explanations[i])
		}
	}
	if shown > mostDifferences && !p.wide {
		p.wrapped(term.Dim, indent, fmt.Sprintf("and %d more: '-o wide' shows them", shown-mostDifferences))
	}
	if ignored > 0 {
		p.wrapped(term.Dim, indent, count(ignored, "ignored difference")+": '-o wide' shows what and why")
	}
}

// mostDifferences is how many differences of one target a page shows.
const mostDifferences = 100

func writeExplanation(p *page, x drift.Explanation) {
	for _, sentence := range x.Words {
		p.wrapped(term.Dim, indent+indent+indent, sentence)
	}
}

// writeFiles is the section of files that are not deployed.
func writeFiles(p *page, d reconciler.Diff) {
	if len(d.Files) == 0 {
		return
	}
	title := "Not deployed: files that differ from those of " + d.Deployment
	if d.Against != "desired" && d.Error == "" {
		title = "Files of " + d.Against + " that differ from those of " + d.Deployment
	} else if d.Sync == stella.Pinned {
		title = "Not deployed while it is pinned: files of the branch that differ from those of " + d.Deployment
	}
	p.b.WriteByte('\n')
	p.wrapped(term.Bold, "", title)
	writeFileChanges(p, d.Files)
}

// writeFileChanges writes how the texts of files differ, of many the first ones.
func writeFileChanges(p *page, files []reconciler.FileChange) {
	for i, f := range files {
		if i >= mostFiles && !p.wide {
			p.wrapped(term.Dim, indent, fmt.Sprintf("and %s more: '-o wide' shows them", count(len(files)-i, "file")))
			return
		}
		p.wrapped(term.Plain, indent, f.Op+" "+f.Path)
		unified(p, indent+indent, f.Diff)
	}
}

// mostFiles is how many files a page shows.
const mostFiles = 20

func writeExpired(p *page, rules []drift.Cover) {
	if len(rules) == 0 {
		return
	}
	p.b.WriteByte('\n')
	p.wrapped(term.Bold, "", "Rules that expired: what they covered counts again")
	for _, r := range rules {
		p.wrapped(term.Warn, indent, r.String())
	}
}
