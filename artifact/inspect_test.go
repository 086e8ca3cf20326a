package artifact_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/registry"
)

// ofTwo is an index of an image for this machine and one for another, which share
// their first layer, with an attestation.
func ofTwo(t *testing.T) (index v1.ImageIndex, here, there v1.Image) {
	t.Helper()
	shared := []registry.File{{Name: "shared", Content: []byte("of both")}}
	here = sample(t, shared, []registry.File{{Name: "bin/app", Content: []byte("here")}})
	there = sample(t, shared, []registry.File{{Name: "bin/app", Content: []byte("there, with more")}})
	index = indexOf(t, map[string]v1.Image{artifact.Host().String(): here, "plan9/arm": there})
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests { // as they became in there
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		switch d.Platform.OS {
		case "plan9":
			there = image
		case artifact.Host().OS:
			here = image
		}
	}
	return index, here, there
}

func layersOf(t *testing.T, image v1.Image) []v1.Descriptor {
	t.Helper()
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Layers
}

func digestIn(t *testing.T, image partial.WithRawManifest) string {
	t.Helper()
	raw, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return string(digestOf(raw))
}

// only is a look for the platform of this machine.
func only(depth artifact.Depth) artifact.Look {
	return artifact.Look{Depth: depth, Needed: func(context.Context, stella.Artifact) []artifact.Platform {
		return []artifact.Platform{artifact.Host()}
	}}
}

// parts are the parts that are missing, sorted: "layer damaged".
func parts(n artifact.Inspection) string {
	var all []string
	for _, m := range n.Missing {
		all = append(all, m.Kind+" "+m.State)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func TestInspectTellsAllOfAnIndex(t *testing.T) {
	l := newLab(t)
	index, here, there := ofTwo(t)
	want := l.push(memoryHost, "1", index)
	byTag := want
	byTag.Digest = ""
	l.breaks(nil) // forget what was pushed
	n, err := l.client(artifact.Config{}).Inspect(t.Context(), byTag, artifact.Look{})
	if err != nil || n.Artifact != want || n.Verdict != "" || len(n.Missing) != 0 {
		t.Fatalf("%+v, %v", n, err)
	}
	if got := slices.Sorted(slices.Values(n.Platforms)); !cmp.Equal(got, slices.Sorted(slices.Values([]string{artifact.Host().String(), "plan9/arm"}))) {
		t.Errorf("platforms %v", got)
	}
	raw, err := index.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	bytes, seen := int64(len(raw)), map[string]bool{}
	for _, image := range []v1.Image{here, there} {
		m, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		size, err := image.Size()
		if err != nil {
			t.Fatal(err)
		}
		bytes += size
		for _, d := range append(m.Layers, m.Config) {
			if !seen[d.Digest.String()] {
				seen[d.Digest.String()], bytes = true, bytes+d.Size
			}
		}
	}
	if n.SizeBytes != bytes {
		t.Errorf("%d bytes, want %d", n.SizeBytes, bytes)
	}
	if len(n.Attestations) != 1 || n.Attestations[0].Type != "attestation-manifest" || len(n.Images) != 2 {
		t.Errorf("attestations %+v, images %+v", n.Attestations, n.Images)
	}
	if l.requests("HEAD ") != 0 {
		t.Error("layers were asked for that nobody wanted to know of")
	}
}

func TestInspectTellsWhatTheImageSays(t *testing.T) {
	l := newLab(t)
	hostile := map[string]string{"a\x1b[31m": "b\nc", "long": strings.Repeat("x", 5000)}
	for i := range 200 {
		hostile[fmt.Sprintf("z%03d", i)] = "v"
	}
	image, err := registry.Build{Config: artifact.ImageConfig{Labels: hostile}}.Image()
	if err != nil {
		t.Fatal(err)
	}
	n, err := l.client(artifact.Config{}).Inspect(t.Context(), l.push(memoryHost, "1", image), artifact.Look{Depth: artifact.Sized})
	if err != nil || n.Verdict != artifact.VerdictAvailable || len(n.Labels) != 128 {
		t.Fatalf("%d labels, %s, %v", len(n.Labels), n.Verdict, err)
	}
	for name, value := range n.Labels {
		if strings.ContainsAny(name+value, "\x1b\n") || len(value) > 1100 {
			t.Errorf("label %q is %.80q", name, value)
		}
	}
}

// TestInspectCountsWhatIsNeeded: what no target needs may be gone.
func TestInspectCountsWhatIsNeeded(t *testing.T) {
	index, here, there := ofTwo(t)
	lost := layersOf(t, there)[1].Digest.String() // layer 0 is of both
	for _, c := range []struct {
		name    string
		gone    string
		needed  string
		all     string // without a look at what is needed
		depth   artifact.Depth
		verdict artifact.Verdict
	}{
		{"a layer of another platform", "/blobs/" + lost, "", "layer missing", artifact.Sized, artifact.VerdictAvailable},
		{"the manifest of another platform", "/manifests/" + digestIn(t, there), "", "manifest missing", artifact.Sized, artifact.VerdictAvailable},
		{"the manifest of this platform", "/manifests/" + digestIn(t, here), "manifest missing", "manifest missing", artifact.Sized, artifact.VerdictMissing},
		{"the manifest of this platform, described", "/manifests/" + digestIn(t, here), "manifest missing", "manifest missing", artifact.Described, artifact.VerdictMissing},
		{"a layer of both, once", "/blobs/" + layersOf(t, here)[0].Digest.String(), "layer missing", "layer missing", artifact.Hashed, artifact.VerdictMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			a := l.push(memoryHost, "1", index)
			l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, c.gone) {
					http.NotFound(w, r)
					return true
				}
				return false
			})
			client := l.client(artifact.Config{})
			n, err := client.Inspect(t.Context(), a, only(c.depth))
			if parts(n) != c.needed || n.Verdict != c.verdict || (err == nil) != (c.needed == "") {
				t.Errorf("%q, %s, %v", parts(n), n.Verdict, err)
			}
			n, err = client.Inspect(t.Context(), a, artifact.Look{Depth: c.depth})
			if parts(n) != c.all || n.Verdict != artifact.VerdictMissing || err == nil {
				t.Errorf("all platforms: %q, %s, %v", parts(n), n.Verdict, err)
			}
		})
	}
	l := newLab(t)
	a := l.push(memoryHost, "1", index)
	l.breaks(nil) // forget what was pushed
	n, err := l.client(artifact.Config{}).Inspect(t.Context(), a, artifact.Look{Depth: artifact.Sized, Needed: func(context.Context, stella.Artifact) []artifact.Platform {
		return []artifact.Platform{{OS: "linux", Architecture: "s390x"}, artifact.Host()}
	}})
	wantClass(t, err, stella.ErrUnsupported)
	if parts(n) != "platform unusable" || n.Verdict != artifact.VerdictMissing || l.requests("HEAD ") != 2 {
		t.Errorf("%q, %s", parts(n), n.Verdict)
	}
}

// TestALookAtEveryByteFindsWhatASizeHides, with both digests.
func TestALookAtEveryByteFindsWhatASizeHides(t *testing.T) {
	l := newLab(t)
	image := sample(t)
	a := l.push(memoryHost, "1", image)
	layer := layersOf(t, image)[1]
	rotten := bytes.Repeat([]byte("x"), int(layer.Size))
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/blobs/"+layer.Digest.String()) {
			_, _ = w.Write(serveRange(w, r, rotten))
			return true
		}
		return false
	})
	c := l.client(artifact.Config{})
	if n, err := c.Inspect(t.Context(), a, artifact.Look{Depth: artifact.Sized}); err != nil || n.Verdict != artifact.VerdictAvailable {
		t.Errorf("by size: %+v, %v", n, err)
	}
	n, err := c.Inspect(t.Context(), a, artifact.Look{Depth: artifact.Hashed})
	wantClass(t, err, stella.ErrTampered)
	for _, digest := range []string{layer.Digest.String(), string(digestOf(rotten))} {
		if !strings.Contains(err.Error(), digest) || len(n.Missing) != 1 || !strings.Contains(n.Missing[0].Error, digest) {
			t.Errorf("%s is not named: %v; %+v", digest, err, n.Missing)
		}
	}
	if parts(n) != "layer damaged" || n.Verdict != artifact.VerdictMissing {
		t.Errorf("%q, %s", parts(n), n.Verdict)
	}
	report, err := c.CheckDeep(t.Context(), a)
	wantClass(t, err, stella.ErrTampered)
	if report.Available || len(report.Missing) != 1 || report.Missing[0].State != "damaged" {
		t.Errorf("CheckDeep: %+v", report)
	}
}

// TestAManifestThatIsAnotherNamesBothDigests.
func TestAManifestThatIsAnotherNamesBothDigests(t *testing.T) {
	l := newLab(t)
	a, other := l.push(memoryHost, "1", sample(t)), l.push(memoryHost, "2", imageOf(t))
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.ReplaceAll(r.URL.Path, string(a.Digest), string(other.Digest))
		return false
	})
	n, err := l.client(artifact.Config{}).Inspect(t.Context(), a, artifact.Look{})
	wantClass(t, err, stella.ErrTampered)
	if !strings.Contains(err.Error(), string(other.Digest)+", not "+string(a.Digest)) || parts(n) != "manifest damaged" {
		t.Errorf("%v; %q", err, parts(n))
	}
}

// TestWhoIsRefusedHasFoundNothingMissing: 401 and 403 are no 404, unless another
// part is gone for certain.
func TestWhoIsRefusedHasFoundNothingMissing(t *testing.T) {
	image := sample(t)
	layers := layersOf(t, image)
	for _, c := range []struct {
		name    string
		status  map[string]int // by the end of the path
		class   error
		parts   string
		verdict artifact.Verdict
	}{
		{"manifest 401", map[string]int{"/manifests/1": 401}, stella.ErrDenied, "manifest unknown", artifact.VerdictUnknown},
		{"manifest 403", map[string]int{"/manifests/1": 403}, stella.ErrDenied, "manifest unknown", artifact.VerdictUnknown},
		{"manifest 503", map[string]int{"/manifests/1": 503}, stella.ErrUnreachable, "manifest unknown", artifact.VerdictUnknown},
		{"manifest 404", map[string]int{"/manifests/1": 404}, stella.ErrNotFound, "manifest missing", artifact.VerdictMissing},
		{"layer 403", map[string]int{layers[0].Digest.String(): 403}, stella.ErrDenied, "layer unknown", artifact.VerdictUnknown},
		{"one 403, one 404", map[string]int{layers[0].Digest.String(): 403, layers[1].Digest.String(): 404}, stella.ErrNotFound, "layer missing, layer unknown", artifact.VerdictMissing},
		{"one 503, one 403", map[string]int{layers[0].Digest.String(): 503, layers[1].Digest.String(): 403}, stella.ErrDenied, "layer unknown, layer unknown", artifact.VerdictUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			a := l.push(memoryHost, "1", image)
			a.Digest = ""
			l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				for end, status := range maps.All(c.status) {
					if strings.HasSuffix(r.URL.Path, end) {
						w.WriteHeader(status)
						return true
					}
				}
				return false
			})
			n, err := l.client(artifact.Config{Attempts: 1}).Inspect(t.Context(), a, artifact.Look{Depth: artifact.Sized})
			wantClass(t, err, c.class)
			if parts(n) != c.parts || n.Verdict != c.verdict {
				t.Errorf("%q, %q", parts(n), n.Verdict)
			}
		})
	}
}

// signature is a manifest about an image, as signing tools push it.
func signature(t *testing.T, of v1.Descriptor, content string) v1.Image {
	t.Helper()
	image, ok := mutate.Subject(sample(t, []registry.File{{Name: "signature", Content: []byte(content)}}), of).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	return image
}

// TestReferrers are found by the API of a registry that has it, and else where
// clients keep the list.
func TestReferrers(t *testing.T) {
	withAPI := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(withAPI.Close)
	for name, host := range map[string]string{"api": strings.TrimPrefix(withAPI.URL, "http://"), "tag": distribution(t, nil)} {
		t.Run(name, func(t *testing.T) {
			c := artifact.New(artifact.Config{PlainHTTP: []string{host}})
			image := sample(t)
			a := push(t, http.DefaultTransport, host, "1", image)
			if n, err := c.Inspect(t.Context(), a, artifact.Look{}); err != nil || len(n.Referrers) != 0 || n.ReferrersError != "" {
				t.Errorf("before there are any: %+v, %v", n, err)
			}
			of, err := partial.Descriptor(image)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{
				string(push(t, http.DefaultTransport, host, "sig-1", signature(t, *of, "one")).Digest),
				string(push(t, http.DefaultTransport, host, "sig-2", signature(t, *of, "two")).Digest),
			}
			n, err := c.Inspect(t.Context(), a, artifact.Look{Depth: artifact.Hashed})
			var got []string
			for _, r := range n.Referrers {
				got = append(got, string(r.Digest))
				if r.Subject != a.Digest || r.SizeBytes == 0 {
					t.Errorf("%+v", r)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" || err != nil || n.Verdict != artifact.VerdictAvailable {
				t.Errorf("%v, %s %s (-want +got)\n%s", err, n.Verdict, n.ReferrersError, diff)
			}
		})
	}
}

// TestReferrersAreBounded: pages without end, a next page elsewhere, a list that
// is none. None of that says anything of the image.
func TestReferrersAreBounded(t *testing.T) {
	page := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%064x","size":10,"artifactType":"t\u001b"}`, i))
		}
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(all, ",") + `]}`
	}
	for _, c := range []struct {
		name, link, body string
		status           int
		want, requests   int
		fails            string
	}{
		{"no end", `</v2/shop/api/referrers/x?last=1>; rel="next"`, page(2), 200, 20, 10, "more than 10 pages"},
		{"too many", `</v2/shop/api/referrers/x?last=1>; rel="next"`, page(600), 200, 1000, 2, "more than 1000"},
		{"a next page elsewhere", `<https://evil.example/x?last=1>; rel="next"`, page(1), 200, 10, 10, "more than 10 pages"},
		{"another link", `</v2/x?last=1>; rel="help"`, page(3), 200, 3, 1, ""},
		{"no list", "", `[]`, 200, 0, 1, ""},
		{"refused", "", `{}`, 403, 0, 1, "status 403"},
		{"broken", "", `{}`, 500, 0, 1, "status 500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			a := l.push(memoryHost, "1", sample(t))
			l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/"+string(a.Digest)) {
					return false
				}
				w.Header().Set("Link", c.link)
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
				return true
			})
			n, err := l.client(artifact.Config{Attempts: 1}).Inspect(t.Context(), a, artifact.Look{Depth: artifact.Sized})
			if err != nil || n.Verdict != artifact.VerdictAvailable {
				t.Errorf("%s, %v", n.Verdict, err)
			}
			if len(n.Referrers) != c.want || l.requests("/referrers/") != c.requests || (c.fails == "") != (n.ReferrersError == "") || !strings.Contains(n.ReferrersError, c.fails) {
				t.Errorf("%d referrers after %d requests, %q", len(n.Referrers), l.requests("/referrers/"), n.ReferrersError)
			}
			for _, r := range n.Referrers {
				if strings.Contains(r.Type, "\x1b") {
					t.Fatalf("type %q", r.Type)
				}
			}
		})
	}
}

// TestInspectWithPasswordsAndTokens, on the registry that most are made of and
// behind a token server that takes its tokens back.
func TestInspectWithPasswordsAndTokens(t *testing.T) {
	host := distribution(t, map[string]string{"anna": secret})
	index, here, _ := ofTwo(t)
	a := push(t, http.DefaultTransport, host, "1", index, remote.WithAuth(&authn.Basic{Username: "anna", Password: secret}))
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: login(t, host)})
	if n, err := c.Inspect(t.Context(), a, artifact.Look{Depth: artifact.Hashed}); err != nil || n.Verdict != artifact.VerdictAvailable || n.ReferrersError != "" {
		t.Errorf("%+v, %v", n, err)
	}
	n, err := artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: t.TempDir()}).Inspect(t.Context(), a, artifact.Look{Depth: artifact.Hashed})
	wantClass(t, err, stella.ErrDenied)
	noSecret(t, err)
	if n.Verdict != artifact.VerdictUnknown || parts(n) != "manifest unknown" {
		t.Errorf("as nobody: %s, %q", n.Verdict, parts(n))
	}
	removeWithPassword(t, host, "shop/api/blobs/"+layersOf(t, here)[1].Digest.String())
	n, err = c.Inspect(t.Context(), a, only(artifact.Sized))
	wantClass(t, err, stella.ErrNotFound)
	if parts(n) != "layer missing" || n.Missing[0].Digest.Hex() != layersOf(t, here)[1].Digest.Hex {
		t.Errorf("%+v", n.Missing)
	}

	l := newLab(t)
	host = l.serve()
	a = push(t, http.DefaultTransport, host, "1", index)
	k := &tokens{realm: "http://" + host + "/token"}
	l.breaks(k.guard)
	c = artifact.New(artifact.Config{PlainHTTP: []string{host}, DockerConfig: login(t, host)})
	for try := range 2 {
		n, err := c.Inspect(t.Context(), a, artifact.Look{Depth: artifact.Hashed})
		if err != nil || n.Verdict != artifact.VerdictAvailable || n.ReferrersError != "" {
			t.Errorf("%+v, %v", n, err)
		}
		k.mu.Lock()
		if k.issued != try+1 {
			t.Errorf("%d tokens after %d inspections", k.issued, try+1)
		}
		k.left = nil // those that were given out are refused from now on
		k.mu.Unlock()
	}
}
