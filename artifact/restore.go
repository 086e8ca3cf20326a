package artifact

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Restore copies an image from the backup to the registry that lost it, with
// everything below an index, and proves that it is whole there for this
// machine. It goes by digest alone: a tag of the registry, which may name
// something else by now, is neither moved nor made. It may be repeated; what is
// there already is not sent again.
//
// Errors have the classes of [Client]; without a backup, or where that has no
// whole copy, the class is stella.ErrNotFound.
func (c *Client) Restore(ctx context.Context, a stella.Artifact) error {
	if _, err := c.CheckBackup(ctx, a); err != nil {
		return fmt.Errorf("restore %s: %w", a, err)
	}
	ctx, cancel := within(ctx, c.cfg.PullTimeout)
	defer cancel()
	at, err := c.backup.locate(a)
	if err != nil {
		return err
	}
	from, err := c.backup.client.session(at)
	if err != nil {
		return err
	}
	to, err := c.session(a)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("restore %s from backup %s", a, safe.Line(c.backup.place))
	r := restoring{from: from, to: to, ctx: withBodyCap(ctx, c.cfg.Limits.BlobBytes+1)}
	if err := r.manifest(a.Digest); err != nil {
		return describe(what, err, ended(ctx), 1)
	}
	if _, err := c.Check(ctx, a); err != nil {
		return fmt.Errorf("%s: it is not whole after all: %w", what, err)
	}
	return nil
}

// restoring copies the parts of one image.
type restoring struct {
	from, to *session
	ctx      context.Context // lives as long as one Restore
}

// manifest copies what a manifest needs, then the manifest: a registry never
// has one that lacks a part. The library alone would send nothing where the
// manifest is still there and a layer is not.
func (r restoring) manifest(d stella.Digest) error {
	read, err := r.from.library(r.ctx)
	if err != nil {
		return err
	}
	found, err := remote.Get(r.from.repo.Digest(string(d)), read...)
	if err != nil {
		return r.from.fault(err)
	}
	if found.MediaType.IsIndex() {
		index, err := found.ImageIndex()
		if err != nil {
			return r.from.fault(err)
		}
		if err := r.children(index); err != nil {
			return err
		}
	} else if err := r.layers(found); err != nil {
		return err
	}
	write, err := r.to.library(r.ctx)
	if err != nil {
		return err
	}
	if err := remote.Put(r.to.repo.Digest(string(d)), found, write...); err != nil {
		return r.to.fault(err)
	}
	return nil
}

func (r restoring) children(index v1.ImageIndex) error {
	m, err := index.IndexManifest()
	if err != nil {
		return r.from.fault(err)
	}
	if len(m.Manifests) > maxChildren {
		return problem(stella.ErrInvalid, "an index of %d manifests", len(m.Manifests))
	}
	for _, child := range m.Manifests {
		if err := r.manifest(stella.Digest(child.Digest.String())); err != nil {
			return err
		}
	}
	return nil
}

// layers copies configuration and layers. The library verifies each against its
// digest while it is read.
func (r restoring) layers(found *remote.Descriptor) error {
	image, err := found.Image()
	if err != nil {
		return r.from.fault(err)
	}
	all, err := image.Layers()
	if err != nil {
		return r.from.fault(err)
	}
	config, err := partial.ConfigLayer(image)
	if err != nil {
		return r.from.fault(err)
	}
	write, err := r.to.library(r.ctx)
	if err != nil {
		return err
	}
	for _, l := range append(all, config) {
		if err := remote.WriteLayer(r.to.repo, l, write...); err != nil {
			return r.to.fault(err)
		}
	}
	return nil
}

// library is how go-containerregistry talks to the session's repository: over
// its network, with its rules, as who Docker's configuration says.
func (s *session) library(ctx context.Context) ([]remote.Option, error) {
	auth, err := s.client.credentials(ctx, s.repo)
	if err != nil {
		return nil, err
	}
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(s.net), remote.WithAuth(authn.FromConfig(auth)), remote.WithUserAgent("stella"),
	}, nil
}
