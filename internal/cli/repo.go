package cli

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// repository finds the config repository: the --repo flag, STELLA_REPO, or the
// clone that the working directory is in. Paths are made absolute.
func (a *App) repository() (string, error) {
	for _, given := range []string{a.flags.repo, a.process.Getenv("STELLA_REPO")} {
		if given != "" {
			return a.absoluteRepo(given)
		}
	}
	dir, err := a.process.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	git, top, err := findClone(dir)
	if err != nil {
		return "", stella.WithHint(fmt.Errorf("find the config repository from %s: %w", safe.Line(dir), err),
			"name it with --repo or STELLA_REPO, or run this in a clone of it")
	}
	origin, err := originOf(git)
	switch {
	case err != nil:
		return "", fmt.Errorf("find the config repository: %w", err)
	case origin == "":
		return git, nil // a clone of nothing is the repository itself
	case isLocal(origin) && !filepath.IsAbs(origin):
		return filepath.Join(top, origin), nil // as Git reads it: from the work tree's top
	}
	return origin, nil
}

// clone is the top of the clone that the repository was found by, whose git
// configuration counts; "" where the repository was named.
func (a *App) clone() string {
	if a.flags.repo != "" || a.process.Getenv("STELLA_REPO") != "" {
		return ""
	}
	dir, err := a.process.Getwd()
	if err != nil {
		return ""
	}
	_, top, err := findClone(dir)
	if err != nil {
		return ""
	}
	return top
}

// absoluteRepo makes a path that was given absolute and leaves URLs alone.
func (a *App) absoluteRepo(given string) (string, error) {
	if !isLocal(given) || filepath.IsAbs(given) {
		return given, nil
	}
	dir, err := a.process.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	return filepath.Join(dir, given), nil
}

// isLocal reports whether a remote is a path of this machine. A colon before
// the first slash makes it host:path, as scp and Git read it.
func isLocal(remote string) bool {
	if strings.Contains(remote, "://") {
		return false
	}
	before, _, _ := strings.Cut(remote, "/")
	return !strings.Contains(before, ":")
}

// localDir is the directory of a local repository's refs, "" for a remote one.
func localDir(repo string) string {
	path, isFile := strings.CutPrefix(repo, "file://")
	if !isFile && !isLocal(repo) {
		return ""
	}
	if info, err := os.Stat(filepath.Join(path, ".git")); err == nil && info.IsDir() {
		return filepath.Join(path, ".git")
	}
	return path
}

// findClone walks up from dir to a clone. It returns its Git directory and the
// top of its work tree; both are the same for a bare repository.
func findClone(dir string) (git, top string, err error) {
	for {
		marker := filepath.Join(dir, ".git")
		info, err := os.Lstat(marker)
		switch {
		case err == nil && info.IsDir():
			return marker, dir, nil
		case err == nil && info.Mode().IsRegular():
			git, err := linked(marker)
			return git, dir, err
		case isBare(dir):
			return dir, dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", "", fmt.Errorf("%w: no clone of a repository here", stella.ErrNotFound)
		}
		dir = parent
	}
}

// isBare reports whether dir looks like a Git directory (gitrepository-layout(5)).
func isBare(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// maxGitFile bounds what is read of a file of Git's own.
const maxGitFile = 1 << 20

// linked follows the .git file of a linked work tree or submodule to the
// directory whose config counts.
func linked(marker string) (string, error) {
	content, err := readSmall(marker)
	if err != nil {
		return "", err
	}
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(content)), "gitdir: ")
	if !ok {
		return "", fmt.Errorf("%w: %s is not what Git writes", stella.ErrInvalid, safe.Line(marker))
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(marker), dir)
	}
	common, err := readSmall(filepath.Join(dir, "commondir"))
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, strings.TrimSpace(string(common))), nil
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxGitFile {
		return nil, fmt.Errorf("%w: %s is not a file of at most %d bytes", stella.ErrInvalid, safe.Line(path), maxGitFile)
	}
	return os.ReadFile(path)
}

// originOf reads the URL of the remote "origin" from a clone's config; "" where
// there is none.
func originOf(git string) (string, error) {
	config, err := readSmall(filepath.Join(git, "config"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return originURL(config), nil
}

// originURL finds the url of the section [remote "origin"] (git-config(1)). It
// knows nothing of includes: who uses them for this names --repo.
func originURL(config []byte) string {
	within := false
	for lines := bufio.NewScanner(bytes.NewReader(config)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if head, ok := strings.CutPrefix(line, "["); ok {
			section, rest, _ := strings.Cut(head, "]")
			name, sub, _ := strings.Cut(section, " ")
			within = strings.EqualFold(name, "remote") && strings.Trim(strings.TrimSpace(sub), `"`) == "origin"
			line = strings.TrimSpace(rest)
		}
		key, value, ok := strings.Cut(line, "=")
		if within && ok && strings.EqualFold(strings.TrimSpace(key), "url") {
			return unquoted(strings.TrimSpace(value))
		}
	}
	return ""
}

// unquoted takes a config value out of its quotes, or off its comment.
func unquoted(value string) string {
	if inner, ok := strings.CutPrefix(value, `"`); ok {
		inner, _, _ = strings.Cut(inner, `"`)
		return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(inner)
	}
	for _, mark := range []string{" #", "\t#", " ;", "\t;"} {
		value, _, _ = strings.Cut(value, mark)
	}
	return strings.TrimSpace(value)
}

// stateDir is where clone caches, last-seen heads and journals live:
// STELLA_STATE, or the XDG state directory. It may be lost.
func (a *App) stateDir() (string, error) {
	if dir := a.process.Getenv("STELLA_STATE"); dir != "" {
		return filepath.Abs(dir)
	}
	// The XDG specification: a relative path is to be ignored.
	if dir := a.process.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "stella"), nil
	}
	home := a.process.Getenv("HOME")
	if home == "" {
		return "", stella.WithHint(fmt.Errorf("%w: no directory for state: HOME is not set", stella.ErrInvalid), "set STELLA_STATE to a directory of your own")
	}
	return filepath.Join(home, ".local", "state", "stella"), nil
}

// stateName is the directory of one repository's state: what people recognise,
// and a digest that tells it from all others.
func stateName(repo string) string {
	sum := sha256.Sum256([]byte(repo))
	name := strings.TrimSuffix(strings.TrimRight(repo, "/"), ".git")
	if i := strings.LastIndexAny(name, "/:"); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Trim(unsafeRE.ReplaceAllString(name, "-"), "-.")
	const most = 40
	return name[:min(most, len(name))] + "-" + hex.EncodeToString(sum[:6])
}

var unsafeRE = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
