package strictyaml

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Schema is a JSON Schema (draft 2020-12) of one value.
type Schema map[string]any

// Shape says what a value may be, reads it, and describes it.
type Shape[T any] struct {
	want   string                // "want a list": what to do about a value that is not there
	read   func(Value) (T, bool) // false: unusable, and why was reported
	schema Schema
}

// Read holds a document against a shape. Where the document has problems the
// result is what could be read in spite of them.
func Read[T any](d *Doc, s Shape[T]) T {
	var zero T
	if d.root == nil {
		return zero
	}
	t, _ := s.read(d.Root())
	return t
}

// Schema describes the shape.
func (s Shape[T]) Schema() Schema { return maps.Clone(s.schema) }

// Check returns the shape with one more condition. It is asked of every value
// that could be read, also where parts of it have problems.
func (s Shape[T]) Check(check func(Value, *T)) Shape[T] {
	read := s.read
	s.read = func(v Value) (T, bool) {
		t, ok := read(v)
		if ok {
			check(v, &t)
		}
		return t, ok
	}
	return s
}

// Describe returns the shape with more said in its schema.
func (s Shape[T]) Describe(more Schema) Shape[T] {
	s.schema = maps.Clone(s.schema)
	maps.Copy(s.schema, more)
	return s
}

// Convert returns a shape that reads an A and makes a B of it. convert reports
// why where it can not.
func Convert[A, B any](s Shape[A], convert func(Value, A) (B, bool)) Shape[B] {
	return Shape[B]{want: s.want, schema: s.schema, read: func(v Value) (B, bool) {
		a, ok := s.read(v)
		if !ok {
			var zero B
			return zero, false
		}
		return convert(v, a)
	}}
}

// Field is a key of a mapping that is read into a T.
type Field[T any] struct {
	name     string
	required bool
	want     string
	read     func(Value, *T)
	schema   Schema
}

// Optional is a field that may be left out.
func Optional[T, F any](name, doc string, s Shape[F], at func(*T) *F) Field[T] {
	schema := s.Schema()
	schema["description"] = doc
	return Field[T]{name: name, want: s.want, schema: schema, read: func(v Value, t *T) {
		if f, ok := s.read(v); ok {
			*at(t) = f
		}
	}}
}

// Required is a field that must be there.
func Required[T, F any](name, doc string, s Shape[F], at func(*T) *F) Field[T] {
	f := Optional(name, doc, s, at)
	f.required = true
	return f
}

// Object is a mapping of known fields; what is left out is as in defaults.
func Object[T any](defaults T, fields ...Field[T]) Shape[T] {
	o := object[T]{defaults: defaults, fields: fields}
	return Shape[T]{want: "want a mapping", read: o.read, schema: o.schema()}
}

type object[T any] struct {
	defaults T
	fields   []Field[T]
}

func (o object[T]) read(v Value) (T, bool) {
	t := o.defaults
	if !v.isKind(yaml.MappingNode, "want a mapping") {
		return t, false
	}
	present := map[string]bool{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := v.node.Content[i]
		if key.Kind != yaml.ScalarNode || isMerge(key) || present[key.Value] {
			continue // reported by walk
		}
		present[key.Value] = true
		at := Value{doc: v.doc, node: v.node.Content[i+1], field: join(v.field, key.Value)}
		if f, known := o.field(key.Value); known {
			f.read(at, &t)
		} else {
			at.node = key
			o.unknown(at, key.Value)
		}
	}
	for _, f := range o.fields {
		if f.required && !present[f.name] {
			v.At(f.name).Problem("is missing", f.want)
		}
	}
	return t, true
}

func (o object[T]) field(name string) (Field[T], bool) {
	i := slices.IndexFunc(o.fields, func(f Field[T]) bool { return f.name == name })
	if i < 0 {
		return Field[T]{}, false
	}
	return o.fields[i], true
}

func (o object[T]) names() []string {
	names := make([]string, len(o.fields))
	for i, f := range o.fields {
		names[i] = f.name
	}
	return names
}

// unknown reports a field; looking for what was meant is dear, so that it is not
// done for what will not be shown.
func (o object[T]) unknown(at Value, name string) {
	fix := ""
	if !at.doc.full() {
		fix = o.suggest(name)
	}
	at.Problem("unknown field", fix)
}

func (o object[T]) suggest(name string) string {
	if near := nearest(name, o.names()); near != "" {
		return "did you mean " + near + "?"
	}
	return "want one of " + strings.Join(o.names(), ", ")
}

func (o object[T]) schema() Schema {
	properties, required := Schema{}, []string{}
	for _, f := range o.fields {
		properties[f.name] = f.schema
		if f.required {
			required = append(required, f.name)
		}
	}
	s := Schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// Map is a mapping whose keys are data. It is never nil.
func Map[T any](key Shape[string], value Shape[T]) Shape[map[string]T] {
	const want = "want a mapping"
	schema := Schema{"type": "object", "propertyNames": key.schema, "additionalProperties": value.schema, "maxProperties": MaxKeys}
	return Shape[map[string]T]{want: want, schema: schema, read: func(v Value) (map[string]T, bool) {
		if !v.isKind(yaml.MappingNode, want) {
			return nil, false
		}
		read := make(map[string]T, len(v.node.Content)/2)
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			k, node := v.node.Content[i], v.node.Content[i+1]
			if k.Kind != yaml.ScalarNode || isMerge(k) {
				continue // reported by walk
			}
			field := join(v.field, k.Value)
			name, okKey := key.read(Value{doc: v.doc, node: k, field: field})
			item, ok := value.read(Value{doc: v.doc, node: node, field: field})
			if _, twice := read[name]; ok && okKey && !twice {
				read[name] = item
			}
		}
		return read, true
	}}
}

// List is a list of least to most items.
func List[T any](item Shape[T], least, most int) Shape[[]T] {
	const want = "want a list"
	schema := Schema{"type": "array", "items": item.schema, "maxItems": most}
	if least > 0 {
		schema["minItems"] = least
	}
	return Shape[[]T]{want: want, schema: schema, read: func(v Value) ([]T, bool) {
		if !v.isKind(yaml.SequenceNode, want) {
			return nil, false
		}
		switch {
		case len(v.node.Content) < least:
			v.Problem("is an empty list", fmt.Sprintf("want at least %d", least))
		case len(v.node.Content) > most:
			v.Problem(fmt.Sprintf("has %d items", len(v.node.Content)), fmt.Sprintf("keep to %d", most))
		}
		// An item that could not be read keeps its place, so that a check finds
		// the item of an index.
		items := make([]T, min(len(v.node.Content), most))
		for i := range items {
			items[i], _ = item.read(v.Index(i))
		}
		return items, true
	}}
}

// Either reads numbers as one shape and all else as another.
func Either[T any](number, other Shape[T]) Shape[T] {
	schema := Schema{"anyOf": []Schema{number.schema, other.schema}}
	want := number.want + " or" + strings.TrimPrefix(other.want, "want")
	return Shape[T]{want: want, schema: schema, read: func(v Value) (T, bool) {
		if v.node != nil && isPlain(v.node) && resolve(v.node.Value) == "a number" {
			return number.read(v)
		}
		return other.read(v)
	}}
}

func (v Value) isKind(kind yaml.Kind, want string) bool {
	switch {
	case v.refused():
		return false
	case v.node.Kind != kind:
		v.wrongType(want)
		return false
	}
	return true
}
