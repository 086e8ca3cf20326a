package configrepo

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	stella "github.com/stella-ops/stella"
)

var updateCompose = flag.Bool("update-compose", false, "rewrite what the tests of testdata/compose want")

const (
	someDigest  = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	otherDigest = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// someApp is a repository that renders: the tests of testdata/compose replace
// files of it.
func someApp() map[string]string {
	return map[string]string{
		"stella.yaml": "apiVersion: stella/v1\nkind: Project\nname: shop\n",
		"envs/prod/environment.yaml": "apiVersion: stella/v1\nkind: Environment\nname: prod\n" +
			"targets:\n- name: web-1\n  host: {root: /srv/shop}\n",
		"envs/prod/app/release.yaml": "apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\n" +
			"components:\n  web: registry.example.com/shop/web:1.0.0@" + someDigest + "\n",
		"envs/prod/app/compose.yaml": "services:\n  web:\n    image: ignored\n",
	}
}

// filesTree is a Tree of files in memory.
func filesTree(files map[string]string) Tree {
	t := fileTree{}
	for name, content := range files {
		t[name] = []byte(content)
	}
	return t
}

// renderFiles reads and renders the environment prod.
func renderFiles(ctx context.Context, files map[string]string) (*Desired, error) {
	t := filesTree(files)
	p, err := ReadProject(ctx, t)
	if err != nil {
		return nil, err
	}
	e, err := ReadEnvironment(ctx, t, p, "prod")
	if err != nil {
		return nil, err
	}
	r, err := ReadRelease(ctx, t, p, "prod")
	if err != nil {
		return nil, err
	}
	return Render(ctx, t, p, e, r)
}

// TestRenderGolden renders each archive of testdata/compose. What it wants is
// in the archive itself: want.json, want.waits, want.notes, want.problems.
func TestRenderGolden(t *testing.T) {
	// What the process has in its environment must not show.
	t.Setenv("SECRET", "of-the-daemon")
	t.Setenv("COMPOSE_PROJECT_NAME", "of-the-daemon")
	archives, err := filepath.Glob("testdata/compose/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { golden(t, name) })
	}
}

func golden(t *testing.T, name string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files, want := someApp(), map[string]string{}
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, "want.") {
			want[f.Name] = string(f.Data)
		} else if files[f.Name] = string(f.Data); len(f.Data) == 0 {
			delete(files, f.Name)
		}
	}
	got := wanted(t, files)
	if *updateCompose {
		archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want.") })
		for _, name := range slices.Sorted(maps.Keys(got)) {
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
		}
		if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// wanted renders and shows what came out as files of an archive.
func wanted(t *testing.T, files map[string]string) map[string]string {
	d, err := renderFiles(t.Context(), files)
	var problems Problems
	switch {
	case errors.As(err, &problems):
		if !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("problems are not of class ErrInvalid")
		}
		return map[string]string{"want.problems": problems.Error() + "\n"}
	case err != nil:
		t.Fatal(err)
	}
	got := map[string]string{}
	resources := map[string]any{}
	for _, target := range d.Targets {
		state := map[string]any{}
		for _, r := range target.State.Resources {
			state[string(r.ID)] = r.Fields
		}
		resources[target.Name] = state
	}
	text, err := json.MarshalIndent(resources, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got["want.json"] = string(text) + "\n"
	if len(d.Waits) > 0 {
		text, err := json.Marshal(map[string]any{"waits": d.Waits, "waves": d.Waves()})
		if err != nil {
			t.Fatal(err)
		}
		got["want.waits"] = string(text) + "\n"
	}
	if len(d.Notes) > 0 {
		got["want.notes"] = strings.Join(d.Notes, "\n") + "\n"
	}
	return got
}
