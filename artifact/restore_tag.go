package artifact

import (
	"context"
	"errors"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Restored is what RestoreTag did.
type Restored struct {
	Image  stella.Artifact `json:"image"`  // with its digest, and its tag where it was given one
	From   string          `json:"from"`   // the place of the copy
	Copied bool            `json:"copied"` // false: the registry had it whole
	Tagged bool            `json:"tagged"` // false: the tag named it already, or none was asked for
	Moved  stella.Digest   `json:"moved"`  // what the tag named before; empty for nothing else
}

// from returns a client that is like c and has its backup at another place.
func (c *Client) from(place string) *Client {
	config := c.cfg
	config.Backup = place
	return New(config)
}

// RestoreTag puts an image back into the registry that lost it, from a place of
// copies as [Config].Backup names one, and under its tag, where it has one. All of it is read back and compared with
// its digest, for every platform. It may be repeated: what is there is not sent
// again.
//
// A tag that names something else by now is moved only with force; without it the
// class is stella.ErrRefused and nothing was written. Other errors are those of
// [Client.Restore].
func (c *Client) RestoreTag(ctx context.Context, a stella.Artifact, from string, force bool) (Restored, error) {
	if from != c.Backup() {
		c = c.from(from)
	}
	r := Restored{Image: a, From: safe.Line(c.Backup())}
	if a.Digest == "" {
		return r, fmt.Errorf("%w: image %s has no digest", stella.ErrInvalid, a)
	}
	named, err := c.tagged(ctx, a)
	switch {
	case err != nil:
		return r, err
	case named != a.Digest:
		r.Moved = named
	}
	if r.Moved != "" && !force {
		err := fmt.Errorf("%w: tag %s names %s by now, not %s", stella.ErrRefused, safe.Line(a.Tag), r.Moved.Short(), a.Digest.Short())
		return r, stella.WithHint(err, "leave the tag out to restore the digest alone, which is all that a rollback needs, or move it with --force")
	}
	look := Look{Depth: Sized}
	switch found, err := c.Inspect(ctx, byDigest(a), look); {
	case err == nil && len(found.Missing) == 0:
	case err == nil, errors.Is(err, stella.ErrNotFound), errors.Is(err, stella.ErrTampered):
		if err := c.Restore(ctx, byDigest(a)); err != nil {
			return r, err
		}
		r.Copied, look.Depth = true, Hashed
		if _, err := c.Inspect(ctx, byDigest(a), look); err != nil {
			return r, fmt.Errorf("it is not whole after all: %w", err)
		}
	default:
		return r, err
	}
	if named == a.Digest {
		return r, nil
	}
	err = c.Tag(ctx, byDigest(a), a.Tag)
	r.Tagged = err == nil
	return r, err
}

// tagged returns the digest that an image's tag names now; empty for none. An
// image without a tag is its own.
func (c *Client) tagged(ctx context.Context, a stella.Artifact) (stella.Digest, error) {
	if a.Tag == "" {
		return a.Digest, nil
	}
	now := a
	now.Digest = ""
	now, err := c.Resolve(ctx, now)
	if errors.Is(err, stella.ErrNotFound) {
		return "", nil
	}
	return now.Digest, err
}

// byDigest leaves the tag out.
func byDigest(a stella.Artifact) stella.Artifact {
	a.Tag = ""
	return a
}
