package strictyaml

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// Value is a place in a document: where a check reports what is wrong.
type Value struct {
	doc   *Doc
	node  *yaml.Node // nil where there is nothing
	field string
}

// Problem reports that the value is wrong. It must not be given the value's
// content.
func (v Value) Problem(what, fix string) {
	p := Problem{Field: v.field, What: what, Fix: fix}
	if v.node != nil {
		p.Line, p.Column = v.node.Line, v.node.Column
	}
	v.doc.add(p)
}

// Has reports that the value is a mapping that has the key.
func (v Value) Has(key string) bool {
	return v.find(key) != nil
}

// At returns the value of a key of a mapping. Where there is none it is the
// mapping's own place under the key's name.
func (v Value) At(key string) Value {
	at := Value{doc: v.doc, node: v.node, field: join(v.field, key)}
	if value := v.find(key); value != nil {
		at.node = value
	}
	return at
}

// Index returns an item of a list, like At.
func (v Value) Index(i int) Value {
	at := Value{doc: v.doc, node: v.node, field: fmt.Sprintf("%s[%d]", v.field, i)}
	if v.node != nil && v.node.Kind == yaml.SequenceNode && i < len(v.node.Content) {
		at.node = v.node.Content[i]
	}
	return at
}

// Field returns the value's path: "targets[1].name".
func (v Value) Field() string { return v.field }

// Line returns the value's line, from 1; 0 where there is nothing.
func (v Value) Line() int {
	if v.node == nil {
		return 0
	}
	return v.node.Line
}

// Node returns the parsed node, nil where there is nothing. It is for edits.
func (v Value) Node() *yaml.Node { return v.node }

func (v Value) find(key string) *yaml.Node {
	if v.node == nil || v.node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		if k := v.node.Content[i]; k.Kind == yaml.ScalarNode && k.Value == key {
			return v.node.Content[i+1]
		}
	}
	return nil
}

// refused reports that walk has said already why the value can not be used.
func (v Value) refused() bool {
	return v.node == nil || v.node.Kind == yaml.AliasNode ||
		v.node.Style&yaml.TaggedStyle != 0 || v.node.Tag == "!"
}

// wrongType reports a value that is not what is wanted.
func (v Value) wrongType(want string) {
	switch v.node.Kind {
	case yaml.MappingNode:
		v.Problem("is a mapping", want)
	case yaml.SequenceNode:
		v.Problem("is a list", want)
	default:
		v.wrongScalar(want)
	}
}

func (v Value) wrongScalar(want string) {
	kind := ""
	if isPlain(v.node) {
		kind = resolve(v.node.Value)
	}
	switch kind {
	case "":
		v.Problem("is text", want)
	case "null":
		if v.field != "" {
			want += ", or leave the field out"
		}
		v.Problem("is empty", want)
	default:
		v.Problem("is "+kind, want)
	}
}
