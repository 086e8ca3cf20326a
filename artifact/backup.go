package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// layoutPrefix marks a backup that is an OCI image layout on disk.
const layoutPrefix = "oci:"

// backup is where copies of images are kept that outlive their registry: under
// a prefix of another registry, or in an OCI image layout.
type backup struct {
	place  string  // as stella.yaml names it
	prefix string  // "host/path" of a registry; empty for a layout
	client *Client // that reaches it
}

// newBackup returns the backup at a place, nil for an empty one. It does no I/O.
func newBackup(place string, c Config) *backup {
	dir, isLayout := strings.CutPrefix(place, layoutPrefix)
	switch {
	case place == "":
		return nil
	case isLayout:
		// What is on disk needs no credentials, no second try and no network.
		c = Config{Transport: layout{filepath.Clean(dir)}, Attempts: 1, Timeout: c.Timeout, PullTimeout: c.PullTimeout, Limits: c.Limits, Logger: c.Logger}
		return &backup{place: place, client: New(c)}
	}
	c.Backup = ""
	return &backup{place: place, prefix: strings.TrimRight(place, "/"), client: New(c)}
}

// locate returns what names the copy of an image in the backup:
// PREFIX/REGISTRY/REPOSITORY@DIGEST, with "_" for the colon before a port. A
// host has no "_", so that no two registries share a path.
func (b *backup) locate(a stella.Artifact) (stella.Artifact, error) {
	if a.Digest == "" {
		return stella.Artifact{}, fmt.Errorf("%w: image %s has no digest", stella.ErrInvalid, safe.Clip(a.String(), maxMessageRunes))
	}
	if b.prefix == "" {
		return a, nil // a layout knows digests only
	}
	at := b.prefix + "/" + registryPath(a.Registry) + "/" + a.Repository + "@" + string(a.Digest)
	copied, err := stella.ParseArtifact(at)
	if err != nil {
		return stella.Artifact{}, fmt.Errorf("name the copy of %s in %s: %w", a, b.place, err)
	}
	return copied, nil
}

// registryPath is a registry's host as a part of a repository's path, where
// neither capitals nor colons nor brackets may be.
func registryPath(registry string) string {
	host, port := strings.ToLower(registry), ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], "_"+host[i+1:]
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && ip.Is6() {
		host = strings.ReplaceAll(ip.StringExpanded(), ":", ".")
	}
	return host + port
}

// Backup names the place of copies that outlive their registry, as
// [Config].Backup does; empty where there is none.
func (c *Client) Backup() string {
	if c.backup == nil {
		return ""
	}
	return c.backup.place
}

// CheckBackup is Check for the copy in the backup. An image that it finds whole
// is pulled from there first from then on. Without a backup, or where that has
// no copy, the error is of class stella.ErrNotFound.
func (c *Client) CheckBackup(ctx context.Context, a stella.Artifact, platforms ...Platform) (Report, error) {
	if c.backup == nil {
		return Report{Artifact: a, Platforms: []string{}, Missing: []Missing{}}, fmt.Errorf("backup of %s: %w: no backup is configured", a, stella.ErrNotFound)
	}
	at, err := c.backup.locate(a)
	if err != nil {
		return Report{Artifact: a, Platforms: []string{}, Missing: []Missing{}}, err
	}
	r, err := c.backup.client.Check(ctx, at, platforms...)
	r.Artifact = a
	if err != nil {
		return r, fmt.Errorf("backup %s: %w", safe.Line(c.backup.place), err)
	}
	c.mu.Lock()
	c.copies[a.Digest] = true
	c.mu.Unlock()
	return r, nil
}

// pull fetches from the registry, and from the backup what the registry does
// not give. Both are asked by digest: which of them answers makes no difference
// to what is had.
func (c *Client) pull(ctx context.Context, a stella.Artifact, p Platform, dir string) (*Image, error) {
	if c.backup == nil || a.Digest == "" {
		return c.pullOnce(ctx, a, p, dir)
	}
	first, second := c.pullOnce, c.pullCopy
	c.mu.Lock()
	if c.copies[a.Digest] {
		first, second = second, first
	}
	c.mu.Unlock()
	image, err := first(ctx, a, p, dir)
	if err == nil || ctx.Err() != nil || errors.Is(err, errLocal) {
		return image, err
	}
	image, other := second(ctx, a, p, dir)
	if other == nil {
		return image, nil
	}
	return nil, stella.WithHint(fmt.Errorf("%w; and %s", err, other.Error()), stella.Hint(err))
}

func (c *Client) pullCopy(ctx context.Context, a stella.Artifact, p Platform, dir string) (*Image, error) {
	at, err := c.backup.locate(a)
	if err != nil {
		return nil, err
	}
	image, err := c.backup.client.pullOnce(ctx, at, p, dir)
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", safe.Line(c.backup.place), err)
	}
	image.Artifact = a
	return image, nil
}
