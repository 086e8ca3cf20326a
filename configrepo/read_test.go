package configrepo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/health"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func image(t testing.TB, s string) stella.Artifact {
	t.Helper()
	a, err := stella.ParseArtifact(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// goldenTree is the repository of the documentation.
func goldenTree(t *testing.T) *mapTree {
	t.Helper()
	files := map[string]string{}
	top := "testdata/golden"
	err := filepath.WalkDir(top, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		files[strings.TrimPrefix(filepath.ToSlash(name), top+"/")] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return newMapTree(files)
}

func TestReadProject(t *testing.T) {
	got, err := ReadProject(t.Context(), goldenTree(t))
	if err != nil {
		t.Fatal(err)
	}
	want := &Project{
		Name: "shop", Branch: "main", Requires: ">=0.1", CommitTrailers: []string{"[skip ci]"},
		Backup: "backup.example.com/mirror", PlainHTTP: []string{"127.0.0.1:5000"}, MinVersions: 5,
		LedgerRef: "refs/stella/ledger",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("project (-want +got):\n%s", diff)
	}
}

func TestReadProjectDefaults(t *testing.T) {
	got, err := ReadProject(t.Context(), newMapTree(map[string]string{"stella.yaml": "{apiVersion: stella/v1, kind: Project, name: x, retention: {}, ledger: {}}"}))
	if err != nil {
		t.Fatal(err)
	}
	want := &Project{Name: "x", MinVersions: 5, LedgerRef: "refs/stella/ledger"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("project (-want +got):\n%s", diff)
	}
}

func TestReadEnvironment(t *testing.T) {
	got, err := ReadEnvironment(t.Context(), goldenTree(t), &Project{}, "production")
	if err != nil {
		t.Fatal(err)
	}
	want := &Environment{
		Name: "production", Protected: true, Apply: ApplyAnyone, Shared: []string{"shared/base"},
		Targets: []Target{
			{Name: "web-1", Address: "web-1.example.com", Docker: &DockerTarget{Host: "unix:///var/run/docker.sock", Project: "production"}},
			{
				Name: "web-2", Address: "web-2.example.com", Labels: map[string]string{"role": "web"},
				Variables: map[string]string{"HTTP_PORT": "8081"}, Docker: &DockerTarget{Host: "ssh://deploy@web-2.example.com", Project: "production"},
			},
		},
		Rollout: Rollout{Rolling: true, BatchCount: 1, Pause: 10 * time.Second, OnFailure: OnFailureRollback, UpdateOrder: StopFirst, KeepPrevious: true},
		Verify: Verify{Timeout: 2 * time.Minute, StableFor: 10 * time.Second, Checks: []health.Check{
			{Name: "web answers", HTTP: &health.HTTP{URL: "http://${target.address}:8080/healthz", Status: 200}},
			{Name: "db reachable", TCP: &health.TCP{Address: "127.0.0.1:5432"}},
			{Name: "smoke", Exec: &health.Exec{Component: "api", Command: []string{"/app", "selftest"}}},
		}},
		Drift: DriftPolicy{Schedule: "*/5 * * * *", Mode: DriftReport, Ignore: []drift.Ignore{{
			Resource: "service/api", Path: "/environment/LOG_LEVEL", Reason: "raised during incidents",
			Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
		}, {Resource: "*/*", Path: "/labels/owner", Reason: "whoever looks after the machine"}}, Intended: []Intended{{
			With: "staging", Ignore: drift.Ignore{
				Resource: "service/*", Path: "/environment/LOG_LEVEL", Reason: "staging says more",
				Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
			},
		}}},
		MaxFailureAge: 20 * time.Minute, BaselineAfter: 24 * time.Hour, Irreversible: []Irreversible{{Version: "2.0.0", Reason: "drops a column"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestReadEnvironmentDefaults(t *testing.T) {
	src := "{apiVersion: stella/v1, kind: Environment, name: edge, targets: [{name: a, host: {root: /srv/a}}], allowRoot: true, verify: {}, drift: {}, rollout: {strategy: rolling}, rollback: {}}"
	got, err := ReadEnvironment(t.Context(), newMapTree(map[string]string{"deploy/envs/edge/environment.yaml": src}), &Project{Root: "deploy"}, "edge")
	if err != nil {
		t.Fatal(err)
	}
	want := &Environment{
		Name: "edge", Apply: ApplyAnyone, AllowRoot: true, Targets: []Target{{Name: "a", Host: &HostTarget{Root: "/srv/a"}}},
		Rollout: Rollout{Rolling: true, BatchCount: 1, OnFailure: OnFailureRollback, UpdateOrder: StopFirst, KeepPrevious: true}, Verify: Verify{Timeout: 2 * time.Minute},
		Drift: DriftPolicy{Mode: DriftReport}, MaxFailureAge: 20 * time.Minute,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestReadRelease(t *testing.T) {
	got, err := ReadRelease(t.Context(), goldenTree(t), &Project{}, "production")
	if err != nil {
		t.Fatal(err)
	}
	want := &ReleaseFile{
		Release: stella.Release{Version: "2.4.0", Components: map[string]stella.Artifact{
			"api":    image(t, "registry.example.com/shop/api:2.4.0@"+digestA),
			"worker": image(t, "registry.example.com/shop/worker:2.4.0"),
		}},
		Variables: map[string]string{"LOG_LEVEL": "info"},
		Overrides: []Override{{
			Targets: []string{"web-1"}, Components: map[string]stella.Artifact{"api": image(t, "registry.example.com/shop/api:2.3.0@"+digestB)},
			From: "production-40", Reason: "5xx on web-1 only", Until: time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC),
		}},
		Undigested: []string{"worker"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(ReleaseFile{})); diff != "" {
		t.Errorf("release (-want +got):\n%s", diff)
	}
	const pin = "envs/production/app/release.yaml:7:11: components.worker: has no digest; run 'stella validate --fix'"
	if err := got.Pinned(); problemsIn(t, err).Error() != pin {
		t.Errorf("Pinned: got %v, want %s", err, pin)
	}
}

func TestReadBaseline(t *testing.T) {
	got, err := ReadBaseline(t.Context(), goldenTree(t), &Project{}, "production")
	if err != nil {
		t.Fatal(err)
	}
	want := &Baseline{
		Environment: "production", Deployment: "production-41", Commit: "6f1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a",
		Tree: "9ab29ab29ab29ab29ab29ab29ab29ab29ab29ab2", Release: "2.3.0",
		Components: map[string]stella.Artifact{"api": image(t, "registry.example.com/shop/api:2.3.0@"+digestB)},
		Shared:     map[string]string{"shared/base": "1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a6f"}, Desired: digestA,
		CapturedAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), CapturedBy: "ana@example.com", Reason: "last quarter's release, proven in production",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("baseline (-want +got):\n%s", diff)
	}
}

func TestAFileThatIsNotThereIsNotFoundAndInvalid(t *testing.T) {
	tree := newMapTree(map[string]string{"README.md": ""})
	_, err := ReadProject(t.Context(), tree)
	if !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("%v is not of class ErrNotFound", err)
	}
	_ = problemsIn(t, err)
	_, err = ReadRelease(t.Context(), tree, &Project{}, "production")
	if !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("%v is not of class ErrNotFound", err)
	}
	for _, name := range []stella.EnvName{"", "..", "../x", "a/b", "A", "\x1b[2J"} {
		_, err := ReadEnvironment(t.Context(), tree, &Project{}, name)
		if !errors.Is(err, stella.ErrInvalid) || errors.Is(err, stella.ErrNotFound) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestFilesOfOursMustBePlainFiles(t *testing.T) {
	for name, mode := range map[string]uint32{"is a symbolic link": ModeSymlink, "is a submodule": ModeSubmodule} {
		tree := goldenTree(t)
		for _, file := range []string{ProjectPath, "envs/production/environment.yaml", "envs/production/app/release.yaml", "baselines/production.yaml"} {
			tree.modes[file] = mode
			err := readAny(t.Context(), tree, file)
			if got := problemsIn(t, err).Error(); !strings.HasPrefix(got, file+": "+name) {
				t.Errorf("got %q", got)
			}
		}
	}
	tree := newMapTree(map[string]string{"stella.yaml": strings.Repeat("#", MaxFileBytes+1)})
	if _, err := ReadProject(t.Context(), tree); problemsIn(t, err).Error() != "stella.yaml: is 1048577 bytes long; keep it to 1048576" || tree.reads != 1 {
		t.Errorf("got %v after %d reads", err, tree.reads)
	}
	tree = newMapTree(map[string]string{"stella.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
	if _, err := ReadProject(t.Context(), tree); !strings.Contains(problemsIn(t, err).Error(), "LFS pointer") {
		t.Errorf("got %v", err)
	}
	tree = newMapTree(map[string]string{"envs": "../../other"})
	tree.modes["envs"] = ModeSymlink
	if _, err := Environments(t.Context(), tree, &Project{}); problemsIn(t, err).Error() != "envs: is a symbolic link; put the directory in its place" {
		t.Errorf("got %v", err)
	}
}

func TestEnvironmentsReadsNoFiles(t *testing.T) {
	files := map[string]string{"envs/README.md": "", "envs/no-app/environment.yaml": ""}
	for i := range 50 {
		files[fmt.Sprintf("envs/e%02d/environment.yaml", i)] = "x"
		files[fmt.Sprintf("envs/e%02d/app/release.yaml", i)] = "x"
	}
	tree := newMapTree(files)
	refs, err := Environments(t.Context(), tree, &Project{})
	if err != nil || len(refs) != 51 {
		t.Fatalf("got %d, %v", len(refs), err)
	}
	for _, ref := range refs {
		if ref.Tree == "" || (ref.App == "") != (ref.Name == "no-app") {
			t.Errorf("got %+v", ref)
		}
	}
	if tree.reads != 53 { // the top to find envs, envs itself, and each environment
		t.Errorf("%d trees were read, want 53", tree.reads)
	}
}

// TestEnvironmentsGoesOnBesideABadOne: one directory must not stop all others,
// and an environment that became a link must not look as if it were removed.
func TestEnvironmentsGoesOnBesideABadOne(t *testing.T) {
	tree := newMapTree(map[string]string{
		"envs/Prod/environment.yaml": "", "envs/good/environment.yaml": "", "envs/esc\x1b[2J/x": "", "envs/link": "good", "envs/mod": "", "envs/file": "",
	})
	tree.modes = map[string]uint32{"envs/link": ModeSymlink, "envs/mod": ModeSubmodule}
	refs, problems, err := environments(t.Context(), tree, &Project{})
	if err != nil {
		t.Fatal(err)
	}
	var names []stella.EnvName
	for _, ref := range refs {
		names = append(names, ref.Name)
	}
	if diff := cmp.Diff([]stella.EnvName{"good", "link", "mod"}, names); diff != "" {
		t.Errorf("environments (-want +got):\n%s", diff)
	}
	want := strings.Join([]string{
		"envs/Prod: is not the name of an environment; " + nameWant,
		`envs/esc\u001B[2J: is not the name of an environment; ` + nameWant,
	}, "\n")
	if diff := cmp.Diff(want, problems.Error()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, err := ReadEnvironment(t.Context(), tree, &Project{}, "link"); problemsIn(t, err).Error() != "envs/link: is a symbolic link; put the directory in its place" {
		t.Errorf("got %v", err)
	}
	if refs, err := Environments(t.Context(), newMapTree(map[string]string{"x": ""}), &Project{}); err != nil || len(refs) != 0 {
		t.Errorf("without envs/: got %v, %v", refs, err)
	}
}

func TestChecksRunForEachTargetOrOnce(t *testing.T) {
	e, err := ReadEnvironment(t.Context(), goldenTree(t), &Project{}, "production")
	if err != nil {
		t.Fatal(err)
	}
	want := []health.Check{{Name: "web answers", Target: "web-2", HTTP: &health.HTTP{URL: "http://web-2.example.com:8080/healthz", Status: 200}}}
	if diff := cmp.Diff(want, e.ChecksFor(e.Targets[1])); diff != "" {
		t.Errorf("of the target (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(e.Verify.Checks[1:], e.EnvironmentChecks()); diff != "" {
		t.Errorf("of the environment (-want +got):\n%s", diff)
	}
	if got := e.Verify.Checks[0].HTTP.URL; got != "http://${target.address}:8080/healthz" {
		t.Errorf("expanding changed the environment: %s", got)
	}
}

func TestBatches(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e"}
	for name, c := range map[string]struct {
		r    Rollout
		want string
	}{
		"all at once":                       {Rollout{}, "[[a b c d e]]"},
		"one by one":                        {Rollout{Rolling: true, BatchCount: 1}, "[[a] [b] [c] [d] [e]]"},
		"two by two":                        {Rollout{Rolling: true, BatchCount: 2}, "[[a b] [c d] [e]]"},
		"more than there are":               {Rollout{Rolling: true, BatchCount: 9}, "[[a b c d e]]"},
		"a percentage is rounded up":        {Rollout{Rolling: true, BatchPercent: 25}, "[[a b] [c d] [e]]"},
		"a small percentage is one":         {Rollout{Rolling: true, BatchPercent: 1}, "[[a] [b] [c] [d] [e]]"},
		"all of them":                       {Rollout{Rolling: true, BatchPercent: 100}, "[[a b c d e]]"},
		"the zero value of rolling is one":  {Rollout{Rolling: true}, "[[a] [b] [c] [d] [e]]"},
		"a count without rolling is no one": {Rollout{BatchCount: 1}, "[[a b c d e]]"},
	} {
		if got := fmt.Sprint(c.r.Batches(all)); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	if got := (Rollout{}).Batches(nil); len(got) != 0 {
		t.Errorf("no targets: got %v", got)
	}
}

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		requires, version string
		want              bool
	}{
		{"", "0.1.0", true},
		{">=0.1", "0.1.0", true},
		{">=0.1", "v0.1.0-rc.1", true},
		{">=0.2", "0.1.9", false},
		{">=0.2", "0.10.0", true},
		{">=0.1 <1", "0.9.9", true},
		{">=0.1 <1", "1.0.0", false},
		{"<=1.2.3", "1.2.3+build.5", true},
		{">1.2.3", "1.2.3", false},
		{"=1.2", "1.2.0", true},
		{">=9", "devel", true},
		{">=9", "", true},
	} {
		if got := (&Project{Requires: c.requires}).Allows(c.version); got != c.want {
			t.Errorf("%q allows %q: got %v, want %v", c.requires, c.version, got, c.want)
		}
	}
}

func TestProblemsAreOrderedAndUnique(t *testing.T) {
	p := Problem{Path: "b", Line: 10, Column: 2, Field: "f", What: "is bad", Fix: "mend it"}
	early := Problem{Path: "b", Line: 9, Column: 12, What: "is worse"}
	other := Problem{Path: "a", What: "is not there"}
	err := Problems{p, early, p, other}.orNil()
	want := "a: is not there\nb:9:12: is worse\nb:10:2: f: is bad; mend it"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := (Problems{}).orNil(); err != nil {
		t.Errorf("no problems: got %v", err)
	}
}
