package artifact_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// list reads a tar to its end: "name mode" for directories, "name mode content",
// "name -> target", "name = target" for hard links.
func list(t testing.TB, r io.Reader) ([]string, error) {
	t.Helper()
	var all []string
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return all, err
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			return all, err
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			all = append(all, h.Name+" -> "+h.Linkname)
		case tar.TypeLink:
			all = append(all, h.Name+" = "+h.Linkname)
		default:
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %o %s", h.Name, h.Mode, body)))
		}
	}
	_, err := io.Copy(io.Discard, r)
	return all, err
}

func files(t testing.TB, img *artifact.Image) []string {
	t.Helper()
	r, err := img.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := list(t, r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestResolveCheckPull(t *testing.T) {
	l := newLab(t)
	host := l.serve()
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}})
	image := sample(t)
	want := push(t, http.DefaultTransport, host, "1.0", image)

	byTag := want
	byTag.Digest = ""
	got, err := c.Resolve(t.Context(), byTag)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("Resolve: %v (-want +got):\n%s", err, diff)
	}
	report, err := c.Check(t.Context(), got)
	if err != nil || !report.Available || report.SizeBytes < 500 || len(report.Missing) != 0 {
		t.Errorf("Check: %+v, %v", report, err)
	}
	if diff := cmp.Diff([]string{artifact.Host().String()}, report.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	img, err := pull(t, c, got)
	if err != nil {
		t.Fatal(err)
	}
	if img.Manifest != want.Digest || img.UnpackedBytes != 3208 || img.Config.User != "1000" {
		t.Errorf("image %+v", img)
	}
	wantFiles := []string{
		"etc/ 755", "usr/ 755", "usr/bin/ 755",
		"usr/bin/app 755 " + strings.TrimSpace(strings.Repeat("incompressible? ", 200)), "etc/app.conf 644 port=80",
		"bin -> usr/bin",
	}
	if diff := cmp.Diff(wantFiles, files(t, img)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantFiles, files(t, img)); diff != "" {
		t.Errorf("files, read again (-want +got):\n%s", diff)
	}
}

// indexOf makes an index of images for platforms, with an attestation before
// them, as BuildKit does.
func indexOf(t *testing.T, images map[string]v1.Image) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: sample(t), Descriptor: v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
	}})
	var names []string
	for platform := range images {
		names = append(names, platform)
	}
	slices.Sort(names)
	for _, platform := range names {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		file, err := images[platform].ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		file.OS, file.Architecture, file.Variant = p.OS, p.Architecture, p.Variant
		image, err := mutate.ConfigFile(images[platform], file)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: p}})
	}
	return index
}

func TestIndexesGiveThePlatformsOwnImage(t *testing.T) {
	l := newLab(t)
	c := l.client(artifact.Config{})
	a := l.push(memoryHost, "multi", indexOf(t, map[string]v1.Image{
		"linux/amd64": sample(t), "linux/arm64/v8": sample(t), "linux/arm/v6": sample(t), "linux/arm/v7": sample(t), "windows/amd64": sample(t),
	}))
	report, err := c.Check(t.Context(), a, artifact.Platform{OS: "linux", Architecture: "arm64"}, artifact.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil || !report.Available {
		t.Fatalf("Check: %+v, %v", report, err)
	}
	wantPlatforms := []string{"linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "windows/amd64"}
	if diff := cmp.Diff(wantPlatforms, report.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	for host, want := range map[artifact.Platform]string{
		{OS: "linux", Architecture: "amd64"}:                "linux/amd64",
		{OS: "linux", Architecture: "amd64", Variant: "v3"}: "linux/amd64",
		{OS: "linux", Architecture: "arm64"}:                "linux/arm64/v8",
		{OS: "linux", Architecture: "arm", Variant: "v7"}:   "linux/arm/v7",
		{OS: "linux", Architecture: "arm", Variant: "v6"}:   "linux/arm/v6",
		{OS: "linux", Architecture: "arm"}:                  "linux/arm/v7",
		{OS: "windows", Architecture: "amd64"}:              "windows/amd64",
		{OS: "linux", Architecture: "riscv64"}:              "",
		{OS: "linux", Architecture: "arm", Variant: "v5"}:   "",
		{OS: "unknown", Architecture: "unknown"}:            "linux", // never asked for
	} {
		img, err := c.Pull(t.Context(), a, host, t.TempDir())
		switch {
		case want == "":
			wantClass(t, err, stella.ErrUnsupported)
			if err != nil && !strings.Contains(err.Error(), "linux/arm64/v8") {
				t.Errorf("%v does not say what there is", err)
			}
		case host.OS == "unknown":
		case err != nil || img.Config.Platform != want || img.Manifest == a.Digest:
			t.Errorf("%s: %+v, %v, want %s", host, img, err, want)
		}
	}
}

// TestWhatIsNotThere is R01: each part that may be gone, and how it is told.
func TestWhatIsNotThere(t *testing.T) {
	l := newLab(t)
	c := l.client(artifact.Config{})
	image := sample(t)
	a := l.push(memoryHost, "1", image)
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	other := a
	other.Digest = stella.Digest("sha256:" + strings.Repeat("0", 64))
	for _, c2 := range []struct {
		name, path, kind string
		a                stella.Artifact
	}{
		{"a digest that nobody pushed", "", "manifest", other},
		{"the manifest", "/manifests/", "manifest", a},
		{"the configuration", m.Config.Digest.String(), "config", a},
		{"a layer", m.Layers[1].Digest.String(), "layer", a},
	} {
		t.Run(c2.name, func(t *testing.T) {
			l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if c2.path == "" || !strings.Contains(r.URL.Path, c2.path) {
					return false
				}
				http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"gone\u001b[2J"}]}`, http.StatusNotFound)
				return true
			})
			report, err := c.Check(t.Context(), c2.a)
			wantClass(t, err, stella.ErrNotFound)
			if report.Available || len(report.Missing) != 1 || report.Missing[0].Kind != c2.kind {
				t.Errorf("report %+v", report)
			}
			if !strings.Contains(fmt.Sprint(err), "shop/api") || stella.Hint(err) == "" {
				t.Errorf("%v (hint %q) does not say which image and what to do", err, stella.Hint(err))
			}
			_, err = pull(t, c, c2.a)
			wantClass(t, err, stella.ErrNotFound)
		})
	}
}

func TestCheckTellsALayerOfTheWrongSize(t *testing.T) {
	l := newLab(t)
	a := l.push(memoryHost, "1", sample(t))
	l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", "7")
			w.WriteHeader(http.StatusOK)
		}
		return r.Method == http.MethodHead
	})
	report, err := l.client(artifact.Config{}).Check(t.Context(), a)
	wantClass(t, err, stella.ErrTampered)
	if len(report.Missing) != 2 {
		t.Errorf("report %+v", report)
	}
}

// TestACertainAnswerDecides: a layer that is gone is gone, whatever another
// one's answer may be the next time.
func TestACertainAnswerDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		image := sample(t)
		a := l.push(memoryHost, "1", image)
		m, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		l.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			status := map[string]int{m.Layers[0].Digest.String(): 503, m.Layers[1].Digest.String(): 404}[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
			if status != 0 {
				w.WriteHeader(status)
			}
			return status != 0
		})
		report, err := l.client(artifact.Config{}).Check(t.Context(), a)
		wantClass(t, err, stella.ErrNotFound)
		if len(report.Missing) != 2 || !strings.Contains(err.Error(), "1 more") {
			t.Errorf("%v, report %+v", err, report)
		}
	})
}

func TestPullNeedsADigest(t *testing.T) {
	_, err := pull(t, artifact.New(artifact.Config{}), stella.Artifact{Registry: memoryHost, Repository: "a", Tag: "1"})
	wantClass(t, err, stella.ErrInvalid)
}

func TestTheCallersEndIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		a := l.push(memoryHost, "1", sample(t))
		l.breaks(func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		began := time.Now()
		_, err := l.client(artifact.Config{}).Resolve(t.Context(), a)
		wantClass(t, err, stella.ErrUnreachable)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("a registry that says nothing was waited for %s", took)
		}
	})
}

func TestFilesVerifyAgain(t *testing.T) {
	l := newLab(t)
	c := l.client(artifact.Config{})
	dir := t.TempDir()
	img, err := c.Pull(t.Context(), l.push(memoryHost, "1", sample(t)), artifact.Host(), dir)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody swaps a layer on disk for another one between pull and use.
	other, err := sample(t).Layers()
	if err != nil {
		t.Fatal(err)
	}
	swap(t, dir, other)
	r, err := img.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = list(t, r)
	wantClass(t, err, stella.ErrTampered)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// swap gives each layer on disk the content of another.
func swap(t *testing.T, dir string, layers []v1.Layer) {
	t.Helper()
	for i, l := range layers {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		rc, err := layers[(i+1)%len(layers)].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir+"/"+d.Hex, data)
	}
}

func TestFilesCanBeLeftEarly(t *testing.T) {
	l := newLab(t)
	img, err := pull(t, l.client(artifact.Config{}), l.push(memoryHost, "1", sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := img.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("reading after Close succeeds")
	}
}

func TestConcurrentUse(t *testing.T) {
	l := newLab(t)
	host := l.serve()
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}})
	a := push(t, http.DefaultTransport, host, "1", sample(t))
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := c.Check(t.Context(), a)
			errs <- err
		}()
		go func() {
			_, err := c.Pull(t.Context(), a, artifact.Host(), t.TempDir())
			errs <- err
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestMemoryDoesNotGrowWithTheLayer counts everything that is allocated, of the
// registry in the same process too.
func TestMemoryDoesNotGrowWithTheLayer(t *testing.T) {
	l := newLab(t)
	host := l.serve()
	c := artifact.New(artifact.Config{PlainHTTP: []string{host}})
	noise := make([]byte, 16<<20)
	state := uint64(88172645463325252)
	for i := 0; i < len(noise); i += 8 {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		for j := range 8 {
			noise[i+j] = byte(state >> (8 * j))
		}
	}
	a := push(t, http.DefaultTransport, host, "big", bigImage(t, noise))
	var img *artifact.Image
	grown := allocated(func() {
		var err error
		if img, err = pull(t, c, a); err != nil {
			t.Fatal(err)
		}
		r, err := img.Files(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
	})
	if img.SizeBytes < int64(len(noise)) || grown > 8<<20 {
		t.Errorf("a layer of %d bytes took %d bytes of memory in all", img.SizeBytes, grown)
	}
	grown = allocated(func() {
		if n, err := c.Inspect(t.Context(), a, artifact.Look{Depth: artifact.Hashed}); err != nil || n.Verdict != artifact.VerdictAvailable {
			t.Fatal(n, err)
		}
	})
	if grown > 8<<20 {
		t.Errorf("to verify a layer of %d bytes took %d bytes of memory in all", img.SizeBytes, grown)
	}
}

func bigImage(t *testing.T, content []byte) v1.Image {
	t.Helper()
	return imageOf(t, layerOf(t, types.OCILayer, gzipLevel(t, archiveOf(t, tarEntry{name: "big", body: string(content)}), gzip.NoCompression)))
}
