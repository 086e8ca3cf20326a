package acceptance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// TestWhatRegistryAndTargetLostComesBackFromTheBackup goes back to a release
// that only the backup still has: first refused, since there is none, then from
// an OCI layout on disk, and once more with the registry mended.
func TestWhatRegistryAndTargetLostComesBackFromTheBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	w.must("reconcile", production)
	w.must("deploy", production, "--artifact", w.pushed("2.0.0"))
	old := w.push("web", "1.0.0")
	dir := w.copied("1.0.0")
	w.lose(old)

	head := w.head()
	no := w.stella("rollback", production)
	for _, want := range []string{"cannot restore previous version: ", "can not be had", "web-1 does not keep it", "registry " + shared.registry + ": ", "not found", "nothing was touched"} {
		if !strings.Contains(no.stderr, want) {
			t.Errorf("no %q: %s", want, no)
		}
	}
	if no.code != 5 || no.hint() == "" || w.head() != head {
		t.Errorf("head %s, was %s: %s", w.head(), head, no)
	}

	project := strings.TrimSpace(w.git("show", "main:stella.yaml")) + "\n  backup: oci:" + dir + "\n"
	gittest.SeedRef(t, w.bare, gittest.Branch, "Name the backup", map[string]string{"stella.yaml": project})
	w.must("rollback", production, "--reason", "from the backup")
	w.agreed("1.0.0")
	if has(t, old) {
		t.Error("the registry was written to")
	}

	w.must("deploy", production, "--artifact", w.pushed("3.0.0"))
	w.lose()
	w.must("rollback", production, "--to", "production-1", "--restore-artifacts", "--reason", "and the registry")
	w.agreed("1.0.0")
	if !has(t, old) {
		t.Error("the registry did not get it back")
	}
}

// copied makes an OCI layout that has the app's image of a version, and returns
// its directory.
func (w *world) copied(version string) string {
	w.t.Helper()
	image, err := tiny{}.image(w, version).build()
	if err != nil {
		w.t.Fatal(err)
	}
	dir := filepath.Join(w.dir, "copies")
	copies, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = copies.AppendImage(image)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// lose takes images out of the registry, and all releases but the current ones
// from the targets.
func (w *world) lose(images ...stella.Artifact) {
	w.t.Helper()
	for _, a := range images {
		if err := remote.Delete(digestRef(w.t, a), remote.WithContext(w.t.Context())); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, target := range w.targets {
		for _, s := range w.services {
			service := filepath.Join(target.root, "services", s)
			current, err := filepath.EvalSymlinks(filepath.Join(service, "current"))
			if err != nil {
				w.t.Fatal(err)
			}
			releases, err := filepath.Glob(filepath.Join(service, "releases", "*"))
			if err != nil || len(releases) < 2 {
				w.t.Fatalf("releases %v, %v", releases, err)
			}
			for _, r := range releases {
				if r == current {
					continue
				}
				if err := os.RemoveAll(r); err != nil {
					w.t.Fatal(err)
				}
			}
		}
	}
}

func digestRef(t *testing.T, a stella.Artifact) name.Digest {
	t.Helper()
	ref, err := name.NewDigest(a.Registry+"/"+a.Repository+"@"+string(a.Digest), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// has asks the registry for an image's manifest.
func has(t *testing.T, a stella.Artifact) bool {
	t.Helper()
	_, err := remote.Head(digestRef(t, a), remote.WithContext(t.Context()))
	return err == nil
}
