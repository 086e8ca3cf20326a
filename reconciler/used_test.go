package reconciler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// used says who uses an image, one line for each use.
func (w *world) used(a stella.Artifact) string {
	w.t.Helper()
	u, err := w.UsedBy(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for _, use := range u.Uses {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %t", use.Environment, use.How, use.Component, use.Deployment, use.Current)))
	}
	for _, one := range u.Unread {
		lines = append(lines, "unread "+string(one.Environment))
	}
	return strings.Join(lines, "\n")
}

func TestUsedBy(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	byDigest := func(v string) stella.Artifact {
		a := ref(v)
		a.Tag, a.Digest = "", digestOf(v)
		return a
	}
	elsewhere := byDigest("b")
	elsewhere.Registry = "other.example.com"
	for _, c := range []struct {
		name string
		of   stella.Artifact
		want string
	}{
		{"deployed, and wanted by another environment", byDigest("a"), "prod deployment web prod-1 false\nstaging branch web  false"},
		{"in effect", byDigest("b"), "prod deployment web prod-2 true\nprod branch web  false"},
		{"by tag, as it is written", ref("b"), "prod deployment web prod-2 true\nprod branch web  false"},
		{"nobody", byDigest("c"), ""},
		{"the same digest of another registry", elsewhere, ""},
	} {
		if diff := cmp.Diff(c.want, w.used(c.of)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}

// TestAnEnvironmentThatCanNotBeReadIsNotNoUser: all platforms count then.
func TestAnEnvironmentThatCanNotBeReadIsNotNoUser(t *testing.T) {
	w := newWorld(t)
	w.mustDeploy("b")
	r, err := w.Artifact(t.Context(), ref("b"), artifact.Sized)
	if err != nil || len(r.UsedBy) == 0 || len(w.shelf.needed) != 1 || w.shelf.needed[0] != artifact.Host() {
		t.Errorf("%+v, %v; needed %v", r, err, w.shelf.needed)
	}
	w.commitFile("envs/staging/app/release.yaml", "no: release\n", "break staging")
	r, err = w.Artifact(t.Context(), ref("b"), artifact.Sized)
	if err != nil || len(r.Unread) != 1 || r.Unread[0].Environment != "staging" || len(r.UsedBy) == 0 || len(w.shelf.needed) != 0 {
		t.Errorf("%+v, %v; needed %v", r, err, w.shelf.needed)
	}
}

func TestWhoUsesAnImageThatIsGoneIsTold(t *testing.T) {
	w := newWorld(t)
	w.mustDeploy("b")
	w.shelf.missing[digestOf("b")] = true
	r, err := w.Artifact(t.Context(), ref("b"), artifact.Sized)
	if err == nil || len(r.UsedBy) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	delete(w.shelf.tags, "b")
	r, err = w.Artifact(t.Context(), ref("b"), artifact.Described)
	if err == nil || len(r.UsedBy) != 2 {
		t.Errorf("without its tag: %+v, %v", r, err)
	}
}
