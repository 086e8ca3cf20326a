package host

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// listName is the list of a release's files as they were sealed: a line for each,
// its name, what it held and what stat(2) said, with tabs between. Both digests
// of the seal are of these lines, so that the seal vouches for the list. It is a
// stored format. Without it nobody can tell which files are not as sealed.
const listName = "files"

// listing is the files of a release at one time.
type listing struct {
	text       []byte // as it is stored
	tree, stat stella.Digest
	rights     bool // lines have what sealFile.Rights says
}

// seal makes the seal of a release that was listed just now.
func (l listing) seal(dir string, rel releaseFile) sealFile {
	s := sealFile{SchemaVersion: 1, Tree: l.tree, Stat: l.stat, Rights: l.rights, Configs: map[string]string{}}
	for _, c := range rel.Configs {
		if fi, err := statConfig(dir, c); err == nil {
			s.Configs[c.Path] = statLine(fi)
		}
	}
	return s
}

// listRelease reads all of a release. Without rights its lines are those of an
// older stella's.
func listRelease(ctx context.Context, dir string, rel releaseFile, rights bool) (listing, error) {
	var text bytes.Buffer
	tree, stat := sha256.New(), sha256.New()
	err := eachFile(ctx, dir, rel, nil, func(name string, fi fs.FileInfo) error {
		deep, err := entryLine(ctx, filepath.Join(dir, name), fi, rights)
		if err != nil {
			return err
		}
		shallow := statLine(fi)
		_, _ = fmt.Fprintf(tree, "%q %s\n", name, deep)
		_, _ = fmt.Fprintf(stat, "%q %s\n", name, shallow)
		_, _ = fmt.Fprintf(&text, "%q\t%s\t%s\n", name, deep, shallow)
		return nil
	})
	return listing{text.Bytes(), sumOf(tree.Sum(nil)), sumOf(stat.Sum(nil)), rights}, err
}

// statListing digests what stat(2) says of a release. No file is opened.
func statListing(ctx context.Context, dir string, rel releaseFile) (stella.Digest, error) {
	h := sha256.New()
	err := statTree(ctx, dir, ownFiles(dir, rel), h)
	return sumOf(h.Sum(nil)), err
}

func sumOf(sum []byte) stella.Digest { return stella.Digest("sha256:" + hex.EncodeToString(sum)) }

// ownFiles are the paths of a release's files that are not part of its listing.
func ownFiles(dir string, rel releaseFile) map[string]bool {
	own := map[string]bool{filepath.Join(dir, sealName): true, filepath.Join(dir, listName): true}
	for _, c := range rel.Configs {
		own[configPath(dir, c)] = true
	}
	return own
}

// eachFile calls fn for everything in a release but its seal, its list and its
// config files, which are compared with digests of their own. Names begin with a
// slash. A directory that nobody can look into is an error, or else a call of
// closed, where there is one.
func eachFile(ctx context.Context, dir string, rel releaseFile, closed func(name string), fn func(name string, fi fs.FileInfo) error) error {
	skip := ownFiles(dir, rel)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != dir:
			return nil // it went meanwhile
		case isForeign(err) && closed != nil:
			closed(cmp.Or(path[len(dir):], "/"))
			return fs.SkipDir
		case err != nil || path == dir || skip[path]:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		fi, err := d.Info()
		if isForeign(err) && closed != nil {
			closed(cmp.Or(filepath.Dir(path)[len(dir):], "/"))
			return fs.SkipDir
		}
		if err != nil {
			return ignoreMissing(err)
		}
		return fn(path[len(dir):], fi)
	})
}

// entryLine is what a file holds and what it lets a process do.
func entryLine(ctx context.Context, path string, fi fs.FileInfo, rights bool) (string, error) {
	line, err := contentLine(ctx, path, fi)
	if err != nil || !rights {
		return line, err
	}
	return line + rightsOf(path, fi), nil
}

func contentLine(ctx context.Context, path string, fi fs.FileInfo) (string, error) {
	switch {
	case fi.Mode().IsRegular():
		sum, err := digestFile(ctx, path)
		return fileLine(fi) + string(sum), err
	case fi.IsDir():
		return fmt.Sprintf("dir %o", fi.Mode().Perm()), nil
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return fmt.Sprintf("link %q", target), err
	}
	return fmt.Sprintf("other %o", fi.Mode()), nil
}

// fileLine is the line of a file without its digest.
func fileLine(fi fs.FileInfo) string { return fmt.Sprintf("file %o %d ", fi.Mode().Perm(), fi.Size()) }

// rightsOf is the end of a line: who owns a file, and what it gives a process
// that executes it. What can not be read is told apart from what is not there.
func rightsOf(path string, fi fs.FileInfo) string {
	line := " " + ownership(fi)
	if special := fi.Mode() & (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky); special != 0 {
		line += " " + special.String()
	}
	if capabilities := capabilitiesOf(path); capabilities != "" {
		line += " " + capabilities
	}
	return line
}

// sealedFile is a line of a list.
type sealedFile struct{ deep, stat string }

// errUnlisted: there is no list that the seal vouches for.
var errUnlisted = errors.New("no list of what was sealed")

// readList reads the list of a release by the names of its files.
func readList(dir string, seal sealFile) (map[string]sealedFile, error) {
	const most = 256 << 20
	text, err := readRegular(filepath.Join(dir, listName), most)
	if err != nil {
		return nil, errors.Join(errUnlisted, err)
	}
	files := map[string]sealedFile{}
	tree, stat := sha256.New(), sha256.New()
	for line := range strings.Lines(string(text)) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(parts) != 3 {
			return nil, errUnlisted
		}
		name, err := strconv.Unquote(parts[0])
		if err != nil {
			return nil, errUnlisted
		}
		files[name] = sealedFile{parts[1], parts[2]}
		_, _ = fmt.Fprintf(tree, "%s %s\n", parts[0], parts[1])
		_, _ = fmt.Fprintf(stat, "%s %s\n", parts[0], parts[2])
	}
	if sumOf(tree.Sum(nil)) != seal.Tree || sumOf(stat.Sum(nil)) != seal.Stat {
		return nil, errUnlisted
	}
	return files, nil
}

// maxNamed is how many changed files of a release are named; the rest is
// counted.
const maxNamed = 20

// fileChanges is which files of a release are not as sealed.
type fileChanges struct {
	named []string // "changed /bin/app", sorted by name; at most maxNamed
	names []string // of the same, inside the release, as they are
	total int
}

// lines are the changes for people, bounded and printable.
func (c fileChanges) lines() []string {
	lines := slices.Clone(c.named)
	if more := c.total - len(c.named); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// releaseDocument is the name of release.json in a list. The files of the image
// lie below imageFiles, and go by their names in the image.
const (
	releaseDocument = "/release.json"
	imageFiles      = "/rootfs"
)

// treeChanges finds what of the image's part of a release is not as it was
// sealed. What stat(2) says the same of is not read. An added directory and one
// that is gone count as one each, whatever is or was in them.
func treeChanges(ctx context.Context, dir string, rel releaseFile, seal sealFile) (fileChanges, error) {
	stat, err := statListing(ctx, dir, rel)
	if err == nil && stat == seal.Stat {
		return fileChanges{}, nil
	}
	if err != nil {
		return fileChanges{}, err
	}
	sealed, err := readList(dir, seal)
	if err != nil {
		return unlistedChanges(ctx, dir, rel, seal)
	}
	c := comparison{
		dir: dir, sealed: sealed, seen: make(map[string]bool, len(sealed)), found: map[string]string{},
		within: map[string]bool{}, shut: map[string]bool{}, rights: seal.Rights,
	}
	// What it says of config files decides what else is looked at.
	if fi, err := os.Lstat(filepath.Join(dir, releaseDocument)); err == nil && c.visit(ctx, releaseDocument, fi) == nil && len(c.found) > 0 {
		return c.changes(), nil
	}
	err = eachFile(ctx, dir, rel, c.closed, func(name string, fi fs.FileInfo) error { return c.visit(ctx, name, fi) })
	if err != nil {
		return fileChanges{}, err
	}
	c.removed()
	return c.changes(), nil
}

// unlistedChanges says that something was changed where nobody knows what.
func unlistedChanges(ctx context.Context, dir string, rel releaseFile, seal sealFile) (fileChanges, error) {
	now, err := listRelease(ctx, dir, rel, seal.Rights)
	if err != nil && !isForeign(err) || err == nil && now.tree == seal.Tree {
		return fileChanges{}, err
	}
	return fileChanges{named: []string{"changed, and the list of what was sealed is not whole"}, total: 1}, nil
}

// comparison is one walk over a release beside its list.
type comparison struct {
	dir    string
	sealed map[string]sealedFile
	seen   map[string]bool
	found  map[string]string // name → what happened to it
	within map[string]bool   // added directories and what is in them
	shut   map[string]bool   // directories that nobody can look into
	rights bool              // see sealFile
}

// closed takes a directory that nobody can look into: it could be when it was
// sealed.
func (c *comparison) closed(name string) {
	c.shut[name] = true
	if c.found[name] == "" && !c.within[name] {
		c.found[name] = "changed"
	}
}

func (c *comparison) visit(ctx context.Context, name string, fi fs.FileInfo) error {
	was, known := c.sealed[name]
	c.seen[name] = true
	if !known {
		if !c.within[path.Dir(name)] {
			c.found[name] = "added"
		}
		c.within[name] = fi.IsDir() || c.within[path.Dir(name)]
		return nil
	}
	if was.stat == statLine(fi) {
		return nil
	}
	if fi.Mode().IsRegular() && !strings.HasPrefix(was.deep, fileLine(fi)) {
		c.found[name] = "changed" // however large it has become: it need not be read
		return nil
	}
	deep, err := entryLine(ctx, filepath.Join(c.dir, name), fi, c.rights)
	if errors.Is(err, fs.ErrNotExist) {
		c.seen[name] = false
		return nil
	}
	if err != nil && !isForeign(err) && !errors.Is(err, stella.ErrTampered) {
		return err
	}
	if err != nil || deep != was.deep {
		c.found[name] = "changed"
	}
	return nil
}

// removed adds what is not there any more.
func (c *comparison) removed() {
	for name := range c.sealed {
		parent := path.Dir(name)
		if !c.seen[name] && !c.shut[parent] && (parent == "/" || c.seen[parent]) {
			c.found[name] = "removed"
		}
	}
}

func (c *comparison) changes() fileChanges {
	out := fileChanges{total: len(c.found)}
	for _, name := range slices.Sorted(maps.Keys(c.found)) {
		if len(out.named) == maxNamed {
			break
		}
		out.names = append(out.names, name)
		shown := name
		if inImage, ok := strings.CutPrefix(name, imageFiles+"/"); ok {
			shown = "/" + inImage
		} else if name != imageFiles {
			shown = cmp.Or(strings.TrimPrefix(name, "/"), "the directory of the release") // stella's own
		}
		out.named = append(out.named, c.found[name]+" "+safe.Clip(shown, 200))
	}
	return out
}
