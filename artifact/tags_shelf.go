package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Shelf is what a repository holds, as far as the tags and digests that were asked
// for lead. It is a value of the moment it was read.
type Shelf struct {
	Tags      map[string]stella.Digest // what each names; a tag that names nothing is left out
	Manifests map[stella.Digest]Stored // of the tags, what was asked for, and all below
}

// Stored is one manifest of a repository, as far as it matters for what may be
// deleted.
type Stored struct {
	Children []stella.Digest // of an index
	// Subject is what it is about: a signature or an attestation has one. Empty
	// for none.
	Subject stella.Digest
	// Created is when it was made, by its own word: the newest of its
	// configuration, its annotations and its children. Zero where it does not
	// say; what it says need not be true.
	Created time.Time
	// Unread says why nobody can tell what it needs; empty where it was read.
	Unread string
	// Absent: the registry says that it is not there. It is unread as well.
	Absent bool
}

// maxShelfDepth is how deep indexes are followed. Nobody nests them twice.
const maxShelfDepth = 4

// shelfParallel is how many manifests of one repository are read at once.
const shelfParallel = 16

// Shelf reads what tags and digests of a repository name, and what that needs. One
// manifest that is broken or gone is on the shelf as unread; a registry that does
// not answer is an error, so that a part is never taken for the whole.
func (c *Client) Shelf(ctx context.Context, a stella.Artifact, tags []string, also ...stella.Digest) (Shelf, error) {
	s, err := c.session(a)
	if err != nil {
		return Shelf{}, err
	}
	ctx, cancel := within(ctx, c.cfg.PullTimeout)
	defer cancel()
	r := &shelving{session: s, what: "read " + s.repo.Name(), created: map[stella.Digest]*lookup{}}
	r.shelf = Shelf{Tags: make(map[string]stella.Digest, len(tags)), Manifests: make(map[stella.Digest]Stored, len(tags))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(shelfParallel)
	for _, tag := range tags {
		g.Go(func() error { return r.tag(ctx, tag) })
	}
	for _, d := range also {
		g.Go(func() error { return r.digest(ctx, d, 0) })
	}
	if err := g.Wait(); err != nil {
		return Shelf{}, err
	}
	return r.shelf, nil
}

// shelving reads one repository.
type shelving struct {
	session *session
	what    string

	mu      sync.Mutex // guards below
	shelf   Shelf
	created map[stella.Digest]*lookup // of configurations
}

// lookup is what is read once for all who ask.
type lookup struct {
	once sync.Once
	at   time.Time
	err  error
}

func (r *shelving) tag(ctx context.Context, tag string) error {
	raw, err := r.document(ctx, "manifests/"+tag)
	if errors.Is(err, stella.ErrNotFound) {
		return nil // removed meanwhile, or what it names was
	}
	if err != nil {
		return err
	}
	d := digest(raw)
	about, isAbout := isReferrerTag(tag)
	r.mu.Lock()
	r.shelf.Tags[tag] = d
	_, known := r.shelf.Manifests[d]
	r.mu.Unlock()
	if !known {
		err = r.put(ctx, d, raw, 0)
	}
	if isAbout {
		r.mu.Lock()
		m := r.shelf.Manifests[d]
		m.Subject = about
		r.shelf.Manifests[d] = m
		r.mu.Unlock()
	}
	return err
}

// digest reads one manifest by digest, once.
func (r *shelving) digest(ctx context.Context, d stella.Digest, depth int) error {
	r.mu.Lock()
	_, known := r.shelf.Manifests[d]
	r.mu.Unlock()
	if known {
		return nil
	}
	raw, err := r.document(ctx, "manifests/"+string(d))
	switch {
	case errors.Is(err, stella.ErrNotFound):
		r.keep(d, Stored{Unread: "it is not there", Absent: true})
		return nil
	case err != nil:
		return err
	case digest(raw) != d:
		r.keep(d, Stored{Unread: "it is not what its digest says"})
		return nil
	}
	return r.put(ctx, d, raw, depth)
}

func (r *shelving) keep(d stella.Digest, m Stored) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shelf.Manifests[d] = m
}

// put notes a manifest, and reads what it needs.
func (r *shelving) put(ctx context.Context, d stella.Digest, raw []byte, depth int) error {
	var doc struct {
		Manifests   []descriptor      `json:"manifests"`
		Config      *descriptor       `json:"config"`
		Subject     *descriptor       `json:"subject"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		r.keep(d, Stored{Unread: "it is no manifest that can be understood"})
		return nil //nolint:nilerr // what is not understood stays on the shelf, and stays
	}
	m := Stored{}
	if len(doc.Manifests) > maxChildren || depth > maxShelfDepth {
		m.Unread = "it is an index of too many manifests, or too many indexes deep"
	}
	if at, err := time.Parse(time.RFC3339, doc.Annotations["org.opencontainers.image.created"]); err == nil {
		m.Created = at
	}
	if doc.Subject != nil {
		m.Subject = doc.Subject.Digest
	}
	for _, child := range doc.Manifests {
		if _, err := stella.ParseDigest(string(child.Digest)); err != nil {
			m.Unread = "a child of it has no digest of a kind that is known"
			continue
		}
		if slices.Contains(m.Children, child.Digest) {
			continue
		}
		m.Children = append(m.Children, child.Digest)
		if depth > maxShelfDepth {
			continue
		}
		if err := r.digest(ctx, child.Digest, depth+1); err != nil {
			return err
		}
		r.mu.Lock()
		m.Created = newer(m.Created, r.shelf.Manifests[child.Digest].Created)
		r.mu.Unlock()
	}
	if doc.Config != nil {
		at, err := r.config(ctx, *doc.Config)
		if err != nil {
			return err
		}
		m.Created = newer(m.Created, at)
	}
	r.keep(d, m)
	return nil
}

func newer(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// config reads when an image was made. What is no configuration of an image says
// nothing about that.
func (r *shelving) config(ctx context.Context, d descriptor) (time.Time, error) {
	if !r.isConfig(d) {
		return time.Time{}, nil
	}
	r.mu.Lock()
	found := r.created[d.Digest]
	if found == nil {
		found = &lookup{}
		r.created[d.Digest] = found
	}
	r.mu.Unlock()
	found.once.Do(func() {
		raw, err := r.document(ctx, "blobs/"+string(d.Digest))
		var file struct {
			Created time.Time `json:"created"`
		}
		switch {
		case errors.Is(err, stella.ErrNotFound):
		case err != nil:
			found.err = err
		case digest(raw) == d.Digest && json.Unmarshal(raw, &file) == nil:
			found.at = file.Created
		}
	})
	return found.at, found.err
}

// isConfig reports whether it is the configuration of an image, of a size that is
// read.
func (r *shelving) isConfig(d descriptor) bool {
	return (d.MediaType == types.OCIConfigJSON || d.MediaType == types.DockerConfigJSON) &&
		checkDescriptor(d, "configuration", r.session.client.cfg.Limits.ManifestBytes) == nil
}

func (r *shelving) document(ctx context.Context, path string) (raw []byte, err error) {
	err = r.session.client.retry(ctx, r.what+": "+safe.Clip(path, 140), func() error {
		raw, _, err = r.session.document(ctx, path)
		return err
	})
	return raw, err
}

// stubConfig makes an image that nobody else has.
func stubConfig(tag string) v1.Config {
	return v1.Config{Labels: map[string]string{"stella.stub": tag}}
}
