package configrepo

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The modes of Git that an Entry can have.
const (
	ModeDir        uint32 = 0o040000
	ModeFile       uint32 = 0o100644
	ModeExecutable uint32 = 0o100755
	ModeSymlink    uint32 = 0o120000
	ModeSubmodule  uint32 = 0o160000
)

// Entry is one name in a directory of a Tree.
type Entry struct {
	Name      string
	Mode      uint32 // Git's: ModeDir, ModeFile, …
	ID        string // Git object id, 40 hexadecimal digits
	SizeBytes int64  // of a file; known without reading it
}

// Tree is a config repository at one commit, or a working copy. Paths are
// slash-separated, from the top, without "." and ".."; the top is "".
//
// A Tree that also has Lookup(ctx, path) (Entry, error) is asked that for a
// single entry, and otherwise for the list of its directory.
type Tree interface {
	// Entries lists a directory. An error of class ErrNotFound says that there
	// is no such directory.
	Entries(ctx context.Context, dir string) ([]Entry, error)
	// Read returns a file's content. A file of more than maxBytes is an error
	// before it is read; one that does not exist is of class ErrNotFound.
	Read(ctx context.Context, path string, maxBytes int64) ([]byte, error)
}

// MaxFileBytes is the largest file that is read from a repository.
const MaxFileBytes = 1 << 20

// lookup returns the entry at a path. Every directory on the way is looked at,
// so that a symbolic link in its place is found and named.
func lookup(ctx context.Context, t Tree, name string) (Entry, error) {
	segments := strings.Split(name, "/")
	for i := range segments {
		at := strings.Join(segments[:i+1], "/")
		e, err := entry(ctx, t, at)
		if err != nil {
			return Entry{}, err
		}
		if i == len(segments)-1 {
			return e, nil
		}
		if p, bad := notDirectory(at, e); bad {
			return Entry{}, Problems{p}
		}
	}
	return Entry{}, stella.ErrNotFound
}

// entry returns the entry at a path whose directory is known to be one.
func entry(ctx context.Context, t Tree, name string) (Entry, error) {
	if l, ok := t.(interface {
		Lookup(ctx context.Context, path string) (Entry, error)
	}); ok {
		return l.Lookup(ctx, name)
	}
	dir, base := path.Split(name)
	entries, err := t.Entries(ctx, strings.TrimSuffix(dir, "/"))
	if err != nil {
		return Entry{}, err
	}
	for _, e := range entries {
		if e.Name == base {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("%s: %w", safe.Line(name), stella.ErrNotFound)
}

// readOwn reads a file of ours. What is wrong with it is reported as Problems,
// and so is that it is not there.
func readOwn(ctx context.Context, t Tree, name string) ([]byte, error) {
	e, err := lookup(ctx, t, name)
	switch {
	case errors.Is(err, stella.ErrNotFound):
		return nil, missingFile(name)
	case err != nil:
		return nil, err
	}
	if p, bad := notFile(name, e); bad {
		return nil, Problems{p}
	}
	return readChecked(ctx, t, name)
}

// missingFile is Problems, and of class ErrNotFound as well.
func missingFile(name string) error {
	p := Problem{Path: safe.Line(name), What: "is not there", Fix: "add it; 'stella init' writes an example"}
	if path.Base(path.Dir(name)) == "baselines" {
		p.Fix = "add it; 'stella schema Baseline' prints its fields"
	}
	return &missingError{Problems{p}}
}

type missingError struct{ Problems }

func (e *missingError) Unwrap() error        { return e.Problems }
func (e *missingError) Is(target error) bool { return target == stella.ErrNotFound }

// readChecked reads a file whose entry was found good.
func readChecked(ctx context.Context, t Tree, name string) ([]byte, error) {
	content, err := t.Read(ctx, name, MaxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", safe.Line(name), err)
	}
	if isLFS(content) {
		return nil, Problems{{Path: safe.Line(name), What: "is a Git LFS pointer and not the file", Fix: "commit the file itself"}}
	}
	return content, nil
}

// isLFS reports the first line of a pointer file.
// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
func isLFS(content []byte) bool {
	const first = "version https://git-lfs.github.com/spec/"
	return len(content) >= len(first) && string(content[:len(first)]) == first
}

// notFile says why an entry is not a file that may be read.
func notFile(name string, e Entry) (Problem, bool) {
	p := Problem{Path: safe.Line(name)}
	switch {
	case e.Mode == ModeDir:
		p.What, p.Fix = "is a directory", "put a file in its place"
	case e.Mode == ModeSymlink:
		p.What, p.Fix = "is a symbolic link", "put the file in its place"
	case e.Mode == ModeSubmodule:
		p.What, p.Fix = "is a submodule", "commit its files in its place"
	case e.Mode != ModeFile && e.Mode != ModeExecutable:
		p.What, p.Fix = fmt.Sprintf("has the mode %06o", e.Mode), "put a file in its place"
	case e.SizeBytes > MaxFileBytes:
		p.What, p.Fix = fmt.Sprintf("is %d bytes long", e.SizeBytes), fmt.Sprintf("keep it to %d", MaxFileBytes)
	default:
		return Problem{}, false
	}
	return p, true
}

// notDirectory says why an entry is not a directory that may be entered.
func notDirectory(name string, e Entry) (Problem, bool) {
	p := Problem{Path: safe.Line(name)}
	switch e.Mode {
	case ModeDir:
		return Problem{}, false
	case ModeSymlink:
		p.What, p.Fix = "is a symbolic link", "put the directory in its place"
	case ModeSubmodule:
		p.What, p.Fix = "is a submodule", "commit its files in its place"
	default:
		p.What, p.Fix = "is not a directory", "put a directory in its place"
	}
	return p, true
}

// badName says why a name of a tree's entry is refused. Git itself accepts all
// of them in an object.
func badName(name string) string {
	switch {
	case name == "":
		return "an empty name"
	case name == "." || name == "..":
		return "a name that means another directory"
	case len(name) > 255:
		return "a name of more than 255 bytes"
	case strings.ContainsAny(name, "/\\"):
		return "a slash in a name"
	case !utf8.ValidString(name):
		return "a name that is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "a control character in a name"
	case isDotGit(name):
		return "a name that means Git's own directory"
	}
	return ""
}

func isBadName(name string) bool { return badName(name) != "" }

// isDotGit reports the spellings of .git that one file system or another takes
// for it: case, trailing dots and spaces, its short name, an NTFS stream and
// code points that HFS+ ignores.
func isDotGit(name string) bool {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name)
	name, _, _ = strings.Cut(strings.ToLower(name), ":")
	name = strings.TrimRight(name, ". ")
	return name == ".git" || name == "git~1"
}
