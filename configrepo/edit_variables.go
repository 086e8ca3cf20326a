package configrepo

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// SetVariables returns a release.yaml with other values for some variables; one
// that is not there is added. Every other byte stays. Errors are as in
// SetRelease.
func SetVariables(src []byte, variables map[string]string) ([]byte, error) {
	e, err := openEdit(src)
	if err != nil {
		return nil, err
	}
	want := e.file.clone()
	if want.Variables == nil {
		want.Variables = map[string]string{}
	}
	var added []pair
	at := e.root.At("variables")
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		text := variables[name]
		old, has := want.Variables[name]
		want.Variables[name] = text
		switch {
		case !has:
			added = append(added, pair{name, text})
		case old != text:
			e.rewrite(at.At(name).Node(), text)
		}
	}
	switch {
	case len(added) == 0:
	case e.root.Has("variables"):
		e.insertAfter(at.Node(), "", added)
	default:
		e.addVariables(added)
	}
	return e.finish(want)
}

// rewrite is replace for a text that may have had several lines.
func (e *patch) rewrite(n *yaml.Node, text string) {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		e.replace(n, text)
		return
	}
	e.edits = append(e.edits, splice{e.offset(n), e.end(n), doubleQuoted(text)})
}

// addVariables adds the field with its first entries.
func (e *edit) addVariables(added []pair) {
	root := e.root.Node()
	var lines []string
	for _, p := range added {
		lines = append(lines, scalarText(p.key, 0)+": "+scalarText(p.text, 0))
	}
	if isFlow(root) {
		e.insertFlow(root, len(root.Content)-2, []string{"variables: {" + strings.Join(lines, ", ") + "}"})
		return
	}
	line := e.lastLine(root.Content[len(root.Content)-1])
	e.insertLines(line, root.Column-1, append([]string{"variables:"}, indentAll("  ", lines)...))
}
