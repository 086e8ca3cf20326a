package artifact

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
)

// Image is a pulled image: its verified layers lie in a directory of the
// caller, who removes it.
type Image struct {
	Artifact stella.Artifact // as asked for
	Manifest stella.Digest   // of the platform's manifest; the artifact's own where that is no index
	Platform Platform        // as asked for
	Config   ImageConfig
	Created  time.Time // zero where the image does not say
	// SizeBytes is what the compressed layers take; UnpackedBytes is the sum of
	// the regular files that the image has in the end, hard links not counted.
	SizeBytes, UnpackedBytes int64

	layers  []layer // lowest first
	content *flattener
}

// Pull fetches the image by its digest into dir, an existing, private and empty
// directory, and verifies manifest, configuration and every layer to the last
// byte, packed and unpacked. After an error nothing of the image is left in dir.
//
// What the registry does not give is taken from the backup, if there is one and
// it has a copy.
//
// An artifact without a digest is an error of class stella.ErrInvalid.
func (c *Client) Pull(ctx context.Context, a stella.Artifact, p Platform, dir string) (*Image, error) {
	return c.pull(ctx, a, p, dir)
}

// pullOnce is Pull from one place.
func (c *Client) pullOnce(ctx context.Context, a stella.Artifact, p Platform, dir string) (*Image, error) {
	what := "pull " + a.String()
	if a.Digest == "" {
		return nil, fmt.Errorf("%s: %w: the image has no digest", what, stella.ErrInvalid)
	}
	ctx, cancel := within(ctx, c.cfg.PullTimeout)
	defer cancel()
	s, err := c.session(a)
	if err != nil {
		return nil, err
	}
	top, err := s.manifest(ctx, what, string(a.Digest), nil)
	if err != nil {
		return nil, err
	}
	m, file, err := s.image(ctx, what, top, p)
	if err != nil {
		return nil, err
	}
	image := &Image{Artifact: a, Manifest: m.digest, Platform: p, Config: file.imageConfig(), Created: file.created(), content: newFlattener(c.cfg.Limits.Entries)}
	if err := s.pullLayers(ctx, what, m, file, dir, image); err != nil {
		image.remove()
		return nil, err
	}
	for i, names := range planFiles(image.content).names {
		if len(names) > 0 {
			image.UnpackedBytes += image.content.files[i].size
		}
	}
	return image, nil
}

// pullLayers fetches layers side by side, and verifies and lays them over each
// other one by one, each as soon as it and those below it are there.
func (s *session) pullLayers(ctx context.Context, what string, m *manifest, file *configFile, dir string, image *Image) error {
	g, gctx := errgroup.WithContext(ctx)
	ready := make([]chan struct{}, len(m.layers))
	slots := make(chan struct{}, parallel)
	for i, d := range m.layers {
		ready[i] = make(chan struct{})
		l := layer{path: filepath.Join(dir, d.Digest.Hex()), want: d, diffID: file.RootFS.DiffIDs[i]}
		image.layers = append(image.layers, l)
		// A layer that is there twice, as empty ones are, is fetched once.
		if first := slices.IndexFunc(m.layers, func(e descriptor) bool { return e.Digest == d.Digest }); first != i {
			ready[i] = ready[first]
			continue
		}
		image.SizeBytes += d.Size
		g.Go(func() error {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-gctx.Done():
				return context.Cause(gctx)
			}
			if err := s.fetch(gctx, what+": layer "+d.Digest.Short(), l); err != nil {
				return err // which ends gctx: nobody waits for ready any more
			}
			close(ready[i])
			return nil
		})
	}
	g.Go(func() error {
		left := &budget{left: s.client.cfg.Limits.UncompressedBytes, ratio: s.client.cfg.Limits.Ratio}
		for i, l := range image.layers {
			select {
			case <-ready[i]:
			case <-gctx.Done():
			}
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			if err := image.verify(gctx, l, left); err != nil {
				return describe(what+": layer "+l.want.Digest.Short(), err, nil, 1)
			}
		}
		return nil
	})
	return g.Wait()
}

func (s *session) fetch(ctx context.Context, what string, l layer) (err error) {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("%s: %w", what, cerr)
		}
	}()
	return s.blob(ctx, what, l.want, f)
}

func (i *Image) verify(ctx context.Context, l layer, left *budget) error {
	u, err := l.open(ctx, left)
	if err != nil {
		return err
	}
	if err := i.content.add(u); err != nil {
		_ = u.Close() // only read from
		return err
	}
	return u.Close()
}

// remove takes the layers out of the caller's directory again.
func (i *Image) remove() {
	for _, l := range i.layers {
		_ = os.Remove(l.path) // may never have been made
	}
}
