package drift

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// leastSecret is the shortest value that is masked: shorter ones are part of
// any text.
const leastSecret = 4

// SecretTexts returns what must not be shown of the values that resources mark
// as secret: each text, each of its lines, since a program prints what it read
// without its end, and both in base64. Longer ones come first: one may be the
// beginning of another. What is shorter than four bytes is left out.
func SecretTexts(resources ...stella.Resource) []string {
	var all []string
	for _, r := range resources {
		for _, pointer := range r.Secrets {
			value, _ := Lookup(r.Fields, pointer)
			all = append(all, texts(value)...)
			if text, ok := value.(string); ok && strings.HasSuffix(pointer, "/contentBase64") {
				raw, _ := base64.StdEncoding.DecodeString(text) // what is none is masked as it stands
				all = append(all, texts(string(raw))...)
			}
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < leastSecret })
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(all)
}

// Mask replaces each of the texts of [SecretTexts] by "[secret]".
func Mask(text string, secrets []string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}

// texts are all texts in a value, those of a list or a map too.
func texts(value any) []string {
	var all []string
	switch v := value.(type) {
	case string:
		for _, one := range []string{v, strings.TrimSpace(v)} {
			all = append(all, one, base64.StdEncoding.EncodeToString([]byte(one)))
		}
		for line := range strings.Lines(v) {
			all = append(all, strings.TrimSpace(line))
		}
	case []any:
		for _, one := range v {
			all = append(all, texts(one)...)
		}
	case map[string]any:
		for _, one := range v {
			all = append(all, texts(one)...)
		}
	}
	return all
}
