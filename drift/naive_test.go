package drift_test

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

var pointerRE = regexp.MustCompile(`^(?s:(/([^~/]|~[01])*)*)$`)

// naivePointer reads a pointer as RFC 6901 says, one step after the other.
func naivePointer(pointer string) (segments []string, ok bool) {
	if !pointerRE.MatchString(pointer) {
		return nil, false
	}
	if pointer == "" {
		return nil, true
	}
	for _, s := range strings.Split(pointer, "/")[1:] {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			if s[i] != '~' {
				b.WriteByte(s[i])
				continue
			}
			i++
			b.WriteByte(map[byte]byte{'0': '~', '1': '/'}[s[i]])
		}
		segments = append(segments, b.String())
	}
	return segments, true
}

// naiveCovers says whether a rule covers a change, as its documentation reads.
func naiveCovers(ig drift.Ignore, c stella.Change) bool {
	rule, ok := naivePointer(ig.Path)
	if !ok || !naiveMatch(ig.Resource, string(c.Resource)) {
		return false
	}
	at, _ := naivePointer(c.Path)
	if len(rule) > len(at) {
		return false
	}
	for i := range rule {
		if rule[i] != "*" && rule[i] != at[i] {
			return false
		}
	}
	return true
}

// naiveMatch is path.Match for patterns of * and ? by way of a regular
// expression; what has classes or escapes is taken as path.Match says.
func naiveMatch(pattern, name string) bool {
	if strings.ContainsAny(pattern, `[\`) || !validText(pattern) || !validText(name) {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
	re := regexp.QuoteMeta(pattern)
	re = strings.ReplaceAll(strings.ReplaceAll(re, `\*`, `[^/]*`), `\?`, `[^/]`)
	return regexp.MustCompile(`^(?s:` + re + `)$`).MatchString(name)
}

// naiveShow is a value at a place as it may be seen: hidden where a secret is
// there or above, and, unless it is a map, where one is below.
func naiveShow(v any, at, secrets []string) (shown any, hides bool) {
	m, isMap := v.(map[string]any)
	for _, p := range secrets {
		s, _ := naivePointer(p)
		n := min(len(s), len(at))
		if slices.Equal(s[:n], at[:n]) && (len(s) <= len(at) || !isMap) {
			return stella.SecretChanged, true
		}
	}
	if !isMap {
		return v, false
	}
	out := map[string]any{}
	for k, val := range m {
		s, h := naiveShow(val, append(slices.Clip(at), k), secrets)
		out[k] = s
		hides = hides || h
	}
	return out, hides
}

func validText(s string) bool { return strings.ToValidUTF8(s, "?") == s }
