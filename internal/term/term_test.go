package term_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella/internal/term"
)

func table() *term.Table {
	t := &term.Table{Header: []string{"NAME", "HEALTH", "SINCE"}}
	t.Add(term.Cell{Text: "production"}, term.Cell{Text: "Healthy", Style: term.Good}, term.Cell{Text: "3m ago", Machine: "2026-11-23T10:00:00Z"})
	t.Add(term.Cell{Text: "é"}, term.Cell{}, term.Cell{})
	return t
}

func TestAlignedTableLinesUpItsColumns(t *testing.T) {
	var b strings.Builder
	if err := table().Aligned(term.Screen{W: &b}, ""); err != nil {
		t.Fatal(err)
	}
	want := "NAME        HEALTH   SINCE\n" +
		"production  Healthy  3m ago\n" +
		"é           -        -\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestColourIsOnlyWrittenWhereItIsWanted(t *testing.T) {
	for _, color := range []bool{false, true} {
		var b strings.Builder
		if err := table().Aligned(term.Screen{W: &b, Color: color}, ""); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), "\x1b[32mHealthy\x1b[0m"); got != color {
			t.Errorf("Color %v: escape sequences: %v", color, got)
		}
	}
}

func TestTSVHasNoHeaderAndFieldsThatCanBeCounted(t *testing.T) {
	tb := table()
	tb.Add(term.Cell{Text: "a\tb\nc"}, term.Cell{}, term.Cell{})
	var b strings.Builder
	if err := tb.TSV(&b); err != nil {
		t.Fatal(err)
	}
	want := "production\tHealthy\t2026-11-23T10:00:00Z\né\t\t\na\\u0009b\\u000Ac\t\t\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The corpus is that of the design's failure list: what people put in commit
// messages and process output to take over a terminal.
func TestNothingFromOutsideReachesTheTerminal(t *testing.T) {
	for _, evil := range []string{
		"\x1b[2J", "\x1b]8;;http://x\x07", "\x1b]52;c;eA==\x07", "\u009b31m", "\x9b31m", "\u202e", "\u200b",
		"a\rb", "a\nforged", "\u2028", "\U000e0041", "\b\b", "\xff\xfe",
	} {
		var b strings.Builder
		tb := &term.Table{Header: []string{"X"}}
		tb.Add(term.Cell{Text: evil})
		if err := tb.Aligned(term.Screen{W: &b}, ""); err != nil {
			t.Fatal(err)
		}
		s := term.NewStatus(t.Context(), term.Screen{W: &b}, time.Now)
		s.Line(term.Plain, evil)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != 3 {
			t.Errorf("%q: %d lines, want 3", evil, len(lines))
		}
		for _, r := range strings.ReplaceAll(b.String(), "\n", "") {
			if r < 0x20 || r == 0x9b || r == 0x202e || r == 0x200b || r == 0x2028 || r == 0xe0041 || r == 0xfffd {
				t.Errorf("%q: %U was written", evil, r)
			}
		}
	}
}

func TestStatusLineIsTakenAwayBeforeAWholeLine(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	var b strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no ticker: the test moves the clock
	s := term.NewStatus(ctx, term.Screen{W: &b, Terminal: true, Width: 80}, func() time.Time { return now })
	s.Doing("production: prepare web-1")
	now = now.Add(3 * time.Second)
	s.Line(term.Plain, "production: preflight")
	s.Close()
	want := "production: prepare web-1" +
		"\r\x1b[2K" + "production: preflight\n" +
		"production: prepare web-1 (3s)" + "\r\x1b[2K"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStatusOffATerminalWritesWholeLinesOnly(t *testing.T) {
	var b strings.Builder
	s := term.NewStatus(t.Context(), term.Screen{W: &b}, time.Now)
	s.Doing("production: prepare web-1")
	s.Line(term.Bad, "production: prepare web-1 … 1.2s")
	s.Close()
	if diff := cmp.Diff("production: prepare web-1 … 1.2s\n", b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStatusLineNeverWraps(t *testing.T) {
	var b strings.Builder
	s := term.NewStatus(t.Context(), term.Screen{W: &b, Terminal: true, Width: 20}, time.Now)
	s.Doing(strings.Repeat("x", 100))
	if got := len([]rune(b.String())); got >= 20 {
		t.Errorf("%d columns, want less than 20", got)
	}
}
