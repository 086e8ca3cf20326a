package configrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	stella "github.com/stella-ops/stella"
)

func TestValidateOfAWorkingCopy(t *testing.T) {
	dir := t.TempDir()
	for name, content := range goldenTree(t).files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	const pin = "envs/production/app/release.yaml:7:11: components.worker: has no digest; run 'stella validate --fix'"
	if got := problemsIn(t, Validate(t.Context(), DirTree(root))).Error(); got != pin {
		t.Errorf("got\n%s\nwant\n%s", got, pin)
	}
	release := filepath.Join(dir, "envs/production/app/release.yaml")
	src, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := PinDigests(src, func(a stella.Artifact) (stella.Artifact, error) {
		a.Digest = digestA
		return a, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(release, fixed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Validate(t.Context(), DirTree(root)); err != nil {
		t.Errorf("after the fix: %v", err)
	}
}

func TestValidateFindsTheProblemsOfAllFiles(t *testing.T) {
	tree := goldenTree(t)
	pinned := strings.Replace(tree.files["envs/production/app/release.yaml"], "worker:2.4.0", "worker:2.4.0@"+digestA, 1)
	tree.files["envs/production/app/release.yaml"] = strings.Replace(pinned, "targets: [web-1]", "targets: [web-1, web-9]", 1)
	tree.files["envs/production/environment.yaml"] = strings.Replace(tree.files["envs/production/environment.yaml"], "component: api", "component: apy", 1)
	tree.files["envs/staging/environment.yaml"] = "name: staging\n"
	tree.files["envs/broken/app/release.yaml"] = "x: [\n"
	tree.files["envs/Upper/environment.yaml"] = ""
	tree.files["envs/link"] = "production"
	tree.modes["envs/link"] = ModeSymlink
	tree.files["baselines/production.yaml"] = "kind: Baseline\n"
	tree.files["baselines/gone.yaml"] = ""
	tree.files["baselines/README.md"] = ""
	want := strings.Join([]string{
		"baselines/gone.yaml: is the baseline of no environment; remove or rename it",
		"baselines/production.yaml:1:1: apiVersion: is missing; want stella/v1",
		"envs/Upper: is not the name of an environment; " + nameWant,
		"envs/broken/app/release.yaml:2:1: is not YAML: while parsing a flow node: did not find expected node content; correct the YAML",
		"envs/broken/environment.yaml: is not there; add it; 'stella init' writes an example",
		"envs/link: is a symbolic link; put the directory in its place",
		"envs/production/app/release.yaml:10:20: overrides[0].targets[1]: is not a target of the environment; remove it, or add the target to environment.yaml",
		"envs/production/environment.yaml:32:23: verify.checks[2].exec.component: is not a service of the app; add it to compose.yaml, or name another",
		"envs/staging/app/release.yaml: is not there; add it; 'stella init' writes an example",
		"envs/staging/environment.yaml:1:1: apiVersion: is missing; want stella/v1",
		"envs/staging/environment.yaml:1:1: kind: is missing; want Environment",
		"envs/staging/environment.yaml:1:1: targets: is missing; want a list",
	}, "\n")
	var got []string
	for line := range strings.Lines(problemsIn(t, Validate(t.Context(), tree)).Error()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "baselines/production.yaml:1:1") && !strings.Contains(line, "apiVersion") {
			continue // one stands for all that is missing
		}
		got = append(got, line)
	}
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestValidateNamesACheckInAComponentThatNothingRuns(t *testing.T) {
	tree := goldenTree(t)
	tree.files["envs/production/app/release.yaml"] = strings.Replace(tree.files["envs/production/app/release.yaml"], "worker:2.4.0", "worker:2.4.0@"+digestA, 1)
	tree.files["envs/production/environment.yaml"] = strings.Replace(tree.files["envs/production/environment.yaml"], "component: api", "component: apy", 1)
	const want = "envs/production/environment.yaml:32:23: verify.checks[2].exec.component: is not a service of the app; add it to compose.yaml, or name another"
	if got := problemsIn(t, Validate(t.Context(), tree)).Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestValidateReturnsTheErrorsOfTheTree(t *testing.T) {
	for n := range 12 {
		tree := &failingTree{mapTree: goldenTree(t), after: n}
		err := Validate(t.Context(), tree)
		var problems Problems
		if !errors.Is(err, stella.ErrUnreachable) || errors.As(err, &problems) {
			t.Errorf("call %d lost: got %v", n, err)
		}
	}
}

// failingTree loses its connection after some calls.
type failingTree struct {
	*mapTree
	after int
}

func (t *failingTree) lost() error {
	if t.after--; t.after < 0 {
		return fmt.Errorf("connection lost: %w", stella.ErrUnreachable)
	}
	return nil
}

func (t *failingTree) Entries(ctx context.Context, dir string) ([]Entry, error) {
	if err := t.lost(); err != nil {
		return nil, err
	}
	return t.mapTree.Entries(ctx, dir)
}

func (t *failingTree) Read(ctx context.Context, name string, maxBytes int64) ([]byte, error) {
	if err := t.lost(); err != nil {
		return nil, err
	}
	return t.mapTree.Read(ctx, name, maxBytes)
}
