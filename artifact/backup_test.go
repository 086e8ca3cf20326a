package artifact_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// store is a registry, and a backup of either kind.
type store struct {
	t      *testing.T
	main   *lab
	host   string
	spare  *lab   // nil for a layout
	dir    string // of a layout
	place  string // as stella.yaml names the backup
	prefix string // of the backup's repository, host included
}

func stores() map[string]func(*testing.T) *store {
	return map[string]func(*testing.T) *store{
		"another registry": func(t *testing.T) *store {
			s := &store{t: t, main: newLab(t), spare: newLab(t)}
			s.host = s.main.serve()
			s.place = s.spare.serve() + "/mirror"
			s.prefix = s.place + "/" + strings.ReplaceAll(s.host, ":", "_") + "/"
			return s
		},
		"an OCI layout": func(t *testing.T) *store {
			s := &store{t: t, main: newLab(t), dir: t.TempDir()}
			s.host = s.main.serve()
			s.place = "oci:" + s.dir
			if _, err := layout.Write(s.dir, empty.Index); err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
}

func (s *store) client() *artifact.Client {
	host, _, _ := strings.Cut(s.place, "/")
	return artifact.New(artifact.Config{PlainHTTP: []string{s.host, host}, Backup: s.place})
}

// keep puts an image or an index into the backup, and returns what it was
// called in the registry, which does not have it.
func (s *store) keep(what any) stella.Artifact {
	s.t.Helper()
	var digest v1.Hash
	var err error
	switch what := what.(type) {
	case v1.Image:
		digest, _ = what.Digest()
		if s.spare == nil {
			err = layout.Path(s.dir).AppendImage(what)
		} else {
			err = remote.Write(s.ref(digest), what, remote.WithContext(s.t.Context()))
		}
	case v1.ImageIndex:
		digest, _ = what.Digest()
		if s.spare == nil {
			err = layout.Path(s.dir).AppendIndex(what)
		} else {
			err = remote.WriteIndex(s.ref(digest), what, remote.WithContext(s.t.Context()))
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return stella.Artifact{Registry: s.host, Repository: "shop/api", Tag: "1.0", Digest: stella.Digest(digest.String())}
}

func (s *store) ref(digest v1.Hash) name.Reference {
	ref, err := name.ParseReference(s.prefix + "shop/api@" + digest.String())
	if err != nil {
		s.t.Fatal(err)
	}
	return ref
}

func forBoth(t *testing.T, test func(*testing.T, *store)) {
	for kind, open := range stores() {
		t.Run(kind, func(t *testing.T) { test(t, open(t)) })
	}
}

func TestWhatTheRegistryLostIsPulledFromTheBackup(t *testing.T) {
	forBoth(t, func(t *testing.T, s *store) {
		c, image := s.client(), sample(t)
		a := s.keep(image)
		_, err := c.Check(t.Context(), a)
		wantClass(t, err, stella.ErrNotFound)
		r, err := c.CheckBackup(t.Context(), a)
		if err != nil || !r.Available || r.Artifact != a || r.SizeBytes == 0 {
			t.Fatalf("backup: %+v, %v", r, err)
		}
		want := files(t, mustPull(t, artifact.New(artifact.Config{PlainHTTP: []string{s.host}}), push(t, http.DefaultTransport, s.host, "other", image)))
		for what, c := range map[string]*artifact.Client{"found in the backup before": c, "not looked for before": s.client()} {
			s.main.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				http.NotFound(w, r)
				return r.URL.Path != "/v2/"
			})
			img := mustPull(t, c, a)
			if got := files(t, img); strings.Join(got, "\n") != strings.Join(want, "\n") || img.Artifact != a {
				t.Errorf("%s: %v of %s, want %v", what, got, img.Artifact, want)
			}
			if n := s.main.requests("PUT") + s.main.requests("POST"); n > 0 {
				t.Errorf("%s: the registry was written to %d times", what, n)
			}
		}
	})
}

func mustPull(t *testing.T, c *artifact.Client, a stella.Artifact) *artifact.Image {
	t.Helper()
	img, err := c.Pull(t.Context(), a, artifact.Host(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestABackupHasNothingThatItWasNotGiven(t *testing.T) {
	forBoth(t, func(t *testing.T, s *store) {
		c := s.client()
		a := stella.Artifact{Registry: s.host, Repository: "shop/api", Digest: digestOf([]byte("never pushed"))}
		_, err := c.CheckBackup(t.Context(), a)
		wantClass(t, err, stella.ErrNotFound)
		_, err = pull(t, c, a)
		wantClass(t, err, stella.ErrNotFound)
		if !strings.Contains(err.Error(), "backup") {
			t.Errorf("%v does not say that the backup was asked", err)
		}
		a.Digest = ""
		_, err = c.CheckBackup(t.Context(), a)
		wantClass(t, err, stella.ErrInvalid)
	})
}

func TestABackupOfNothingAndNowhere(t *testing.T) {
	a := stella.Artifact{Registry: "r.example.com", Repository: "shop/api", Digest: digestOf(nil)}
	c := artifact.New(artifact.Config{})
	_, err := c.CheckBackup(t.Context(), a)
	wantClass(t, err, stella.ErrNotFound)
	if c.Backup() != "" {
		t.Errorf("backup %q", c.Backup())
	}
	// A disk that is not mounted has lost nothing: nobody can tell.
	c = artifact.New(artifact.Config{Backup: "oci:" + filepath.Join(t.TempDir(), "not-mounted")})
	_, err = c.CheckBackup(t.Context(), a)
	wantClass(t, err, stella.ErrUnreachable)
}

func TestADamagedBackupIsNotBelieved(t *testing.T) {
	s := stores()["an OCI layout"](t)
	c, image := s.client(), sample(t)
	a := s.keep(image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(s.dir, "blobs", "sha256", digest.Hex)
	whole := readFile(t, blob)
	spoiled := append([]byte{}, whole...)
	spoiled[len(spoiled)/2] ^= 1
	if err := os.WriteFile(blob, spoiled, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := c.Pull(t.Context(), a, artifact.Host(), dir); err == nil || !strings.Contains(err.Error(), "tampered") {
		t.Errorf("spoiled: %v", err)
	}
	if err := c.Restore(t.Context(), a); err == nil {
		t.Error("a spoiled layer was restored")
	}
	_, err = c.Check(t.Context(), a)
	wantClass(t, err, stella.ErrNotFound)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	r, err := c.CheckBackup(t.Context(), a)
	wantClass(t, err, stella.ErrNotFound)
	if len(r.Missing) != 1 || r.Missing[0].Kind != "layer" {
		t.Errorf("missing %+v", r.Missing)
	}
}

func TestRestoreBringsBackWhatTheRegistryLostAndMovesNoTag(t *testing.T) {
	forBoth(t, func(t *testing.T, s *store) {
		c, image := s.client(), sample(t)
		a := s.keep(image)
		newer := push(t, http.DefaultTransport, s.host, "1.0", sample(t, nil))
		if err := c.Restore(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Check(t.Context(), a); err != nil || !r.Available {
			t.Errorf("%+v, %v", r, err)
		}
		a.Digest = ""
		if now, err := c.Resolve(t.Context(), a); err != nil || now.Digest != newer.Digest {
			t.Errorf("tag 1.0 names %s, %v, want %s", now.Digest, err, newer.Digest)
		}
	})
}

func TestRestoreBringsBackALayerBelowAManifestThatIsStillThere(t *testing.T) {
	s := stores()["another registry"](t)
	c, image := s.client(), sample(t)
	a := s.keep(image)
	raw, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	if put := s.main.raw(string(types.DockerManifestSchema2), raw); put.Digest != a.Digest {
		t.Fatalf("put %s, want %s", put.Digest, a.Digest)
	}
	_, err = c.Check(t.Context(), a)
	wantClass(t, err, stella.ErrNotFound)
	if err := c.Restore(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Check(t.Context(), a); err != nil {
		t.Error(err)
	}
}

func TestRestoreBringsBackAllOfAnIndex(t *testing.T) {
	forBoth(t, func(t *testing.T, s *store) {
		here := artifact.Host()
		index := mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: sample(t, nil), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}},
			mutate.IndexAddendum{Add: sample(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: here.OS, Architecture: here.Architecture, Variant: here.Variant}}})
		c := s.client()
		a := s.keep(index)
		if err := c.Restore(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(s.host + "/shop/api@" + string(a.Digest))
		if err != nil {
			t.Fatal(err)
		}
		there, err := remote.Index(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		m, err := there.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range m.Manifests {
			if img, err := there.Image(child.Digest); err != nil {
				t.Errorf("%s: %v", child.Platform, err)
			} else if _, err := img.RawConfigFile(); err != nil {
				t.Errorf("%s: %v", child.Platform, err)
			}
		}
		mustPull(t, artifact.New(artifact.Config{PlainHTTP: []string{s.host}}), a)
	})
}
