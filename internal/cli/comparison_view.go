package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// writeComparison is the page of a comparison of two environments.
func writeComparison(p *page, d reconciler.Diff, explain bool) {
	explain = explain || p.wide
	c := d.Comparison
	counted := slices.DeleteFunc(slices.Clone(c.Differences), func(x reconciler.Difference) bool { return x.Intended })
	style := term.Good
	if len(counted) > 0 {
		style = term.Warn
	}
	p.wrapped(style, "", comparisonTitle(d, len(counted)))
	p.fields(
		field{label: string(d.Environment), value: fmt.Sprintf("release %s, commit %s", orDash(d.Release), shortID(d.Commit))},
		field{label: string(c.With), value: fmt.Sprintf("release %s, commit %s", orDash(c.Release), shortID(c.Commit))},
		field{label: "not compared", value: byTargetWords(c.ByTarget)},
	)
	for _, n := range d.Notes {
		p.wrapped(term.Warn, indent, "note: "+n)
	}
	for _, aspect := range []reconciler.Aspect{reconciler.AspectRelease, reconciler.AspectConfiguration, reconciler.AspectStructure} {
		writeAspect(p, d, aspect, explain)
	}
	writePlaces(p, d)
	if n := len(c.Differences) - len(counted); n > 0 && !explain {
		p.b.WriteByte('\n')
		p.wrapped(term.Dim, "", count(n, "intended difference")+": '--explain' shows what and why")
	}
	writeExpired(p, d.Expired)
}

func comparisonTitle(d reconciler.Diff, counted int) string {
	with := d.Comparison.With
	switch intended := len(d.Comparison.Differences) - counted; {
	case counted > 0:
		return fmt.Sprintf("%s and %s want %s", d.Environment, with, strings.Replace(count(counted, "difference"), "difference", "different thing", 1))
	case intended > 0:
		return fmt.Sprintf("%s and %s want the same, but for %s", d.Environment, with, count(intended, "intended difference"))
	}
	return fmt.Sprintf("%s and %s want the same", d.Environment, with)
}

func byTargetWords(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, ", ") + ": a target's own in both"
}

// writeAspect writes the differences of one aspect under their resources.
func writeAspect(p *page, d reconciler.Diff, aspect reconciler.Aspect, explain bool) {
	s := environmentSides(d.Environment, d.Comparison.With)
	begun, last := false, stella.ResourceID("")
	for _, x := range d.Comparison.Differences {
		if x.Aspect != aspect || x.Intended && !explain {
			continue
		}
		if !begun {
			p.heading(strings.ToUpper(string(aspect[:1])) + string(aspect[1:]))
			begun = true
		}
		if x.Resource != last {
			p.indented(term.Bold, "%s", x.Resource)
			last = x.Resource
		}
		writeDifference(p, s, stella.Change{
			Resource: x.Resource, Class: x.Class, Path: x.Path, Desired: x.Here, Live: x.There,
			Severity: x.Severity, Ignored: x.Intended, Reason: x.Reason, Secret: x.Secret,
		})
		if where := partOf(d, x); where != "" {
			p.wrapped(term.Dim, indent+indent+indent, where)
		}
		if explain && x.Explanation != nil {
			writeExplanation(p, *x.Explanation)
		}
	}
}

// partOf says on which targets a difference holds, where it is not all of them.
func partOf(d reconciler.Diff, x reconciler.Difference) string {
	i := slices.IndexFunc(d.Comparison.Places, func(pl reconciler.Place) bool { return "service/"+pl.Service == string(x.Resource) })
	if i < 0 {
		return ""
	}
	var where []string
	for _, one := range []struct {
		env     stella.EnvName
		on, all []string
	}{{d.Environment, x.Targets, d.Comparison.Places[i].Targets}, {d.Comparison.With, x.WithTargets, d.Comparison.Places[i].WithTargets}} {
		if len(one.on) > 0 && len(one.on) < len(one.all) {
			where = append(where, fmt.Sprintf("%s: on %s only", one.env, fewNames(one.on)))
		}
	}
	return strings.Join(where, "; ")
}

// writePlaces is the table of where services run, equal rows together.
func writePlaces(p *page, d reconciler.Diff) {
	type row struct {
		services    []string
		here, there string
	}
	var rows []row
	for _, pl := range d.Comparison.Places {
		here, there := fewNames(pl.Targets), fewNames(pl.WithTargets)
		i := slices.IndexFunc(rows, func(r row) bool { return r.here == here && r.there == there })
		if i < 0 {
			i, rows = len(rows), append(rows, row{here: here, there: there})
		}
		rows[i].services = append(rows[i].services, pl.Service)
	}
	l := &list{columns: columns("~SERVICES", "~"+strings.ToUpper(string(d.Environment)), "~"+strings.ToUpper(string(d.Comparison.With)))}
	for _, r := range rows {
		l.add(text(fewNames(r.services)), text(orDash(r.here)), text(orDash(r.there)))
	}
	p.list("Where services run (not counted)", l)
}
