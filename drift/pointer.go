package drift

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
)

// Pointer returns the JSON Pointer (RFC 6901) of the segments, escaped. No
// segments give the empty pointer: the whole value.
func Pointer(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(escapeSegment(s))
	}
	return b.String()
}

func escapeSegment(s string) string {
	if !strings.ContainsAny(s, "~/") {
		return s
	}
	// ~ first, or the ~ of an escaped slash would be escaped again.
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

// ParsePointer returns the segments of a JSON Pointer (RFC 6901), unescaped;
// none for the empty pointer. Errors are of class stella.ErrInvalid.
func ParsePointer(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("%w: pointer %q: want it to start with /", stella.ErrInvalid, pointer)
	}
	segments := strings.Split(pointer[1:], "/")
	for i, s := range segments {
		plain, ok := unescapeSegment(s)
		if !ok {
			return nil, fmt.Errorf("%w: pointer %q: ~ is written ~0 and / is written ~1", stella.ErrInvalid, pointer)
		}
		segments[i] = plain
	}
	return segments, nil
}

func unescapeSegment(s string) (plain string, ok bool) {
	for i := range len(s) {
		if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
			return "", false
		}
	}
	// ~1 first, or "~01" would become a slash instead of "~1".
	return strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~"), true
}

// Lookup returns the value that the pointer names in a canonical value. It
// reports false where the pointer is not valid or names nothing.
func Lookup(v any, pointer string) (any, bool) {
	segments, err := ParsePointer(pointer)
	if err != nil {
		return nil, false
	}
	for _, s := range segments {
		var ok bool
		if v, ok = child(v, s); !ok {
			return nil, false
		}
	}
	return v, true
}

func child(v any, segment string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		c, ok := v[segment]
		return c, ok
	case []any:
		i, err := strconv.Atoi(segment)
		// RFC 6901 writes an index without sign or leading zeros.
		if err != nil || i < 0 || i >= len(v) || strconv.Itoa(i) != segment {
			return nil, false
		}
		return v[i], true
	default:
		return nil, false
	}
}
