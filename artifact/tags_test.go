package artifact_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

// TestTagsOfDistribution: protecting, releasing and deleting on the registry that
// most are made of, which can not remove a tag by itself.
func TestTagsOfDistribution(t *testing.T) {
	host := distribution(t, nil)
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}})
	image := sample(t)
	a := push(t, http.DefaultTransport, host, "1", image)
	other := push(t, http.DefaultTransport, host, "2", sample(t, []registry.File{{Name: "x", Content: []byte("x")}}))
	index := push(t, http.DefaultTransport, host, "multi", indexOf(t, map[string]v1.Image{artifact.Host().String(): image, "plan9/arm": sample(t, []registry.File{{Name: "y"}})}))
	wantTags := func(want ...string) {
		t.Helper()
		got, err := c.Tags(t.Context(), a)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("tags %v, %v; want %v", got, err, want)
		}
	}
	for range 2 {
		for _, kept := range []stella.Artifact{a, index} {
			if err := c.Tag(t.Context(), kept, "keep-"+kept.Digest.Hex()[:12]); err != nil {
				t.Fatal(err)
			}
		}
	}
	keep := []string{"keep-" + a.Digest.Hex()[:12], "keep-" + index.Digest.Hex()[:12]}
	slices.Sort(keep)
	wantTags(append([]string{"1", "2"}, append(keep, "multi")...)...)
	for range 2 {
		if err := c.Untag(t.Context(), a, "1"); err != nil {
			t.Fatal(err)
		}
	}
	wantTags(append([]string{"2"}, append(keep, "multi")...)...)
	if report, err := c.Check(t.Context(), stella.Artifact{Registry: host, Repository: a.Repository, Digest: a.Digest}); err != nil || !report.Available {
		t.Errorf("what the tag named: %+v, %v", report, err)
	}
	tags, err := c.Tags(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	shelf, err := c.Shelf(t.Context(), a, append(tags, "nowhere"), a.Digest, "sha256:"+stella.Digest(strings.Repeat("0", 64)))
	if err != nil {
		t.Fatal(err)
	}
	if got := shelf.Manifests[index.Digest]; len(got.Children) < 2 || !slices.Contains(got.Children, a.Digest) || got.Unread != "" {
		t.Errorf("the index is %+v", got)
	}
	if got := shelf.Manifests["sha256:"+stella.Digest(strings.Repeat("0", 64))]; !got.Absent {
		t.Errorf("what is not there is %+v", got)
	}
	if len(shelf.Tags) != 4 || shelf.Tags["multi"] != index.Digest || shelf.Tags["2"] != other.Digest {
		t.Errorf("the tags name %v", shelf.Tags)
	}
	for range 2 {
		if err := c.Delete(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.Resolve(t.Context(), other)
	wantClass(t, err, stella.ErrNotFound)
	wantTags(append(keep, "multi")...)
	other.Repository = "no/body"
	if got, err := c.Tags(t.Context(), other); err != nil || len(got) != 0 {
		t.Errorf("a repository that is not there has %v, %v", got, err)
	}
	wantClass(t, c.Tag(t.Context(), other, "x"), stella.ErrNotFound)
}

// TestARegistryThatDeletesNothing says so, with what to do about it.
func TestARegistryThatDeletesNothing(t *testing.T) {
	l := newLab(t)
	c := l.client(artifact.Config{})
	a := l.push(memoryHost, "1", sample(t))
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete {
			return false
		}
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}`))
		return true
	})
	for _, err := range []error{c.Delete(t.Context(), a), c.Untag(t.Context(), a, "1")} {
		wantClass(t, err, stella.ErrUnsupported)
		if !strings.Contains(stella.Hint(err), "delete: {enabled: true}") {
			t.Errorf("%v: hint %q", err, stella.Hint(err))
		}
	}
}

// TestTagsWithoutEnd: pages are bounded, lead nowhere else, and bring something.
func TestTagsWithoutEnd(t *testing.T) {
	for name, page := range map[string]struct {
		link func(n int) string
		tags func(n int) string
		want error
	}{
		"an endless list": {func(n int) string { return fmt.Sprintf("</v2/shop/api/tags/list?last=%d>; rel=\"next\"", n) }, func(n int) string { return fmt.Sprint(n) }, stella.ErrInvalid},
		"the same page":   {func(int) string { return `</v2/shop/api/tags/list?last=x>; rel="next"` }, func(int) string { return "x" }, stella.ErrInvalid},
		"no place":        {func(int) string { return `<http://elsewhere.test/>; rel="next"` }, func(n int) string { return fmt.Sprint(n) }, stella.ErrInvalid},
	} {
		l := newLab(t)
		n := 0
		l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/tags/list") || r.URL.Host == "elsewhere.test" {
				return false
			}
			n++
			w.Header().Set("Link", page.link(n))
			_, _ = fmt.Fprintf(w, `{"name":"shop/api","tags":[%q,"not a tag","\u001b[31m"]}`, page.tags(n))
			return true
		})
		_, err := l.client(artifact.Config{}).Tags(t.Context(), stella.Artifact{Registry: memoryHost, Repository: "shop/api"})
		if wantClass(t, err, page.want); n > 2100 {
			t.Errorf("%s: %d pages", name, n)
		}
	}
	l := newLab(t)
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !strings.HasSuffix(r.URL.Path, "/tags/list"):
			return false
		case r.URL.Query().Get("last") == "":
			w.Header().Set("Link", `<https://elsewhere.test/v2/other/tags/list?last=a&n=1>; rel="next"`)
			_, _ = w.Write([]byte(`{"tags":["a","not a tag"]}`))
		default:
			_, _ = w.Write([]byte(`{"tags":["b","a"]}`))
		}
		return true
	})
	got, err := l.client(artifact.Config{}).Tags(t.Context(), stella.Artifact{Registry: memoryHost, Repository: "shop/api"})
	if err != nil || !slices.Equal(got, []string{"a", "b"}) || l.requests("/v2/shop/api/tags/list") != 2 {
		t.Errorf("%v, %v", got, err)
	}
}
