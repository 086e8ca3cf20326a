package safe_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/stella-ops/stella/internal/safe"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"näive ✓":         "näive ✓",
		"a\x1b[2Jb":       `a\u001B[2Jb`,
		"a\nb":            `a\u000Ab`,
		"\u202eevil":      `\u202Eevil`,
		"\u009b31m":       `\u009B31m`,
		"bad\xffbyte":     `bad\xffbyte`,
		"\ufffd":          `\uFFFD`,
		"zero\u200bwidth": `zero\u200Bwidth`,
	} {
		if got := safe.Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\x1b]52;c;x\a\r\n\u2028\U000e0041\xff\b")
	f.Fuzz(func(t *testing.T, s string) {
		got := safe.Line(s)
		for _, r := range got {
			if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
				t.Fatalf("Line(%q) = %q has %U", s, got, r)
			}
		}
		if again := safe.Line(got); again != got {
			t.Fatalf("not idempotent: %q, then %q", got, again)
		}
		if clipped := []rune(safe.Clip(s, 5)); len(clipped) > 6 {
			t.Fatalf("Clip(%q, 5) = %q is too long", s, string(clipped))
		}
	})
}

func TestURLHidesCredentials(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:TOKEN@host/repo?sig=SECRET#x": "https://redacted@host/repo",
		"ssh://git@host:2222/repo.git":              "ssh://redacted@host:2222/repo.git",
		"/srv/config.git":                           "/srv/config.git",
		"https://user:TOKEN%zz@host/repo":           "redacted@host/repo",
		"git@host:shop/config.git":                  "redacted@host:shop/config.git",
	} {
		if got := safe.URL(in); got != want {
			t.Errorf("URL(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := safe.Secret("hunter2")
	doc, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%s %v %+v %#v %q %x %d", s, s, s, s, s, s, s) + string(doc)
	if strings.Contains(all, "hunter2") || strings.Contains(all, "68756e74657232") {
		t.Errorf("the secret is in %s", all)
	}
	if s.Reveal() != "hunter2" {
		t.Error("Reveal does not reveal")
	}
}
