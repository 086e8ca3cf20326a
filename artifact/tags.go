package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The bounds of a list of tags. A registry answers with what it likes: one that
// never ends is an error, and what has been listed by then is not used.
const (
	tagsPerPage     = 1000
	maxTags         = 200_000
	maxTagPages     = 2000
	maxTagPageBytes = 32 << 20 // some send all of them at once
)

var (
	tagRE  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	nextRE = regexp.MustCompile(`^<([^<>]+)>\s*;\s*rel="?next"?`)
)

// Tags lists the tags of an artifact's repository, in the registry's order and
// each once. A repository that is not there has none. What is no tag by the
// distribution specification is left out.
func (c *Client) Tags(ctx context.Context, a stella.Artifact) ([]string, error) {
	ctx, cancel := within(ctx, c.cfg.PullTimeout)
	defer cancel()
	s, err := c.session(a)
	if err != nil {
		return nil, err
	}
	what := "list the tags of " + s.repo.Name()
	tags, seen, path := []string{}, map[string]bool{}, "tags/list?n="+strconv.Itoa(tagsPerPage)
	for page := 0; path != ""; page++ {
		if page == maxTagPages || len(tags) > maxTags {
			return nil, describe(what, problem(stella.ErrInvalid, "the list does not end: %d tags on %d pages", len(tags), page), nil, 1)
		}
		var list []string
		err := c.retry(ctx, what, func() (err error) {
			list, path, err = s.tagPage(ctx, path)
			return err
		})
		if errors.Is(err, stella.ErrNotFound) && page == 0 {
			return []string{}, nil
		}
		if err != nil {
			return nil, err
		}
		before := len(tags)
		for _, tag := range list {
			if tagRE.MatchString(tag) && !seen[tag] {
				seen[tag], tags = true, append(tags, tag)
			}
		}
		if path != "" && len(tags) == before {
			return nil, describe(what, problem(stella.ErrInvalid, "a page brings no tag that was not there before"), nil, 1)
		}
	}
	return tags, nil
}

// tagPage reads one page and where the next one is; empty for nowhere. A failed
// try leaves the place as it was. Of the link to the next page only its query is
// taken: it leads to no other host and to no other repository.
func (s *session) tagPage(ctx context.Context, path string) (tags []string, next string, err error) {
	ctx, cancel := s.brief(ctx)
	defer cancel()
	resp, err := s.do(withBodyCap(ctx, maxTagPageBytes), http.MethodGet, path, nil)
	if err != nil {
		return nil, path, err
	}
	defer discard(resp)
	var doc struct {
		Tags []string `json:"tags"`
	}
	err = json.NewDecoder(resp.Body).Decode(&doc)
	if cause := ended(ctx); cause != nil {
		return nil, path, cause
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.As(err, &kind):
		return nil, path, problem(stella.ErrInvalid, "the answer is no list of tags")
	case err != nil:
		return nil, path, s.fault(err)
	}
	link := nextRE.FindStringSubmatch(resp.Header.Get("Link"))
	if link == nil {
		return doc.Tags, "", nil
	}
	u, err := url.Parse(link[1])
	if err != nil || u.Query().Get("last") == "" {
		return nil, path, problem(stella.ErrInvalid, "the next page of tags is nowhere")
	}
	return doc.Tags, "tags/list?" + u.Query().Encode(), nil
}

// Tag gives the manifest with the artifact's digest a tag, and moves the tag
// where it named another one. Repeated it does no harm. The artifact's own tag
// is not looked at.
func (c *Client) Tag(ctx context.Context, a stella.Artifact, tag string) error {
	return c.change(ctx, a, "tag "+a.String()+" as "+safe.Clip(tag, 130), func(ctx context.Context, s *session) error {
		options, err := s.library(ctx)
		if err != nil {
			return err
		}
		found, err := remote.Get(s.repo.Digest(string(a.Digest)), options...)
		if err != nil {
			return err
		}
		return remote.Tag(s.repo.Tag(tag), found, options...)
	})
}

// Untag removes a tag and leaves the manifest that it names. Registries that can
// not do that (all that are older than version 3 of distribution) are led there:
// the tag is moved to an empty manifest of its own, and that is deleted. Broken
// off in between the tag names nothing of use, and the next Untag ends it. A tag
// that is not there is no error.
func (c *Client) Untag(ctx context.Context, a stella.Artifact, tag string) error {
	return c.change(ctx, a, "remove tag "+safe.Clip(tag, 130)+" of "+a.Registry+"/"+a.Repository, func(ctx context.Context, s *session) error {
		options, err := s.library(ctx)
		if err != nil {
			return err
		}
		err = remote.Delete(s.repo.Tag(tag), options...)
		switch statusOf(err) {
		case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		case http.StatusNotFound:
			return nil
		default:
			return err
		}
		stub, err := mutate.Config(empty.Image, stubConfig(tag))
		if err != nil {
			return fmt.Errorf("make an empty image: %w", err)
		}
		d, err := stub.Digest()
		if err != nil {
			return fmt.Errorf("make an empty image: %w", err)
		}
		if err := remote.Write(s.repo.Tag(tag), stub, options...); err != nil {
			return err
		}
		return remote.Delete(s.repo.Digest(d.String()), options...)
	})
}

// Delete removes the manifest with the artifact's digest, and with it all its
// tags. One that is not there is no error. Blobs stay until the registry collects
// its garbage.
func (c *Client) Delete(ctx context.Context, a stella.Artifact) error {
	return c.change(ctx, a, "delete "+a.Registry+"/"+a.Repository+"@"+string(a.Digest), func(ctx context.Context, s *session) error {
		options, err := s.library(ctx)
		if err != nil {
			return err
		}
		err = remote.Delete(s.repo.Digest(string(a.Digest)), options...)
		if statusOf(err) == http.StatusNotFound {
			return nil
		}
		return err
	})
}

// change carries out something that changes a repository.
func (c *Client) change(ctx context.Context, a stella.Artifact, what string, do func(context.Context, *session) error) error {
	ctx, cancel := within(ctx, c.cfg.Timeout)
	defer cancel()
	s, err := c.session(a)
	if err != nil {
		return err
	}
	return c.retry(withBodyCap(ctx, c.cfg.Limits.ManifestBytes), what, func() error {
		err := do(ctx, s)
		if err == nil {
			return nil
		}
		if cause := ended(ctx); cause != nil {
			return cause
		}
		return s.changeFault(err)
	})
}

// changeFault adds what is to be done about a registry that deletes nothing.
func (s *session) changeFault(err error) error {
	f := *s.fault(err)
	switch statusOf(err) {
	case http.StatusMethodNotAllowed:
		f.class = stella.ErrUnsupported
		f.what = "the registry deletes nothing: " + f.what
		f.hint = "allow it where the registry is configured (docker-registry: `storage: {delete: {enabled: true}}`), or leave out --prune"
	case http.StatusUnauthorized, http.StatusForbidden:
		f.hint = "run 'docker login " + safe.Line(s.registry()) + "' as somebody who may push to and delete from " + safe.Line(s.repo.RepositoryStr())
	}
	return &f
}

// statusOf is the status that a registry answered with; 0 where it did not.
func statusOf(err error) int {
	if told, ok := errors.AsType[*transport.Error](err); ok {
		return told.StatusCode
	}
	return 0
}

// isReferrerTag reads the tag by which registries without a list of referrers
// are told what a manifest is about: sha256-HEX, with ".sig" or the like.
func isReferrerTag(tag string) (stella.Digest, bool) {
	hex, ok := strings.CutPrefix(tag, "sha256-")
	if !ok || len(hex) < 64 {
		return "", false
	}
	d, err := stella.ParseDigest("sha256:" + hex[:64])
	return d, err == nil
}
