package imagetree_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/imagetree"
)

func TestParseName(t *testing.T) {
	for in, want := range map[string][]string{
		".": nil, "./": nil,
		"etc/":         {"etc"},
		"./etc/passwd": {"etc", "passwd"},
		"..data":       {"..data"},
		`etc/systemd/system-systemd\x2dcryptsetup.slice`: {"etc", "systemd", `system-systemd\x2dcryptsetup.slice`},
	} {
		got, err := imagetree.ParseName(in)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("ParseName(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "/", "/.", "/etc/passwd", "..", "../x", "a/..", "a/../b", "a/../../b", "a//b", "a/./b", "././a",
		"a\x00b", "a\x1b[2Jb", "a\nb", "a\u009bb", "a\xffb", `a\b`, `..\..\x`, `a\x2`, `\x2D`,
		strings.Repeat("a", 256), strings.Repeat("a/", 64) + "a",
	} {
		if got, err := imagetree.ParseName(in); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("ParseName(%q) = %q, %v, want ErrInvalid", in, got, err)
		}
	}
}

func TestParseLayerNameTakesWhatToolsWrite(t *testing.T) {
	for in, want := range map[string][]string{
		"/": nil, ".": nil, "././": nil,
		"/etc/passwd":     {"etc", "passwd"},
		"./etc//./passwd": {"etc", "passwd"},
	} {
		got, err := imagetree.ParseLayerName(in)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("ParseLayerName(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "..", "/../etc", "a/../b", "./../a", "a\x00"} {
		if got, err := imagetree.ParseLayerName(in); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("ParseLayerName(%q) = %q, %v, want ErrInvalid", in, got, err)
		}
	}
}

// build makes a tree of "dir/", "file" and "link -> target".
func build(t testing.TB, specs ...string) *imagetree.Tree {
	t.Helper()
	tree := imagetree.New(1000)
	for _, spec := range specs {
		name, target, isLink := strings.Cut(spec, " -> ")
		n := imagetree.Node{Kind: imagetree.File}
		if isLink {
			n = imagetree.Node{Kind: imagetree.Symlink, Target: target}
		}
		parts := strings.Split(strings.TrimSuffix(name, "/"), "/")
		if strings.HasSuffix(name, "/") {
			if _, err := tree.Dir(parts, 0); err != nil {
				t.Fatal(err)
			}
			continue
		}
		dir, err := tree.Dir(parts[:len(parts)-1], 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Put(dir, parts[len(parts)-1], n); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func TestTarget(t *testing.T) {
	layout := []string{
		"usr/bin/busybox", "usr/lib/x86/libc.so", "bin -> usr/bin", "lib64 -> usr/lib",
		"etc/alternatives/", "deep/er/est/", "top -> /", "jump -> deep/er/est", "x/y/t -> /", "spin -> spun", "spun -> spin",
	}
	for _, c := range []struct{ at, target, want string }{
		{"usr/bin/sh", "/bin/busybox", "../../bin/busybox"},
		{"usr/bin/ls", "busybox", "busybox"},
		{"usr/bin/cat", "/usr/bin/busybox", "busybox"},
		{"usr/bin/vi", "/etc/alternatives/vi", "../../etc/alternatives/vi"},
		{"etc/alternatives/vi", "/usr/bin/vim.tiny", "../../usr/bin/vim.tiny"},
		{"usr/lib/libc.so", "./x86//libc.so", "./x86//libc.so"},
		{"usr/lib/modules", "../../lib64/modules", "../../lib64/modules"},
		{"etc/root", "/", ".."},
		{"root", "/", "."},
		{"etc/out", "../../../../etc/shadow", "shadow"},
		{"etc/out", "/../../etc/shadow", "shadow"},
		{"etc/sly", "../top/../../etc/shadow", "shadow"},
		{"x/y/sly", "t/../etc", "../../etc"},
		{"sly", "jump/../x", "deep/er/x"},
		{"etc/sly", "missing/../../x", "../x"},
		{"sly", "spin/../x", "x"},
		{"dev/stdout", "/proc/self/fd/1", "../proc/self/fd/1"},
	} {
		tree := build(t, append(layout, c.at+" -> "+c.target)...)
		if got := tree.Target(tree.Lookup(strings.Split(c.at, "/"))); got != c.want {
			t.Errorf("Target(%s -> %s) = %q, want %q", c.at, c.target, got, c.want)
		}
	}
}

func TestDirFollowsLinksAsAChrootDoes(t *testing.T) {
	tree := build(t, "usr/bin/", "bin -> usr/bin", "a/b -> ../../../../bin", "abs -> /a/b", "dangling -> /new/dir", "file", "self -> self")
	for in, want := range map[string]string{
		"bin": "usr/bin", "a/b": "usr/bin", "abs/sub": "usr/bin/sub", "dangling/x": "new/dir/x",
	} {
		dir, err := tree.Dir(strings.Split(in, "/"), 0)
		if err != nil || dir.Path() != want {
			t.Errorf("Dir(%s) = %v, %v, want %s", in, dir, err, want)
		}
	}
	for _, in := range []string{"file/x", "self/x"} {
		if _, err := tree.Dir(strings.Split(in, "/"), 0); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("Dir(%s): %v, want ErrInvalid", in, err)
		}
	}
}

func TestBounds(t *testing.T) {
	tree := imagetree.New(3)
	if _, err := tree.Dir([]string{"a", "b", "c"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Dir([]string{"d"}, 0); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a fourth of three names: %v", err)
	}
	// A dangling link may make a path deeper than any name that was let in.
	deep := strings.Repeat("d/", 60)
	tree = build(t, "a -> "+deep, "dd -> a/"+deep)
	if _, err := tree.Dir([]string{"dd", "x"}, 0); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("120 deep: %v", err)
	}
}

func TestRemoveBelowKeepsWhatTheLayerItselfBrought(t *testing.T) {
	tree := imagetree.New(100)
	put := func(dir string, name string, layer int) {
		d, err := tree.Dir([]string{dir}, layer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Put(d, name, imagetree.Node{Kind: imagetree.File, Layer: layer}); err != nil {
			t.Fatal(err)
		}
	}
	put("old", "a", 0)
	put("mixed", "a", 0)
	put("mixed", "b", 1)
	tree.RemoveBelow(tree.Root(), 1)
	if tree.Lookup([]string{"old"}) != nil || tree.Lookup([]string{"mixed", "a"}) != nil || tree.Lookup([]string{"mixed", "b"}) == nil {
		t.Error("want only mixed/b to be left")
	}
}

// TestTargetsStayInsideAndLeadToTheSamePlace makes random trees full of links,
// writes them to disk with the targets that Target gives, and walks them there
// as the kernel would, with an eye on the root.
func TestTargetsStayInsideAndLeadToTheSamePlace(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c", "..", ".", ""})
	rapid.Check(t, func(t *rapid.T) {
		tree := imagetree.New(200)
		var links []*imagetree.Node
		for range rapid.IntRange(1, 12).Draw(t, "entries") {
			parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(t, "path")
			dir, err := tree.Dir(parts[:len(parts)-1], 0)
			if err != nil {
				continue // through a file or in circles
			}
			n := imagetree.Node{Kind: rapid.SampledFrom([]imagetree.Kind{imagetree.Dir, imagetree.File, imagetree.Symlink, imagetree.Symlink}).Draw(t, "kind")}
			if n.Kind == imagetree.Symlink {
				n.Target = strings.Join(rapid.SliceOfN(name, 1, 5).Draw(t, "target"), "/")
				if imagetree.ParseTarget(n.Target) != nil {
					continue
				}
			}
			if put, err := tree.Put(dir, parts[len(parts)-1], n); err == nil && n.Kind == imagetree.Symlink {
				links = append(links, put)
			}
		}
		for _, l := range links {
			stored := tree.Target(l)
			want, ok := chroot(tree, l.Path(), nil, true)
			got, inside := chroot(tree, l.Path(), tree, false)
			if !inside {
				t.Fatalf("%s -> %s, stored as %s, leaves the root", l.Path(), l.Target, stored)
			}
			// Where a part of the way is missing, the kernel says so and the
			// stored target may be shorter: both lead nowhere outside.
			if ok && want != "" && got != want {
				t.Fatalf("%s -> %s, stored as %s: leads to %q in place and to %q in a chroot", l.Path(), l.Target, stored, got, want)
			}
		}
	})
}

// chroot walks a path as the kernel does; with stored set, links have the
// targets that Target gives them and climbing above the root ends the walk with
// inside false. The empty result means that the way is missing or circular.
func chroot(tree *imagetree.Tree, path string, stored *imagetree.Tree, clamp bool) (at string, inside bool) {
	var dir []string
	rest, links := strings.Split(path, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(dir) == 0 && !clamp {
				return "", false
			}
			if len(dir) > 0 {
				dir = dir[:len(dir)-1]
			}
			continue
		}
		n := find(tree, dir, part)
		switch {
		case n == nil:
			return "", true
		case n.Kind == imagetree.Symlink:
			target := n.Target
			if stored != nil {
				target = stored.Target(n)
			}
			if strings.HasPrefix(target, "/") {
				if stored != nil {
					return "", false
				}
				dir = nil
			}
			if links++; links > 40 {
				return "", true
			}
			rest = append(strings.Split(target, "/"), rest...)
		case n.Kind != imagetree.Dir && len(rest) > 0:
			return "", true
		default:
			dir = append(slices.Clip(dir), part)
		}
	}
	return "/" + strings.Join(dir, "/"), true
}

func find(tree *imagetree.Tree, dir []string, name string) *imagetree.Node {
	n := tree.Root()
	for _, part := range dir {
		n = n.Child(part)
	}
	return n.Child(name)
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{".", "./a/b", "/", "a/../b", "\x1b", `a\x2db`, "a/" + strings.Repeat("../", 9)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) ([]string, error){imagetree.ParseName, imagetree.ParseLayerName} {
			parts, err := parse(s)
			if err != nil {
				continue
			}
			joined := filepath.Join(parts...)
			if len(parts) > 0 && (!filepath.IsLocal(joined) || strings.Join(parts, "/") != joined) {
				t.Fatalf("%q became %q", s, parts)
			}
			if strings.ContainsRune(joined, os.PathListSeparator) && !strings.ContainsRune(s, os.PathListSeparator) {
				t.Fatalf("%q became %q", s, parts)
			}
		}
	})
}
