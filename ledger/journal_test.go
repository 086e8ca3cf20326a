package ledger_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

func line(i int) ledger.JournalLine {
	return ledger.JournalLine{
		At: noon().Add(time.Duration(i) * time.Second), Step: stella.StepApply, Target: "web-1", Event: fmt.Sprint("line ", i), Detail: map[string]string{"k": "v"},
	}
}

func openJournal(t *testing.T, dir string) *ledger.Journal {
	t.Helper()
	j, err := ledger.OpenJournal(dir, "production-42")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func lines(t *testing.T, dir string) []ledger.JournalLine {
	t.Helper()
	got, err := ledger.ReadJournal(dir, "production-42")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestJournalKeepsLinesAcrossACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, dir)
	var want []ledger.JournalLine
	for i := range 3 {
		if err := j.Append(line(i)); err != nil {
			t.Fatal(err)
		}
		want = append(want, line(i))
	}
	equal(t, "lines, while it is open", want, lines(t, dir))
	// The power goes in the middle of a line.
	path := filepath.Join(dir, "production-42.jsonl")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "lines after a torn one", want[:2], lines(t, dir))
	again := openJournal(t, dir)
	if err := again.Append(line(9)); err != nil {
		t.Fatal(err)
	}
	equal(t, "lines after it was opened again", append(want[:2:2], line(9)), lines(t, dir))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestJournalIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "production-42.jsonl")
	full := strings.Repeat(`{"at":"2026-03-01T12:00:00Z","event":"x"}`+"\n", ledger.MaxJournalBytes/42)
	if err := os.WriteFile(path, []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
	j := openJournal(t, dir)
	l := line(1)
	l.Error = strings.Repeat("ж", 1<<20)
	l.Detail["log"] = strings.Repeat("y", 1<<20)
	for range 3 {
		if err := j.Append(l); err != nil {
			t.Fatal(err)
		}
	}
	got := lines(t, dir)
	if last := got[len(got)-1]; last.Event != "the journal is full" {
		t.Errorf("the last line is %+v", last)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > ledger.MaxJournalBytes+1000 {
		t.Errorf("the journal has %d bytes, %v", info.Size(), err)
	}
}

func TestJournalCutsALongLine(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	l := line(1)
	l.Error = strings.Repeat("x", 1<<20)
	l.Detail["log"] = strings.Repeat("y", 1<<20)
	if err := j.Append(l); err != nil {
		t.Fatal(err)
	}
	got := lines(t, dir)
	if len(got) != 1 || len(got[0].Error) > ledger.MaxText+10 || len(got[0].Detail) != 0 {
		t.Errorf("got %d lines", len(got))
	}
}

func TestJournalsComeAndGo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none yet")
	if err := ledger.SweepJournals(dir, time.Now()); err != nil {
		t.Error(err)
	}
	openJournal(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ledger.SweepJournals(dir, time.Now().Add(-time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := ledger.ReadJournal(dir, "production-42"); err != nil {
		t.Errorf("a young journal was swept: %v", err)
	}
	if err := ledger.SweepJournals(dir, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "README")); err != nil {
		t.Errorf("what is no journal was swept: %v", err)
	}
	for range 2 {
		if err := ledger.RemoveJournal(dir, "production-42"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ledger.ReadJournal(dir, "production-42"); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("ReadJournal: %v, want stella.ErrNotFound", err)
	}
	for _, id := range []string{"", "..", "../x-1", "a/b-1", "production", "production-0", "Production-1", "production-1\n", strings.Repeat("x", 300) + "-1"} {
		if _, err := ledger.OpenJournal(dir, id); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("OpenJournal(%q): %v, want stella.ErrInvalid", id, err)
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"at":"2026-03-01T12:00:00Z","step":"apply","target":"","event":"running","error":"","detail":{}}` + "\n{"))
	f.Add([]byte("\n\n{}\nnull\n[]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := ledger.ParseJournal(data)
		if again := ledger.ParseJournal(append(data, "\n\xff"...)); len(again) < len(got) {
			t.Fatalf("a torn tail loses lines: %s", cmp.Diff(got, again))
		}
	})
}
