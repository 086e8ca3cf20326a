package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Report is what a registry has of an image.
type Report struct {
	Artifact  stella.Artifact `json:"artifact"`  // with its digest
	MediaType string          `json:"mediaType"` // of the manifest or index
	SizeBytes int64           `json:"sizeBytes"` // manifests, configurations and layers of the checked platforms, compressed
	Platforms []string        `json:"platforms"` // all that the image offers: "linux/amd64"
	Created   time.Time       `json:"created"`   // of the first checked platform; zero where the image does not say
	Available bool            `json:"available"` // every part is there
	Missing   []Missing       `json:"missing"`   // in manifest order
}

// Missing is a part of an image that the registry does not give.
type Missing struct {
	Digest stella.Digest `json:"digest"`
	Kind   string        `json:"kind"`  // "manifest", "config", "layer", or "platform" for one that an index is not for
	State  string        `json:"state"` // "missing", "damaged", "unusable" or, where nobody could tell, "unknown"
	Error  string        `json:"error"` // why, in words for a person
}

// Check proves that the registry has the whole image: it reads manifests and
// configurations, and asks for every layer (HEAD), for the given platforms or,
// without any, for that of this machine.
//
// The error is nil exactly when the report says Available. Otherwise its class
// tells apart that something is not there, may not be read, or could not be
// asked for; the report holds what was found out.
func (c *Client) Check(ctx context.Context, a stella.Artifact, platforms ...Platform) (Report, error) {
	ctx, cancel := within(ctx, c.cfg.Timeout)
	defer cancel()
	return c.check(ctx, a, platforms, Sized)
}

// CheckDeep is Check that also reads every layer and compares it with its
// digest. Nothing is kept, and memory does not grow with a layer. It takes as
// long as a pull, and may: [Config].PullTimeout.
func (c *Client) CheckDeep(ctx context.Context, a stella.Artifact, platforms ...Platform) (Report, error) {
	ctx, cancel := within(ctx, c.cfg.PullTimeout)
	defer cancel()
	return c.check(ctx, a, platforms, Hashed)
}

func (c *Client) check(ctx context.Context, a stella.Artifact, platforms []Platform, depth Depth) (Report, error) {
	r := Report{Artifact: a, Platforms: []string{}, Missing: []Missing{}}
	s, err := c.session(a)
	if err != nil {
		return r, err
	}
	if len(platforms) == 0 {
		platforms = []Platform{Host()}
	}
	what := "check " + a.String()
	top, err := s.manifest(ctx, what, reference(a), nil)
	if err != nil {
		r.miss(a.Digest, "manifest", err)
		return r, err
	}
	r.Artifact.Digest, r.MediaType, r.Platforms = top.digest, string(top.mediaType), append(r.Platforms, top.platforms()...)
	if top.isIndex() {
		r.SizeBytes = top.size
	}
	var errs []error
	for _, p := range platforms {
		errs = append(errs, s.checkPlatform(ctx, what, top, p, depth, &r))
	}
	if err := worst(errs); err != nil {
		return r, err
	}
	r.Available = true
	return r, nil
}

func (s *session) checkPlatform(ctx context.Context, what string, top *manifest, p Platform, depth Depth, r *Report) error {
	m, file, err := s.image(ctx, what, top, p)
	if m == nil {
		r.miss(r.Artifact.Digest, "manifest", err)
		return err
	}
	if file == nil {
		r.miss(m.config.Digest, "config", err)
		return err
	}
	if !top.isIndex() && file.OS != "" {
		r.Platforms = []string{safe.Clip(file.platform().String(), 40)}
	}
	if err != nil {
		return err
	}
	if r.Created.IsZero() {
		r.Created = file.created()
	}
	r.SizeBytes += m.size + m.config.Size
	layers := unique(m.layers)
	for _, d := range layers {
		r.SizeBytes += d.Size
	}
	errs := s.probe(ctx, what, layers, depth)
	for i, err := range errs {
		if err != nil {
			r.miss(layers[i].Digest, "layer", err)
		}
	}
	return worst(errs)
}

// unique returns each blob once, in order.
func unique(all []descriptor) []descriptor {
	var once []descriptor
	seen := map[stella.Digest]bool{}
	for _, d := range all {
		if !seen[d.Digest] {
			seen[d.Digest], once = true, append(once, d)
		}
	}
	return once
}

// probe looks for layers, a few at a time. The errors are by index, nil for what
// is there.
func (s *session) probe(ctx context.Context, what string, layers []descriptor, depth Depth) []error {
	errs := make([]error, len(layers))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, d := range layers {
		g.Go(func() error {
			if depth == Hashed {
				errs[i] = s.blob(ctx, what+": layer "+d.Digest.Short(), d, nowhere{})
			} else {
				errs[i] = s.head(ctx, what, d)
			}
			return nil
		})
	}
	_ = g.Wait() // results are in errs, by index
	return errs
}

// image returns the manifest of an image for the platform, by way of the index
// if there is one, and its configuration. Where a part fails, what was had
// before it is returned beside the error; the manifest is nil where it is the
// manifest that failed.
func (s *session) image(ctx context.Context, what string, top *manifest, p Platform) (*manifest, *configFile, error) {
	m := top
	if top.isIndex() {
		d, err := top.child(p)
		if err == nil {
			err = checkDescriptor(d, "manifest", s.client.cfg.Limits.ManifestBytes)
		}
		if err != nil {
			return nil, nil, describe(what, err, nil, 1)
		}
		m, err = s.manifest(ctx, what+": manifest of "+p.String(), string(d.Digest), &d)
		if err != nil {
			return nil, nil, err
		}
	}
	file, err := s.config(ctx, what+": configuration "+m.config.Digest.Short(), m)
	if err != nil {
		return m, nil, err
	}
	if err := file.check(p); err != nil {
		return m, file, describe(what, err, nil, 1)
	}
	return m, file, nil
}

// head asks whether a blob is there, with the size that the manifest gives.
func (s *session) head(ctx context.Context, what string, d descriptor) error {
	return s.client.retry(ctx, what+": layer "+d.Digest.Short(), func() error {
		ctx, cancel := s.brief(ctx)
		defer cancel()
		resp, err := s.do(ctx, http.MethodHead, "blobs/"+string(d.Digest), nil)
		if err != nil {
			return s.headByGet(ctx, d, err)
		}
		discard(resp)
		return sameSize(resp.ContentLength, d)
	})
}

// headByGet asks for the first byte instead, where a blob store that the
// registry sends to does not take HEAD: signed URLs are often for GET only.
func (s *session) headByGet(ctx context.Context, d descriptor, err error) error {
	var f *fault
	if !errors.As(err, &f) || !f.elsewhere || errors.Is(f, stella.ErrNotFound) || d.Size == 0 {
		return err
	}
	resp, err := s.do(ctx, http.MethodGet, "blobs/"+string(d.Digest), http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return err
	}
	_ = resp.Body.Close() // not read: it may be the whole blob
	if resp.StatusCode == http.StatusPartialContent {
		_, _, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return err
		}
		return sameSize(total, d)
	}
	return sameSize(resp.ContentLength, d)
}

// sameSize compares a size that an answer gives, if it gives one.
func sameSize(got int64, d descriptor) error {
	if got >= 0 && got != d.Size {
		return problem(stella.ErrTampered, "the registry has %d bytes of it, the manifest says %d", got, d.Size)
	}
	return nil
}

func (r *Report) miss(d stella.Digest, kind string, err error) {
	r.Missing = append(r.Missing, missing(d, kind, err))
}

// maxReasonRunes is room for two digests and what is said about them.
const maxReasonRunes = 3 * maxMessageRunes

func missing(d stella.Digest, kind string, err error) Missing {
	m := Missing{Digest: d, Kind: kind, State: "unknown", Error: safe.Clip(err.Error(), maxReasonRunes)}
	switch {
	case errors.Is(err, stella.ErrTampered):
		m.State = "damaged"
	case errors.Is(err, stella.ErrNotFound):
		m.State = "missing"
	case isCertain(err):
		m.State = "unusable"
	}
	return m
}

// worst returns the error that decides: what is certain comes before what may
// be otherwise for somebody else, and that before what may be better the next
// time. It says how many others there are.
func worst(errs []error) error {
	var first error
	others := -1
	for _, err := range errs {
		if err == nil {
			continue
		}
		others++
		if first == nil || weight(err) > weight(first) {
			first = err
		}
	}
	if others > 0 {
		return stella.WithHint(fmt.Errorf("%w; and %d more", first, others), stella.Hint(first))
	}
	return first
}

func weight(err error) int {
	switch {
	case isCertain(err):
		return 2
	case errors.Is(err, stella.ErrUnreachable):
		return 0
	}
	return 1
}

// isCertain reports whether an error says that an image, or a part of it, is not
// to be had as it is; otherwise it may be there.
func isCertain(err error) bool {
	return slices.ContainsFunc([]error{stella.ErrNotFound, stella.ErrTampered, stella.ErrInvalid, stella.ErrUnsupported},
		func(class error) bool { return errors.Is(err, class) })
}
