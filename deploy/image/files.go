package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella/internal/registry"
)

// collection is what goes into the layer below our binary, by name in the image.
type collection struct {
	files   map[string]registry.File
	sources []string // files of this machine
}

// collect reads git, ssh, a shell for git's credential helpers, all libraries
// that they need, the CA certificates, and what the licences of all of them ask to
// be handed on.
func collect(log io.Writer) ([]registry.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := &collection{files: map[string]registry.File{}}
	for _, f := range skeleton() {
		c.files[strings.TrimSuffix(f.Name, "/")] = f
	}
	if err := c.topLinks(); err != nil {
		return nil, err
	}
	programs, err := findPrograms(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		if err := c.program(p); err != nil {
			return nil, err
		}
	}
	if err := c.links(filepath.Dir(programs[len(programs)-1])); err != nil {
		return nil, err
	}
	if err := c.certificates(); err != nil {
		return nil, err
	}
	if err := c.packages(ctx, log); err != nil {
		return nil, err
	}
	return c.sorted(), nil
}

// findPrograms returns the paths of what is started; the last one is git's
// transport for https.
func findPrograms(ctx context.Context) ([]string, error) {
	var found []string
	for _, name := range []string{"git", "ssh", "ssh-keygen", "sh"} {
		p, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("%w: install it: the image is made of this machine's", err)
		}
		found = append(found, p)
	}
	dir, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("ask git for its programs: %w", err)
	}
	return append(found, filepath.Join(strings.TrimSpace(string(dir)), "git-remote-http")), nil
}

// topLinks makes /bin and its like what they are here: programs and their loader
// are looked for through them.
func (c *collection) topLinks() error {
	for _, name := range []string{"bin", "lib", "lib64"} {
		target, err := os.Readlink("/" + name)
		switch {
		case err == nil:
			c.files[name] = registry.File{Name: name, Link: target}
		case errors.Is(err, os.ErrNotExist) || isDir("/"+name):
		default:
			return err
		}
	}
	return nil
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}

// program adds a program with its loader and libraries.
func (c *collection) program(file string) error {
	added, err := c.add(file, 0o755)
	if err != nil || !added {
		return err
	}
	needs, err := needed(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, lib := range needs {
		if err := c.program(lib); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// add takes a file under the name that it has here, its directory without links,
// and reports whether it was not there yet.
func (c *collection) add(file string, mode int64) (bool, error) {
	name, err := inImage(file)
	if err != nil {
		return false, err
	}
	if _, ok := c.files[name]; ok {
		return false, nil
	}
	content, err := os.ReadFile(file) //nolint:gosec // this machine's own programs
	if err != nil {
		return false, err
	}
	c.files[name] = registry.File{Name: name, Mode: mode, Content: content}
	c.sources = append(c.sources, file)
	return true, nil
}

// links adds the names that git starts other parts of itself by, beside its
// transport.
func (c *collection) links(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for link, target := range map[string]string{
		"git-remote-https": "git-remote-http", "git-upload-pack": "/usr/bin/git", "git-receive-pack": "/usr/bin/git",
	} {
		name := strings.TrimPrefix(filepath.Join(dir, link), "/")
		c.files[name] = registry.File{Name: name, Link: target}
	}
	return nil
}

func inImage(file string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	return strings.TrimPrefix(filepath.Join(dir, filepath.Base(file)), "/"), err
}

// needed returns the loader and the libraries that a program or library names.
func needed(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var found []string
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			loader, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			found = append(found, strings.TrimRight(string(loader), "\x00"))
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, lib := range libs {
		p, err := findLibrary(lib)
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	return found, nil
}

// findLibrary looks where every loader looks without being told: the image has no
// loader's configuration.
func findLibrary(name string) (string, error) {
	dirs := []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"}
	triplets, err := filepath.Glob("/lib/*-linux-gnu")
	if err != nil {
		return "", err
	}
	for _, dir := range append(triplets, dirs...) {
		p := filepath.Join(dir, name)
		if f, err := elf.Open(p); err == nil {
			return p, f.Close()
		}
	}
	return "", fmt.Errorf("library %s: not found in %s", name, strings.Join(append(triplets, dirs...), ", "))
}

// certificates adds the bundle of CA certificates where git and Go look for it.
func (c *collection) certificates() error {
	const wanted = "etc/ssl/certs/ca-certificates.crt"
	for _, file := range []string{"/" + wanted, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		c.files[wanted] = registry.File{Name: wanted, Mode: 0o644, Content: content}
		return err
	}
	return errors.New("no CA certificates: install the package ca-certificates")
}

// sorted returns all files with their directories, each before what is in it.
func (c *collection) sorted() []registry.File {
	for name := range maps.Clone(c.files) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := c.files[dir]; !ok {
				c.files[dir] = registry.File{Name: dir + "/"}
			}
		}
	}
	var all []registry.File
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		all = append(all, c.files[name])
	}
	return all
}

// static reads our binary, which has to run without libraries.
func static(file string) ([]byte, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: run 'make build'", file, err)
	}
	defer func() { _ = f.Close() }()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		return nil, errors.Join(fmt.Errorf("%s needs libraries %v: build it with CGO_ENABLED=0", file, libs), err)
	}
	return os.ReadFile(file) //nolint:gosec // what was asked for
}
