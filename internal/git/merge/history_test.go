package merge_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/stella-ops/stella/internal/git"
)

// history is one case: a commit somewhere in a history, what was there before
// it, and what is there now.
type history struct {
	before, commit, now memory
	merge               bool   // the commit has a second parent
	other               memory // which is this
	root                bool   // the commit has no parent; before is empty
}

// dice makes random histories. All of it depends on the seed alone.
type dice struct{ *rand.Rand }

func newDice(seed, n uint64) dice { return dice{rand.New(rand.NewPCG(seed, n))} }

func (d dice) one(of ...string) string { return of[d.IntN(len(of))] }
func (d dice) chance(percent int) bool { return d.IntN(100) < percent }
func (d dice) pick(m memory) string {
	if len(m) == 0 {
		return ""
	}
	return slices.Sorted(maps.Keys(m))[d.IntN(len(m))]
}

func (d dice) history() history {
	if d.chance(50) {
		return d.texts()
	}
	first := memory{}
	for range 1 + d.IntN(5) {
		d.add(first)
	}
	h := history{before: first, root: d.chance(3)}
	if h.root {
		h.before = memory{}
		h.commit = first
	} else {
		h.commit = d.changed(first, 1+d.IntN(4))
	}
	if h.merge = !h.root && d.chance(10); h.merge {
		h.other = d.changed(first, 1+d.IntN(2))
	}
	h.now = d.changed(h.commit, 1+d.IntN(4))
	if d.chance(30) {
		d.putBack(h)
	}
	return h
}

// texts is a history in which the same files are edited again and again.
func (d dice) texts() history {
	first := memory{}
	for _, path := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		first[path] = regular(d.text())
	}
	edit := func(m memory) memory {
		m = maps.Clone(m)
		for _, path := range slices.Sorted(maps.Keys(m)) {
			if d.chance(80) {
				m[path] = regular(d.edit(m[path].text))
			}
		}
		return m
	}
	h := history{before: first, commit: edit(first)}
	h.now = edit(h.commit)
	for _, path := range slices.Sorted(maps.Keys(h.now)) {
		if d.chance(15) { // undone already, and edited again
			h.now[path] = regular(d.edit(h.before[path].text))
		}
	}
	return h
}

// putBack makes some of what is now what it was before, as somebody does who
// undoes by hand.
func (d dice) putBack(h history) {
	for range 1 + d.IntN(3) {
		path := d.pick(h.commit)
		was, ok := h.before[path]
		delete(h.now, path)
		if ok && h.now.free(path) {
			h.now[path] = was
		}
	}
}

// free reports whether a file can be at a path.
func (m memory) free(path string) bool {
	for p := range m {
		if strings.HasPrefix(p, path+"/") || strings.HasPrefix(path, p+"/") {
			return false
		}
	}
	return true
}

func (d dice) changed(m memory, times int) memory {
	m = maps.Clone(m)
	for range times {
		d.change(m)
	}
	return m
}

func (d dice) change(m memory) {
	path := d.pick(m)
	f := m[path]
	switch n := d.IntN(100); {
	case path == "" || n < 8:
		d.add(m)
	case n < 14:
		delete(m, path)
	case n < 18: // move
		to := d.path()
		if delete(m, path); m.free(to) {
			m[to] = f
		}
	case n < 22 && (f.mode == git.ModeFile || f.mode == git.ModeExecutable):
		f.mode ^= git.ModeFile ^ git.ModeExecutable
		m[path] = f
	case n < 25: // a file becomes a directory
		delete(m, path)
		m[path+"/"+d.one("x", "y")] = regular(d.text())
	case n < 28: // a directory becomes a file
		dir, _, ok := strings.Cut(path, "/")
		if ok {
			maps.DeleteFunc(m, func(p string, _ file) bool { return strings.HasPrefix(p, dir+"/") })
			m[dir] = regular(d.text())
		}
	case n < 30:
		m[path] = file{git.ModeSymlink, d.one("a", "b", "nowhere")}
	case n < 31:
		m[path] = file{git.ModeSubmodule, strings.Repeat(d.one("1", "2", "3"), 40)}
	case f.mode == git.ModeFile || f.mode == git.ModeExecutable:
		for range 1 + d.IntN(2) {
			f.text = d.edit(f.text)
		}
		m[path] = f
	}
}

func (d dice) path() string {
	return d.one("a", "b", "d", "d/x", "d/y", "d/e/x", "d/e/z", "release.yaml", "compose.yaml")
}

func (d dice) add(m memory) {
	if path := d.path(); m.free(path) {
		m[path] = regular(d.text())
	}
}

// text is a file's content, of the kinds that merges get wrong.
func (d dice) text() string {
	var b strings.Builder
	switch d.IntN(7) {
	case 0: // nothing unlike the next
		for range d.IntN(12) {
			b.WriteString(d.one("a", "b", "c") + "\n")
		}
	case 1: // every line once
		for i := range d.IntN(40) {
			fmt.Fprintf(&b, "line %d\n", i)
		}
	case 2: // as Compose files are
		for range d.IntN(9) {
			b.WriteString(d.service())
		}
	case 3: // some lines very often
		for i := range 40 + d.IntN(80) {
			if d.chance(60) {
				b.WriteString(d.one("always", "}", "") + "\n")
			} else {
				fmt.Fprintf(&b, "v%d\n", i%(3+d.IntN(60)))
			}
		}
	case 4:
		return strings.ReplaceAll(d.text(), "\n", "\r\n")
	case 5:
		return strings.TrimSuffix(d.text(), "\n")
	default:
		fmt.Fprintf(&b, "apiVersion: stella/v1\nkind: Release\nversion: %s\ncomponents:\n  api: r/api:%d\n  web: r/web:%d\nvariables:\n  LEVEL: info\n  PORT: \"%d\"\n",
			d.one("1.0", "1.1", "2.0"), d.IntN(5), d.IntN(5), d.IntN(3))
	}
	return b.String()
}

func (d dice) service() string {
	return fmt.Sprintf("  %s:\n    image: %s\n    restart: always\n    ports:\n    - \"%d:80\"\n", d.one("api", "web", "worker", "db", "cache"), d.one("r/a", "r/b"), d.IntN(100))
}

// edit changes a text as people do: a line, a block, an end of line.
func (d dice) edit(text string) string {
	lines := strings.SplitAfter(text, "\n")
	at := d.IntN(len(lines))
	until := min(len(lines), at+1+d.IntN(3))
	some := func() []string {
		if d.chance(40) {
			return []string{lines[d.IntN(len(lines))]}
		}
		return strings.SplitAfter(d.one("new\n", fmt.Sprintf("v%d\n", d.IntN(70)), "a\n", "b\n", "always\n", d.service(), d.service()+d.service()), "\n")
	}
	switch n := d.IntN(40); {
	case n < 10:
		lines = slices.Insert(lines, at, some()...)
	case n < 18:
		lines = slices.Delete(lines, at, until)
	case n < 30:
		lines = slices.Replace(lines, at, until, some()...)
	case n < 32: // again
		lines = slices.Insert(lines, at, slices.Clone(lines[at:until])...)
	case n < 34: // elsewhere
		block := slices.Clone(lines[at:until])
		lines = slices.Delete(lines, at, until)
		lines = slices.Insert(lines, d.IntN(len(lines)+1), block...)
	case n == 34:
		return strings.TrimSuffix(text, "\n")
	case n == 35:
		return text + "\n"
	case n == 36:
		return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	case n == 37:
		return text + "\x00\n"
	case n == 38:
		return ""
	default: // all over the place
		for i := range lines {
			if d.chance(30) {
				lines[i] = fmt.Sprintf("v%d\n", d.IntN(70))
			}
		}
	}
	return strings.Join(lines, "")
}
