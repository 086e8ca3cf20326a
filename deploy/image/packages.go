package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stella-ops/stella/internal/registry"
)

// packages adds what Debian says of the packages that the files are of: in
// var/lib/dpkg/status.d, where scanners look for it in images without a package
// manager, and their copyright files, as their licences ask.
func (c *collection) packages(ctx context.Context, log io.Writer) error {
	if _, err := exec.LookPath("dpkg-query"); errors.Is(err, exec.ErrNotFound) {
		_, _ = fmt.Fprintln(log, "image: this is no Debian: the image does not say which packages it has, and hands on no licences")
		return nil
	}
	owners := map[string]bool{"ca-certificates": true}
	for _, file := range c.sources {
		owner, err := owner(ctx, file)
		if err != nil {
			return err
		}
		owners[owner] = true
	}
	for _, pkg := range slices.Sorted(maps.Keys(owners)) {
		if err := c.describe(ctx, pkg); err != nil {
			return err
		}
	}
	return nil
}

// owner returns the package of a file, which Debian may know by the name before
// or after /usr was merged.
func owner(ctx context.Context, file string) (string, error) {
	resolved, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", err
	}
	names := []string{file, resolved, strings.TrimPrefix(file, "/usr"), strings.TrimPrefix(resolved, "/usr")}
	for _, name := range names {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-S", name).Output() //nolint:gosec // a path
		if pkg, _, ok := bytes.Cut(out, []byte(": ")); err == nil && ok && !bytes.ContainsAny(pkg, ", ") {
			return string(pkg), nil
		}
	}
	return "", fmt.Errorf("%s is of no package", file)
}

func (c *collection) describe(ctx context.Context, pkg string) error {
	status, err := exec.CommandContext(ctx, "dpkg-query", "-s", pkg).Output() //nolint:gosec // a package's name
	if err != nil {
		return fmt.Errorf("ask for the package %s: %w", pkg, err)
	}
	short, _, _ := strings.Cut(pkg, ":")
	name := "var/lib/dpkg/status.d/" + short
	c.files[name] = registry.File{Name: name, Mode: 0o644, Content: status}
	name = "usr/share/doc/" + short + "/copyright"
	content, err := os.ReadFile("/" + name)
	if err != nil {
		return fmt.Errorf("the licence of %s: %w", pkg, err)
	}
	c.files[name] = registry.File{Name: name, Mode: 0o644, Content: content}
	return nil
}
