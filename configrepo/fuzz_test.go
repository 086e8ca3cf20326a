package configrepo

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
)

// seed adds the good file, the hostile ones that are small and the cases of the
// edits.
func seed(f *testing.F, golden string, add func(src []byte)) {
	f.Helper()
	good, err := os.ReadFile("testdata/golden/" + golden)
	if err != nil {
		f.Fatal(err)
	}
	add(good)
	for _, c := range hostileTexts() {
		if len(c[0]) < 1_000 {
			add([]byte(c[0]))
		}
	}
	for _, src := range []string{
		"", "{}", "[]", "a: b: c", "? a", "- - -", "---\n...\n", "%TAG ! x:\n---\n! a", "a: |2+\n  x\n", "\"\\ud800\"", "{a, b: [c]: d}",
		"apiVersion: stella/v1\nkind: Release\ncomponents: {a: &a x, <<: *a}\n", "é: \"ü\" #", "key: >-\r\n  x\r\n", "'it''s': ~",
	} {
		add([]byte(src))
	}
}

// inTime runs f, which must not hang.
func inTime(t *testing.T, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > 10*time.Second {
		t.Fatalf("took %v", took)
	}
}

// printable fails where an error is not fit for a terminal or has no class.
func printable(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if !errors.Is(err, stella.ErrInvalid) {
		t.Fatalf("%v has no class", err)
	}
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r != '\n' && r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd }) {
		t.Fatalf("%q is not fit for a terminal", err.Error())
	}
}

func FuzzEnvironment(f *testing.F) {
	seed(f, "envs/production/environment.yaml", func(src []byte) { f.Add(src) })
	f.Fuzz(func(t *testing.T, src []byte) {
		tree := newMapTree(map[string]string{"envs/production/environment.yaml": string(src), ProjectPath: string(src), "shared/base/x": ""})
		inTime(t, func() {
			_, err := ReadProject(t.Context(), tree)
			printable(t, err)
			e, err := ReadEnvironment(t.Context(), tree, &Project{}, "production")
			printable(t, err)
			if err != nil {
				return
			}
			checkEnvironment(t, e)
		})
	})
}

// checkEnvironment fails where an environment that was read breaks a promise.
func checkEnvironment(t *testing.T, e *Environment) {
	t.Helper()
	names := make([]string, len(e.Targets))
	for i, target := range e.Targets {
		names[i] = target.Name
		if _, err := stella.ParseName(target.Name); err != nil || (target.Host == nil) == (target.Docker == nil) {
			t.Fatalf("target %+v", target)
		}
		for _, c := range e.ChecksFor(target) {
			for _, s := range checkStrings(&c) {
				if strings.Contains(*s, "${") {
					t.Fatalf("check %+v is not expanded", c)
				}
			}
		}
	}
	count := 0
	for _, batch := range e.Rollout.Batches(names) {
		if count += len(batch); len(batch) == 0 {
			t.Fatal("an empty batch")
		}
	}
	if e.Name != "production" || count != len(names) || count == 0 || e.Verify.Timeout <= 0 || e.MaxFailureAge <= 0 || e.Drift.Mode == "" || e.Rollout.OnFailure == "" || e.Apply == "" {
		t.Fatalf("environment %+v", e)
	}
}

func FuzzRelease(f *testing.F) {
	seed(f, "envs/production/app/release.yaml", func(src []byte) { f.Add(src) })
	f.Fuzz(func(t *testing.T, src []byte) {
		tree := newMapTree(map[string]string{"envs/production/app/release.yaml": string(src), "baselines/production.yaml": string(src)})
		inTime(t, func() {
			_, err := ReadBaseline(t.Context(), tree, &Project{}, "production")
			printable(t, err)
			r, err := ReadRelease(t.Context(), tree, &Project{}, "production")
			printable(t, err)
			if err != nil {
				return
			}
			// What is accepted, another decoder reads alike.
			var other struct {
				Version    string
				Components map[string]string
				Variables  map[string]string
			}
			if err := yaml.Load(src, &other); err != nil {
				t.Fatalf("another decoder refuses it: %v", err)
			}
			if r.Release.Version != other.Version || len(r.Release.Components) != len(other.Components) || len(r.Variables) != len(other.Variables) {
				t.Fatalf("got %+v, want %+v", r, other)
			}
			for name, a := range r.Release.Components {
				if a.String() != other.Components[name] {
					t.Fatalf("component %s: got %s, want %s", name, a, other.Components[name])
				}
			}
			for name, text := range r.Variables {
				if text != other.Variables[name] {
					t.Fatalf("variable %s: got %q, want %q", name, text, other.Variables[name])
				}
			}
		})
	})
}

func FuzzSetRelease(f *testing.F) {
	seed(f, "envs/production/app/release.yaml", func(src []byte) { f.Add(src, "2.5.0", "api", "x", newAPI) })
	for _, src := range []string{
		"HEADcomponents:\n  api: 'OLDAPI'\n  web: OLDWEB # x\noverrides:\n-\n  components:\n    web: OLDWEB\n    api: OLDAPI\n- targets: [a, b]\n  components: {web: \"OLDWEB\"}\n",
		"{apiVersion: stella/v1, kind: Release, components: {\n api: OLDAPI, # é\n}, overrides: [components: {api: OLDAPI}]}",
	} {
		f.Add([]byte(expand(src)), "3.0", "web", "new", newWeb)
		f.Add([]byte(strings.ReplaceAll(expand(src), "\n", "\r\n")), "", "api", "on", newAPI)
	}
	f.Fuzz(func(t *testing.T, src []byte, version, one, two, ref string) {
		a, err := stella.ParseArtifact(ref)
		if err != nil {
			return
		}
		changes := map[string]stella.Artifact{one: a, two: a}
		inTime(t, func() {
			got, err := SetRelease(src, version, changes)
			printable(t, err)
			if err != nil {
				return
			}
			old, _, err := parseRelease(src)
			if err != nil {
				t.Fatal(err)
			}
			read, _, err := parseRelease(got)
			if err != nil || !read.equal(old.with(version, changes)) {
				t.Fatalf("%v: %q is not as asked of %q", err, got, src)
			}
			again, err := SetRelease(got, version, changes)
			if err != nil || string(again) != string(got) {
				t.Fatalf("twice: %v: %q is not %q", err, again, got)
			}
			if _, err := SetOverrides(src, nil); err != nil {
				printable(t, err)
			}
		})
	})
}

// FuzzReadFiles walks trees whose names, modes and shape are drawn.
func FuzzReadFiles(f *testing.F) {
	f.Add("a\nb\n..\n.git", ModeFile, int64(1), 3)
	f.Add("a", ModeSymlink, int64(-1), 0)
	f.Add("d\nd", ModeDir, int64(1<<40), 40)
	f.Fuzz(func(t *testing.T, names string, mode uint32, size int64, depth int) {
		tree := &rawTree{
			entries: func(dir string) []Entry {
				var entries []Entry
				for i, name := range strings.Split(names, "\n") {
					e := Entry{Name: name, Mode: mode, SizeBytes: size}
					if i == 0 && strings.Count(dir, "/") < depth {
						e.Mode = ModeDir
					}
					entries = append(entries, e)
				}
				return entries
			},
			read: func(string) []byte { return []byte(names) },
		}
		inTime(t, func() {
			files, err := ReadFiles(t.Context(), tree, "app")
			printable(t, err)
			for _, file := range files {
				if !strings.HasPrefix(file.Path, "app/") || strings.Contains("/"+file.Path+"/", "/../") {
					t.Fatalf("file %q", file.Path)
				}
			}
		})
	})
}
