package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
)

// put writes a file below dir.
func put(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheRepositoryIsFound(t *testing.T) {
	top := t.TempDir()
	const origin = "[core]\n\tbare = false\n[remote \"upstream\"]\n\turl = https://no\n[remote \"origin\"]\n\turl = %\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
	put(t, top, "clone/.git/config", strings.ReplaceAll(origin, "%", "ssh://git@example.com/shop.git"))
	put(t, top, "clone/envs/production/environment.yaml", "")
	put(t, top, "beside/.git/config", strings.ReplaceAll(origin, "%", "../config.git # ours"))
	put(t, top, "alone/.git/config", "[core]\n")
	put(t, top, "bare.git/HEAD", "ref: refs/heads/main\n")
	put(t, top, "bare.git/objects/x", "")
	put(t, top, "bare.git/refs/x", "")
	put(t, top, "worktree/.git", "gitdir: ../clone/.git/worktrees/w\n")
	put(t, top, "clone/.git/worktrees/w/commondir", "../..\n")
	put(t, top, "broken/.git", "something else\n")
	put(t, top, "empty/x", "")
	for _, c := range []struct {
		name, dir, flag, env, want string
	}{
		{"the origin of the clone", "clone", "", "", "ssh://git@example.com/shop.git"},
		{"the origin, from deep within", "clone/envs/production", "", "", "ssh://git@example.com/shop.git"},
		{"an origin that is a path counts from the top", "beside", "", "", filepath.Join(top, "config.git")},
		{"a clone of nothing is the repository", "alone", "", "", filepath.Join(top, "alone/.git")},
		{"a bare repository is itself", "bare.git/refs", "", "", filepath.Join(top, "bare.git")},
		{"a linked work tree has its clone's origin", "worktree", "", "", "ssh://git@example.com/shop.git"},
		{"the environment goes before the clone", "clone", "", "https://example.com/other", "https://example.com/other"},
		{"the flag goes before the environment", "clone", "host:path.git", "https://example.com/other", "host:path.git"},
		{"a path is made absolute", "empty", "../bare.git", "", filepath.Join(top, "bare.git")},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := process(t)
			p.Getwd = func() (string, error) { return filepath.Join(top, c.dir), nil }
			p.Getenv = func(key string) string { return map[string]string{"STELLA_REPO": c.env}[key] }
			a := newApp(t.Context(), p)
			a.flags.repo = c.flag
			got, err := a.repository()
			if err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
	for _, dir := range []string{"empty", "broken"} {
		p := process(t)
		p.Getwd = func() (string, error) { return filepath.Join(top, dir), nil }
		if got, err := newApp(t.Context(), p).repository(); err == nil {
			t.Errorf("%s: got %q, want an error", dir, got)
		}
	}
}

func TestStateIsKeptWhereItBelongs(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"STELLA_STATE": "/s", "HOME": "/h"}, "/s"},
		{map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/stella"},
		{map[string]string{"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/stella"},
		{map[string]string{"HOME": "/h"}, "/h/.local/state/stella"},
		{nil, ""},
	} {
		p := process(t)
		p.Getenv = func(key string) string { return c.env[key] }
		got, err := newApp(t.Context(), p).stateDir()
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%v: got %q, %v; want %q", c.env, got, err, c.want)
		}
	}
}

func TestTwoRepositoriesNeverShareState(t *testing.T) {
	seen := map[string]string{}
	for _, repo := range []string{"https://a.example/shop.git", "https://b.example/shop.git", "git@a.example:shop.git", "/srv/shop", "/srv/shop/", "///", "…", ""} {
		name := stateName(repo)
		if other, ok := seen[name]; ok || name != filepath.Base(name) || strings.HasPrefix(name, ".") || len(name) > 60 {
			t.Errorf("%q has the state %q, as %q", repo, name, other)
		}
		seen[name] = repo
	}
}

func TestWhatIsLocal(t *testing.T) {
	for remote, want := range map[string]bool{
		"/srv/x.git": true, "../x": true, "x": true, "./a:b/c": true, "/a:b": true,
		"host:x.git": false, "git@host:x/y.git": false, "https://host/x": false, "file:///srv/x.git": false,
	} {
		if got := isLocal(remote); got != want {
			t.Errorf("%q: local %v, want %v", remote, got, want)
		}
	}
	top := t.TempDir()
	put(t, top, ".git/config", "")
	for repo, want := range map[string]string{"https://host/x": "", "file://" + top: top + "/.git", top: top + "/.git", "/srv/x.git": "/srv/x.git"} {
		if got := localDir(repo); got != want {
			t.Errorf("%q: directory %q, want %q", repo, got, want)
		}
	}
}

func TestHostRoots(t *testing.T) {
	for _, c := range []struct {
		flag []string
		env  map[string]string
		want []string
	}{
		{nil, map[string]string{"HOME": "/home/ana/"}, []string{"/srv", "/opt", "/home/ana"}},
		{nil, map[string]string{"HOME": "/"}, []string{"/srv", "/opt"}},
		{nil, map[string]string{"STELLA_HOST_ROOTS": "/a:/b/"}, []string{"/a", "/b"}},
		{[]string{"/c"}, map[string]string{"STELLA_HOST_ROOTS": "/a"}, []string{"/c"}},
		{[]string{"relative"}, nil, nil},
	} {
		p := process(t)
		p.Getenv = func(key string) string { return c.env[key] }
		a := newApp(t.Context(), p)
		a.flags.hostRoots = c.flag
		got, err := a.hostRoots()
		if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != (c.want == nil) {
			t.Errorf("%v %v: %v (-want +got)\n%s", c.flag, c.env, err, diff)
		}
	}
}

func FuzzOriginURL(f *testing.F) {
	f.Add("[remote \"origin\"]\n\turl = https://x\n")
	f.Add("[remote \"origin\"] url = \"a \\\"b\\\" # c\"")
	f.Add("[remote origin\nurl=x\n[")
	f.Add("[REMOTE \"origin\"]\nURL = x ; comment")
	f.Fuzz(func(t *testing.T, config string) {
		if got := originURL([]byte(config)); strings.ContainsAny(got, "\n") || got != "" && !strings.Contains(strings.ToLower(config), "url") {
			t.Errorf("%q from %q", got, config)
		}
	})
}

func FuzzOutputOf(f *testing.F) {
	f.Add("why production -o json")
	f.Add("-ojson")
	f.Add("--output=yaml --output")
	f.Add("-o")
	f.Fuzz(func(t *testing.T, line string) {
		got := outputOf(strings.Fields(line))
		if got != "" && !strings.Contains(line, got) {
			t.Errorf("%q from %q", got, line)
		}
	})
}

func TestSecretsAreHidden(t *testing.T) {
	r := stella.Resource{
		ID:      "service/api",
		Fields:  map[string]any{"environment": map[string]any{"TOKEN": "s3cret", "A/B": "s3cret", "LEVEL": "info"}, "list": []any{"s3cret"}},
		Secrets: []string{"/environment/TOKEN", "/environment/A~1B", "/list/0", "/nowhere/x"},
	}
	got := hideSecrets(r)
	want := map[string]any{"environment": map[string]any{"TOKEN": secretHidden, "A/B": secretHidden, "LEVEL": "info"}, "list": secretHidden}
	if diff := cmp.Diff(want, got.Fields); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if env, ok := r.Fields["environment"].(map[string]any); !ok || env["TOKEN"] != "s3cret" {
		t.Error("the plan itself was changed")
	}
}
