package cli

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"sigs.k8s.io/yaml"

	"github.com/stella-ops/stella/internal/safe"
)

// object is a JSON object that keeps the order of its members.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, part := range []any{m.key, m.value} {
			if j == 1 {
				b.WriteByte(':')
			}
			text, err := marshal(part)
			if err != nil {
				return nil, err
			}
			b.Write(text)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// marshal is json.Marshal that leaves <, > and & alone: a document is for
// programs and people, not for a page.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodeJSON writes a document: members in the order of the struct's fields,
// lists and maps never null, times in UTC to the second and null where there is
// none, and every rune that a terminal might obey as an escape.
func encodeJSON(doc any) ([]byte, error) {
	text, err := marshal(plain(reflect.ValueOf(doc), func(s string) string { return s }))
	if err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	b.WriteByte('\n')
	return printable(b.Bytes()), nil
}

// encodeYAML is encodeJSON for people: the same members, in alphabetical order,
// with what a terminal might obey spelled out in the text itself.
func encodeYAML(doc any) ([]byte, error) {
	text, err := marshal(plain(reflect.ValueOf(doc), safe.Block))
	if err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	return yaml.JSONToYAML(text)
}

// printable replaces runes that are not printable by their JSON escapes. All
// that are not ASCII are within strings, so the document says the same.
func printable(text []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || r < 0x7f || r > 0x7f && unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// plain turns a value into what encoding/json writes as the documents promise.
func plain(v reflect.Value, text func(string) string) any {
	if !v.IsValid() {
		return nil
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		return moment(v)
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok && v.Kind() != reflect.Pointer {
		b, err := m.MarshalText()
		if err != nil {
			return nil
		}
		return text(string(b))
	}
	switch v.Kind() { //nolint:exhaustive // the rest is as encoding/json has it
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem(), text)
	case reflect.Struct:
		return plainStruct(v, text)
	case reflect.Map:
		return plainMap(v, text)
	case reflect.Slice, reflect.Array:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i), text)
		}
		return list
	case reflect.String:
		return text(v.String())
	default:
		return v.Interface()
	}
}

func moment(v reflect.Value) any {
	t, ok := reflect.TypeAssert[time.Time](v)
	if !ok || t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339)
}

func plainStruct(v reflect.Value, text func(string) string) object {
	o := object{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			o = append(o, without(plainStruct(v.Field(i), text), f.Tag.Get("without"))...)
		case name == "-" || !f.IsExported():
		case strings.Contains(options, "omitempty") && v.Field(i).IsZero():
		default:
			o = append(o, member{name, rounded(name, plain(v.Field(i), text))})
		}
	}
	return o
}

// without leaves a member of an embedded struct out: the tag `without:"steps"`.
func without(o object, key string) object {
	return slices.DeleteFunc(o, func(m member) bool { return key != "" && m.key == key })
}

// rounded cuts a measured time to milliseconds: more is noise.
func rounded(key string, value any) any {
	f, ok := value.(float64)
	if !ok || !strings.HasSuffix(key, "Seconds") && !strings.HasSuffix(key, "Millis") {
		return value
	}
	return math.Round(f*1000) / 1000
}

func plainMap(v reflect.Value, text func(string) string) object {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	o := object{}
	for _, k := range keys {
		o = append(o, member{text(k.String()), rounded(k.String(), plain(v.MapIndex(k), text))})
	}
	return o
}
