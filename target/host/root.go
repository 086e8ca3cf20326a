package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// checkRoot refuses a root that lies nowhere below the allowed ones, that is
// reached through a symbolic link, or whose content somebody else than root and
// this user (uid) could exchange. Parts that do not exist yet are fine.
func checkRoot(root string, allowed []string, uid int) error {
	bad := func(why string) error {
		return fmt.Errorf("%w: root %s: %s", stella.ErrInvalid, safe.Clip(root, 200), why)
	}
	if !filepath.IsAbs(root) || filepath.Clean(root) != root || safe.Line(root) != root {
		return bad("want an absolute path without . and .. and without control characters")
	}
	if !belowAny(root, allowed) {
		err := bad("not below " + safe.Line(strings.Join(allowed, ", ")))
		return stella.WithHint(err, "move it below one of these, or allow it with --host-root or STELLA_HOST_ROOTS")
	}
	for _, dir := range ancestry(root) {
		fi, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("root %s: %w", root, err)
		}
		if why := unsafeDir(fi, uid, dir == root); why != "" {
			return bad(dir + " " + why)
		}
	}
	return nil
}

// unsafeDir says why a directory on the way to a root, or the root itself, can
// not be trusted; empty for nothing.
func unsafeDir(fi fs.FileInfo, uid int, last bool) string {
	owner, ok := ownerOf(fi)
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		return "is a symbolic link"
	case !fi.IsDir():
		return "is not a directory"
	case !ok || owner != 0 && owner != uid:
		return "belongs to another user"
	case last && owner != uid:
		return "does not belong to the user who runs stella"
	case fi.Mode().Perm()&0o022 != 0 && (last || fi.Mode()&fs.ModeSticky == 0):
		return "can be written to by other users"
	}
	return ""
}

// belowAny reports whether path lies strictly below one of the directories, as
// they are written or as their links resolve.
func belowAny(path string, dirs []string) bool {
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) {
			continue
		}
		if below(path, filepath.Clean(dir)) {
			return true
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil && below(path, real) {
			return true
		}
	}
	return false
}

func below(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// ancestry lists "/", then every directory down to path.
func ancestry(path string) []string {
	var dirs []string
	for dir := path; ; dir = filepath.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
		if dir == filepath.Dir(dir) {
			return dirs
		}
	}
}
