package reconciler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// release is release.yaml with an image of any name.
func release(version, image string) string {
	return "apiVersion: stella/v1\nkind: Release\nversion: " + version + "\ncomponents:\n  web: " + image + "\nvariables: {LEVEL: info}\n"
}

// held is a world that went back from b to a.
func held(t *testing.T) *world {
	w := newWorld(t)
	w.reconcile()
	w.mustDeploy("b")
	w.rollback(reconciler.Options{})
	return w
}

func (w *world) wantHeld(what string) {
	w.t.Helper()
	if out := w.reconcile(); out.Sync != stella.Held || strings.Contains(w.runs(), "b") {
		w.t.Errorf("%s: %s %s, runs %s", what, out.Sync, out.Reason, w.runs())
	}
}

func TestTheSameImageByAnotherNameIsHeld(t *testing.T) {
	w := held(t)
	path := "envs/prod/app/release.yaml"
	for _, image := range []string{"r.example.com/shop/web:hotfix", "r.example.com/shop/web", "mirror.example.com/web:b"} {
		w.commitFile(path, release("hotfix", image+"@"+string(digestOf("b"))), "as "+image)
		w.wantHeld(image)
	}
	w.shelf.tags["hotfix"] = digestOf("b")
	if _, err := w.deploy("hotfix"); err == nil || w.runs() != "aa" {
		t.Errorf("a tag for what is held: %v, runs %s", err, w.runs())
	}
	w.commitFile(path, release("c", "r.example.com/shop/web:c@"+string(digestOf("c"))), "the fix")
	if out := w.reconcile(); out.Sync != stella.Synced || w.runs() != "cc" {
		t.Errorf("the fix: %+v, runs %s", out, w.runs())
	}
}

func TestAHoldOutlivesItsTargets(t *testing.T) {
	for name, environment := range map[string]string{
		"one less": strings.Replace(environmentYAML, "- name: b\n  host: {root: /srv/b}\n", "", 1),
		"others":   strings.NewReplacer("- name: a", "- name: c", "- name: b", "- name: d").Replace(environmentYAML),
	} {
		t.Run(name, func(t *testing.T) {
			w := held(t)
			w.machines["c"], w.machines["d"] = w.machines["a"], w.machines["b"]
			w.commitFile("envs/prod/environment.yaml", environment, "targets")
			w.reconcile()
			w.commitFile("envs/prod/app/notes.md", "not the same tree\n", "notes")
			w.commit("b")
			w.wantHeld(name)
		})
	}
}

func TestOneCommitLiftsSeveralHolds(t *testing.T) {
	w := held(t)
	w.commitFile("envs/prod/app/notes.md", "not the same tree\n", "notes")
	w.reconcile()
	w.commit("b")
	w.wantHeld("with notes")
	out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{
		Environment: prod, To: "prod-2", Options: reconciler.Options{Force: []string{reconciler.ForceHold}, Reason: "try"},
	})
	if err != nil || w.runs() != "bb" {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	w.rollback(reconciler.Options{})
	w.commitFile("envs/prod/app/notes.md", "nor that\n", "notes")
	w.commit("c")
	w.reconcile()
	w.rollback(reconciler.Options{})
	w.commit("b")
	w.wantHeld("b")
	var ids []string
	for _, h := range w.status().Holds {
		ids = append(ids, h.ID)
	}
	for name, trailer := range map[string]string{"another": "hold-0", "a longer one": ids[0] + "0"} {
		w.commitFile("README.md", name, name+"\n\nStella-Lifts: "+trailer)
		w.wantHeld(name)
	}
	clone := t.TempDir()
	gittest.Run(t, clone, "clone", "-q", w.bare, ".")
	gittest.Run(t, clone, "commit", "-q", "--allow-empty", "-m", fmt.Sprintf("all good\n\nStella-Lifts: hold-0, %s\n", strings.Join(ids, ", ")))
	gittest.Run(t, clone, "push", "-q", "origin", "HEAD:reviewed")
	w.wantHeld("not merged")
	gittest.Run(t, clone, "push", "-q", "origin", "HEAD:main")
	if out := w.reconcile(); out.Sync != stella.Synced || w.runs() != "bb" {
		t.Errorf("lifted: %+v, runs %s", out, w.runs())
	}
}
