package configrepo

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
)

// SetOverrides returns a release.yaml with these overrides and no others. Those
// that are there already keep their bytes as long as the order is the same; new
// ones are added after them. Errors are as in SetRelease.
func SetOverrides(src []byte, overrides []Override) ([]byte, error) {
	e, err := openEdit(src)
	if err != nil {
		return nil, err
	}
	kept := 0
	gone := map[*yaml.Node]bool{}
	for i, have := range e.file.Overrides {
		if kept < len(overrides) && reflect.DeepEqual(have, overrides[kept]) {
			kept++
			continue
		}
		gone[e.root.At("overrides").Index(i).Node()] = true
	}
	e.removeOverrides(gone)
	want := e.file.clone()
	want.Overrides = overrides[:kept]
	out, err := e.finish(want)
	if err != nil || kept == len(overrides) {
		return out, err
	}
	return addOverrides(out, overrides[kept:])
}

func addOverrides(src []byte, overrides []Override) ([]byte, error) {
	e, err := openEdit(src)
	if err != nil {
		return nil, err
	}
	want := e.file.clone()
	want.Overrides = append(want.Overrides, overrides...)
	texts := make([]string, len(overrides))
	root, list := e.root.Node(), e.root.At("overrides").Node()
	switch {
	case !e.root.Has("overrides") && root.Style&yaml.FlowStyle == 0:
		line := e.lastLine(root.Content[len(root.Content)-1])
		e.insertLines(line, root.Column-1, append([]string{"overrides:"}, blockItems(overrides)...))
	case !e.root.Has("overrides"):
		for i, o := range overrides {
			texts[i] = flowItem(o)
		}
		e.insertFlow(root, len(root.Content)-2, []string{"overrides: [" + strings.Join(texts, ", ") + "]"})
	case list.Style&yaml.FlowStyle == 0:
		line := e.lastLine(list.Content[len(list.Content)-1])
		e.insertLines(line, list.Column-1, blockItems(overrides))
	default:
		for i, o := range overrides {
			texts[i] = flowItem(o)
		}
		at, text := e.offset(list)+1, strings.Join(texts, ", ")
		if n := len(list.Content); n > 0 {
			at, text = e.end(list.Content[n-1]), ", "+text
		}
		e.edits = append(e.edits, splice{at, at, text})
	}
	return e.finish(want)
}

// blockItems writes overrides as lines of a block list.
func blockItems(overrides []Override) []string {
	var lines []string
	for _, o := range overrides {
		for i, field := range fieldsOf(o) {
			lead := "  "
			if i == 0 {
				lead = "- "
			}
			lines = append(lines, lead+field)
		}
	}
	return lines
}

func flowItem(o Override) string { return "{" + strings.Join(fieldsOf(o), ", ") + "}" }

// fieldsOf writes the fields of an override as they are in both styles.
func fieldsOf(o Override) []string {
	var fields []string
	if len(o.Targets) > 0 {
		targets := make([]string, len(o.Targets))
		for i, t := range o.Targets {
			targets[i] = scalarText(t, 0)
		}
		fields = append(fields, "targets: ["+strings.Join(targets, ", ")+"]")
	}
	var components []string
	for _, name := range slices.Sorted(maps.Keys(o.Components)) {
		components = append(components, fmt.Sprintf("%s: %s", scalarText(name, 0), scalarText(o.Components[name].String(), yaml.DoubleQuotedStyle)))
	}
	fields = append(fields, "components: {"+strings.Join(components, ", ")+"}")
	if o.From != "" {
		fields = append(fields, "from: "+scalarText(o.From, 0))
	}
	if o.Reason != "" {
		fields = append(fields, "reason: "+scalarText(o.Reason, 0))
	}
	if !o.Until.IsZero() {
		fields = append(fields, "until: "+untilText(o.Until))
	}
	return fields
}

// untilText writes a time as it is read: a midnight is the end of the day before.
func untilText(t time.Time) string {
	t = t.UTC()
	if t.Equal(t.Truncate(24 * time.Hour)) {
		return t.AddDate(0, 0, -1).Format(time.DateOnly)
	}
	return t.Format(time.RFC3339)
}

// WithOverride returns the file's overrides and o, so that no two of them mean
// the same component on the same target: those that were there give way. targets
// are all targets of the environment. The file itself stays as it is.
func (f *ReleaseFile) WithOverride(o Override, targets []string) []Override {
	var all []Override
	for _, have := range f.Overrides {
		common := map[string]stella.Artifact{}
		others := map[string]stella.Artifact{}
		for name, image := range have.Components {
			if _, is := o.Components[name]; is {
				common[name] = image
			} else {
				others[name] = image
			}
		}
		if len(common) == 0 {
			all = append(all, have)
			continue
		}
		if len(others) > 0 {
			rest := have
			rest.Components = others
			all = append(all, rest)
		}
		if left := targetsLeft(have.Targets, o.Targets, targets); len(left) > 0 {
			rest := have
			rest.Targets, rest.Components = left, common
			all = append(all, rest)
		}
	}
	return append(all, o)
}

// targetsLeft is what have means without what taken means; none names all.
func targetsLeft(have, taken, all []string) []string {
	if len(taken) == 0 {
		return nil
	}
	if len(have) == 0 {
		have = all
	}
	return slices.DeleteFunc(slices.Clone(have), func(t string) bool { return slices.Contains(taken, t) })
}

// Ended reports whether the override is over.
func (o Override) Ended(now time.Time) bool { return !o.Until.IsZero() && !now.Before(o.Until) }

// At returns the file as it counts at a time: without the overrides that have
// ended by then. Rendering knows no time; whoever renders what is to run asks
// for this first. The file itself stays as it is.
func (f *ReleaseFile) At(now time.Time) *ReleaseFile {
	at := *f
	at.Overrides = slices.DeleteFunc(slices.Clone(f.Overrides), func(o Override) bool { return o.Ended(now) })
	return &at
}
