package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/stella-ops/stella"
)

// The bounds of what is read of a list of referrers.
const (
	maxReferrerPages = 10
	maxReferrers     = 1000
)

// referrers lists the manifests that name a digest as their subject, by the
// referrers API of the distribution specification or, of a registry without it,
// from the tag that clients keep the list under. Where the list is too long, or
// breaks off, what there is of it is returned beside the error.
func (s *session) referrers(ctx context.Context, what string, of stella.Digest) ([]descriptor, error) {
	path, query := "referrers/"+string(of), ""
	var all []descriptor
	for page := range maxReferrerPages {
		found, next, err := s.referrersPage(ctx, what, path+query)
		if page == 0 && (errors.Is(err, stella.ErrNotFound) || errors.Is(err, stella.ErrInvalid)) {
			return s.referrersTag(ctx, what, of)
		}
		if err != nil {
			return all, err
		}
		if all = append(all, found...); len(all) > maxReferrers {
			return all[:maxReferrers], fmt.Errorf("%s: there are more than %d", what, maxReferrers)
		}
		if next == "" {
			return all, nil
		}
		query = next
	}
	return all, fmt.Errorf("%s: there are more than %d pages of them", what, maxReferrerPages)
}

// referrersPage reads one page. next is the query of the page after it, empty
// where there is none.
func (s *session) referrersPage(ctx context.Context, what, path string) (found []descriptor, next string, err error) {
	err = s.client.retry(ctx, what, func() error {
		raw, header, err := s.small(ctx, path)
		if err != nil {
			return err
		}
		index, err := s.client.parseManifest(raw, header.Get("Content-Type"))
		if err != nil {
			return err
		}
		if !index.isIndex() {
			return problem(stella.ErrInvalid, "the list of referrers is none")
		}
		found, next = index.children, nextQuery(header)
		return nil
	})
	return found, next, err
}

// nextQuery is the query of the link to the next page (RFC 8288). Only that is
// used of it: where to ask is not the answer's to say.
func nextQuery(header http.Header) string {
	for _, link := range header.Values("Link") {
		target, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
		if !ok || !strings.Contains(strings.ReplaceAll(rest, `"`, ""), "rel=next") {
			continue
		}
		if u, err := url.Parse(target); err == nil && u.RawQuery != "" {
			return "?" + u.RawQuery
		}
	}
	return ""
}

// referrersTag reads the list that clients keep for a registry without the API
// ("referrers tag schema" of the distribution specification).
func (s *session) referrersTag(ctx context.Context, what string, of stella.Digest) ([]descriptor, error) {
	index, err := s.manifest(ctx, what, "sha256-"+of.Hex(), nil)
	switch {
	case errors.Is(err, stella.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case !index.isIndex():
		return nil, describe(what, problem(stella.ErrInvalid, "the tag sha256-%s is an image, not a list of referrers", of.Hex()), nil, 1)
	}
	return index.children, nil
}
