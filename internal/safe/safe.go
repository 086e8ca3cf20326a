// Package safe makes text from repositories, registries and targets fit for a
// terminal, a log or a record. Start with [Line]; [Secret] is for values that
// must never be printed. Nothing that came from outside is written without
// passing through here.
package safe

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as one printable line: every rune that is not printable, every
// newline and every invalid byte becomes \uXXXX. It is idempotent.
func Line(s string) string {
	return escape(s, func(r rune) bool { return unicode.IsPrint(r) })
}

// Block is Line for text of several lines: newlines and tabs stay.
func Block(s string) string {
	return escape(s, func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) })
}

// Clip is Line, cut after at most n runes with an ellipsis.
func Clip(s string, n int) string {
	// A rune becomes at most ten bytes, so that more input can not matter.
	if len(s) > 10*n+utf8.UTFMax {
		s = s[:10*n+utf8.UTFMax]
	}
	runes := []rune(Line(s))
	if len(runes) <= n {
		return string(runes)
	}
	return string(runes[:n]) + "…"
}

// URL returns a URL without its password, query and fragment: any of them may
// hold a credential. What is not a URL loses all that stands before its last @,
// and is otherwise returned as a Line.
func URL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" {
		if at := strings.LastIndexByte(s, '@'); at >= 0 {
			s = "redacted" + s[at:]
		}
		return Line(s)
	}
	if u.User != nil {
		u.User = url.User("redacted")
	}
	u.RawQuery, u.Fragment = "", ""
	return Line(u.String())
}

func escape(s string, keep func(rune) bool) string {
	if clean(s, keep) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == utf8.RuneError || !keep(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

func clean(s string, keep func(rune) bool) bool {
	for _, r := range s {
		if r == utf8.RuneError || !keep(r) {
			return false
		}
	}
	return true
}

// Secret is a value that no formatting, logging or encoding prints. Reveal is
// the only way to read it.
type Secret string

const mask = "[secret]"

// Reveal returns the value; the caller answers for where it goes.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer and hides the value.
func (Secret) String() string { return mask }

// GoString implements fmt.GoStringer and hides the value.
func (Secret) GoString() string { return mask }

// Format implements fmt.Formatter and hides the value under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// MarshalText implements encoding.TextMarshaler and hides the value.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue implements slog.LogValuer and hides the value.
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }
