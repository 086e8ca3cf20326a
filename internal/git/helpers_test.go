package git_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// open opens a repository with a cache of its own.
func open(t testing.TB, url string, env ...map[string]string) *git.Repo {
	t.Helper()
	return openIn(t, filepath.Join(t.TempDir(), "cache"), url, env...)
}

func openIn(t testing.TB, dir, url string, env ...map[string]string) *git.Repo {
	t.Helper()
	r, err := git.Open(t.Context(), git.Options{
		URL: url, Dir: dir, Getenv: gittest.Getenv(env...), Timeout: 20 * time.Second,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// fetch fetches the default branch and returns its head.
func fetch(t testing.TB, r *git.Repo) git.ID {
	t.Helper()
	refs, err := r.Fetch(t.Context(), git.Want{Branch: true})
	if err != nil {
		t.Fatal(err)
	}
	return refs.IDs[refs.Default]
}

func read(t testing.TB, r *git.Repo, id git.ID, path string) string {
	t.Helper()
	tree, err := r.Tree(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	data, err := tree.Read(t.Context(), path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func who(nonce string) git.Signature {
	return git.Signature{Name: "Ana", Email: "ana+" + nonce + "@example.com", When: time.Unix(1_750_000_000, 0).UTC()}
}

// commit builds a commit on a parent that changes one file.
func commit(t testing.TB, r *git.Repo, parent git.ID, path, content string) *git.Built {
	t.Helper()
	d := git.Draft{Base: parent, Author: who(content), Message: "change " + path, Edits: []git.Edit{{Path: path, Content: []byte(content)}}}
	if parent != "" {
		d.Parents = []git.ID{parent}
	}
	b, err := r.Build(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// transport is one way to reach a repository.
type transport struct {
	name string
	url  string
	env  map[string]string
}

func transports(t testing.TB, bare string) []transport {
	t.Helper()
	sshURL, sshEnv := gittest.SSH(t, bare)
	httpsURL, ca := gittest.HTTPS(t, bare, nil)
	return []transport{
		{"file", bare, nil},
		{"path", gittest.Dir(bare), nil},
		{"http", gittest.HTTP(t, bare, nil), nil},
		{"https", httpsURL, ca},
		{"ssh", sshURL, sshEnv},
	}
}
