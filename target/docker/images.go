package docker

import (
	"context"
	"slices"
	"strings"
	"sync"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/stella-ops/stella"
)

// imageCache keeps what images say, by id: an image does not change. Names come
// and go, so it is emptied whenever images are fetched.
type imageCache struct {
	mu    sync.Mutex
	facts map[string]imageFacts
}

func newImageCache() *imageCache { return &imageCache{facts: map[string]imageFacts{}} }

func (c *imageCache) get(id string) (imageFacts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.facts[id]
	return f, ok
}

func (c *imageCache) put(id string, f imageFacts) {
	const most = 1000
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.facts) > most {
		clear(c.facts)
	}
	c.facts[id] = f
}

func (c *imageCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.facts)
}

// image inspects an image by id. One that is gone, though a container is made of
// it, says nothing.
func (d *Docker) image(ctx context.Context, id string) (imageFacts, error) {
	if f, ok := d.images.get(id); ok {
		return f, nil
	}
	f, found, err := d.findImage(ctx, id)
	if err != nil || !found {
		return imageFacts{id: id}, err
	}
	d.images.put(id, f)
	return f, nil
}

// findImage inspects an image by id or name.
func (d *Docker) findImage(ctx context.Context, ref string) (f imageFacts, found bool, err error) {
	ctx, cancel := d.within(ctx, callTime)
	defer cancel()
	res, err := d.api.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return imageFacts{}, false, nil
	}
	if err != nil {
		return imageFacts{}, false, fault(err)
	}
	f = imageFacts{id: res.ID, digests: res.RepoDigests}
	if res.Config != nil {
		f.config = *res.Config
	}
	return f, true, nil
}

// recordedImage is the id of the image that the asked reference stood for when a
// container was made, as its label says, which anyone may write who may make
// containers. It is for images whose digest the engine does not tell, any more: an
// engine that knows another image by the asked digest contradicts it.
func (d *Docker) recordedImage(ctx context.Context, b *box, image imageFacts, asked map[string]any) (string, error) {
	ref, _ := asked["image"].(string)
	a, err := stella.ParseArtifact(ref)
	if id := b.Labels[labelImage]; id == "" || id != image.id || err != nil || a.Digest == "" || image.knownAs(a) {
		return "", nil //nolint:nilerr // what is no reference is not what the container is of
	}
	known, found, err := d.has(ctx, a)
	if err != nil || found && known.id != image.id {
		return "", err
	}
	return image.id, nil
}

// knownAs reports whether the engine knows the image by a digest.
func (f imageFacts) knownAs(a stella.Artifact) bool {
	return slices.ContainsFunc(f.digests, func(name string) bool { return strings.HasSuffix(name, "@"+string(a.Digest)) })
}

// named reports whether an engine knows the image by this name and digest. It
// leaves the name of the public hub out.
func (f imageFacts) named(a stella.Artifact) bool {
	want := fullName(strings.Replace(byDigest(a), "index.docker.io/", "docker.io/", 1))
	return slices.ContainsFunc(f.digests, func(name string) bool { return fullName(name) == want })
}

// fullName spells out what an engine leaves out of the name of an image: its
// registry and "library"; see
// https://github.com/distribution/reference/blob/main/normalize.go.
func fullName(image string) string {
	registry, rest, ok := strings.Cut(image, "/")
	if ok && registry != "docker.io" && (strings.ContainsAny(registry, ".:") || registry == "localhost") {
		return image
	}
	if !ok || registry != "docker.io" {
		rest = image
	}
	if !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return "docker.io/" + rest
}

// byDigest is the name by which an engine knows exactly one image.
func byDigest(a stella.Artifact) string {
	a.Tag = ""
	return a.String()
}

// has finds an image that the engine knows by its digest.
func (d *Docker) has(ctx context.Context, a stella.Artifact) (imageFacts, bool, error) {
	f, found, err := d.findImage(ctx, byDigest(a))
	return f, found && f.named(a), err
}
