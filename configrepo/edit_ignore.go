package configrepo

import (
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// environmentFileName is what problems of bytes that are in no Tree are
// reported of.
const environmentFileName = "environment.yaml"

// AddIgnores returns an environment.yaml with more rules at the end of
// drift.ignore. A rule of the same resource and path that has ended by now gives
// way; one that has not is of class ErrConflict. Every other byte stays,
// comments and line breaks among them.
//
// Errors are Problems where src is not the environment's, and of class
// ErrInvalid where a rule could not be read again or where src is written in a
// way that can not be edited.
func AddIgnores(src []byte, p *Project, env stella.EnvName, rules []drift.Ignore, now time.Time) ([]byte, error) {
	if slices.ContainsFunc(rules, func(r drift.Ignore) bool { return r.Resource == "" }) {
		return nil, fmt.Errorf("%w: a rule that names no resource covers every one", stella.ErrInvalid)
	}
	e, err := openEnvironment(src, p, env)
	if err != nil {
		return nil, err
	}
	gone := map[*yaml.Node]bool{}
	want := e.file
	want.Drift.Ignore = nil
	for i, have := range e.file.Drift.Ignore {
		same := slices.ContainsFunc(rules, func(r drift.Ignore) bool { return r.Resource == have.Resource && r.Path == have.Path })
		switch {
		case same && !have.Expired(now):
			err := fmt.Errorf("a rule for %s %s is there already: %w", safe.Line(have.Resource), safe.Line(have.Path), stella.ErrConflict)
			return nil, stella.WithHint(err, "change it in "+environmentFileName+", below drift.ignore")
		case same:
			gone[e.ignores().Index(i).Node()] = true
		default:
			want.Drift.Ignore = append(want.Drift.Ignore, have)
		}
	}
	if len(gone) > 0 {
		if src, err = e.without(gone, want); err != nil {
			return nil, err
		}
		if e, err = openEnvironment(src, p, env); err != nil {
			return nil, notEditable(environmentFileName, err)
		}
	}
	want.Drift.Ignore = append(want.Drift.Ignore, rules...)
	e.add(rules)
	return e.finish(want)
}

// environmentEdit is an environment.yaml that is being changed.
type environmentEdit struct {
	*patch
	project *Project
	root    strictyaml.Value
	file    Environment
}

func openEnvironment(src []byte, p *Project, env stella.EnvName) (*environmentEdit, error) {
	if isLFS(src) {
		return nil, Problems{{Path: environmentFileName, What: "is a Git LFS pointer and not the file", Fix: "commit the file itself"}}
	}
	doc := strictyaml.Parse(src)
	file := strictyaml.Read(doc, environmentShape(p, env))
	if !doc.OK() {
		return nil, problemsOf(environmentFileName, doc)
	}
	return &environmentEdit{patch: &patch{source: newSource(src, doc.Root().Node())}, project: p, root: doc.Root(), file: file}, nil
}

func (e *environmentEdit) ignores() strictyaml.Value { return e.root.At("drift").At("ignore") }

// without takes rules away. With the last one its list goes too, so that the
// list of those that follow is written like a new one.
func (e *environmentEdit) without(gone map[*yaml.Node]bool, want Environment) ([]byte, error) {
	switch drift := e.root.At("drift").Node(); {
	case len(gone) < len(e.file.Drift.Ignore):
		e.remove(e.ignores().Node(), gone)
	case len(drift.Content) > 2:
		e.remove(drift, map[*yaml.Node]bool{keyOf(drift, "ignore"): true})
	default:
		e.remove(e.root.Node(), map[*yaml.Node]bool{keyOf(e.root.Node(), "drift"): true})
	}
	return e.finish(want)
}

// add writes rules after those that are there.
func (e *environmentEdit) add(rules []drift.Ignore) {
	root, drift, list := e.root.Node(), e.root.At("drift").Node(), e.ignores().Node()
	switch {
	case !e.root.Has("drift") && !isFlow(root):
		lines := append([]string{"drift:", "  ignore:"}, indentAll("  ", ignoreLines(rules))...)
		e.insertLines(e.lastLine(root.Content[len(root.Content)-1]), root.Column-1, lines)
	case !e.root.Has("drift"):
		e.insertFlow(root, len(root.Content)-2, []string{"drift: {ignore: " + flowIgnores(rules) + "}"})
	case !e.root.At("drift").Has("ignore") && len(drift.Content) == 0:
		e.edits = append(e.edits, splice{e.offset(drift) + 1, e.offset(drift) + 1, "ignore: " + flowIgnores(rules)})
	case !e.root.At("drift").Has("ignore") && isFlow(drift):
		e.insertFlow(drift, len(drift.Content)-2, []string{"ignore: " + flowIgnores(rules)})
	case !e.root.At("drift").Has("ignore"):
		last := drift.Content[len(drift.Content)-1]
		e.insertLines(e.lastLine(last), drift.Column-1, append([]string{"ignore:"}, ignoreLines(rules)...))
	case !isFlow(list):
		e.insertLines(e.lastLine(list.Content[len(list.Content)-1]), list.Column-1, ignoreLines(rules))
	default:
		at, text := e.offset(list)+1, strings.Trim(flowIgnores(rules), "[]")
		if n := len(list.Content); n > 0 {
			at, text = e.end(list.Content[n-1]), ", "+text
		}
		e.edits = append(e.edits, splice{at, at, text})
	}
}

// finish splices and reads the result again: it must be exactly what is wanted.
func (e *environmentEdit) finish(want Environment) ([]byte, error) {
	out, err := e.splices(e.edits)
	if err == nil {
		var again *environmentEdit
		if again, err = openEnvironment(out, e.project, want.Name); err == nil && !sameEnvironment(again.file, want) {
			err = errEditStyle
		}
	}
	if err != nil {
		return nil, notEditable(environmentFileName, err)
	}
	return out, nil
}

// sameEnvironment compares what the files say; an empty list is one that is not
// there.
func sameEnvironment(a, b Environment) bool {
	if len(a.Drift.Ignore) == 0 && len(b.Drift.Ignore) == 0 {
		a.Drift.Ignore, b.Drift.Ignore = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

func indentAll(by string, lines []string) []string {
	for i := range lines {
		lines[i] = by + lines[i]
	}
	return lines
}

// ignoreLines writes rules as lines of a block list.
func ignoreLines(rules []drift.Ignore) []string {
	var lines []string
	for _, r := range rules {
		for i, field := range ignoreFields(r) {
			lead := "  "
			if i == 0 {
				lead = "- "
			}
			lines = append(lines, lead+field)
		}
	}
	return lines
}

func flowIgnores(rules []drift.Ignore) string {
	items := make([]string, len(rules))
	for i, r := range rules {
		items[i] = "{" + strings.Join(ignoreFields(r), ", ") + "}"
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// ignoreFields writes the fields of a rule as they are in both styles.
func ignoreFields(r drift.Ignore) []string {
	fields := []string{"resource: " + scalarText(r.Resource, 0)}
	if r.Path != "" {
		fields = append(fields, "path: "+pointerText(r.Path))
	}
	if r.Reason != "" {
		fields = append(fields, "reason: "+scalarText(r.Reason, 0))
	}
	if !r.Until.IsZero() {
		fields = append(fields, "until: "+untilText(r.Until))
	}
	return fields
}

// plainPointer matches pointers that need no quotes in either style.
var plainPointer = regexp.MustCompile(`^/[A-Za-z0-9._/~-]*$`)

func pointerText(s string) string {
	if plainPointer.MatchString(s) {
		return s
	}
	return scalarText(s, yaml.DoubleQuotedStyle)
}

// LiteralPattern is the pattern that matches exactly this resource id, where one
// can be written: path.Match has no way to name some characters alone.
func LiteralPattern(id stella.ResourceID) (string, bool) {
	escaped := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(string(id))
	ok, err := path.Match(escaped, string(id))
	return escaped, err == nil && ok
}
