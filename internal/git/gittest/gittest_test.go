package gittest_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stella-ops/stella/internal/git/gittest"
)

func lsRemote(t *testing.T, url string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-remote", url, gittest.Branch)
	cmd.Env = append(gittest.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestEveryServerServes(t *testing.T) {
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"a/b": "one", "c": "two"})
	id := gittest.Seed(t, bare, map[string]string{"c": "three"})
	sshURL, env := gittest.SSH(t, bare)
	httpsURL, ca := gittest.HTTPS(t, bare, nil)
	for name, c := range map[string]struct {
		url string
		env []string
	}{
		"file":  {url: bare},
		"http":  {url: gittest.HTTP(t, bare, nil)},
		"https": {url: httpsURL, env: []string{"GIT_SSL_CAINFO=" + ca["GIT_SSL_CAINFO"]}},
		"ssh": {url: sshURL, env: []string{"GIT_SSH_COMMAND=ssh -F none -i " + env["STELLA_GIT_SSH_KEY"] +
			" -o IdentitiesOnly=yes -o UserKnownHostsFile=" + env["STELLA_GIT_KNOWN_HOSTS"]}},
	} {
		out, err := lsRemote(t, c.url, c.env...)
		if want := id + "\t" + gittest.Branch + "\n"; err != nil || out != want {
			t.Errorf("%s: %v, got %q, want %q", name, err, out, want)
		}
	}
}

func TestFaultsFailAsOftenAsTheyAreTold(t *testing.T) {
	bare := gittest.Bare(t)
	gittest.Seed(t, bare, map[string]string{"a": "1"})
	var f gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	f.Add(gittest.List, 1, gittest.Status(http.StatusServiceUnavailable))
	if out, err := lsRemote(t, url); err == nil {
		t.Errorf("first request: got %q, want an error", out)
	}
	if out, err := lsRemote(t, url); err != nil {
		t.Errorf("second request: %v: %s", err, out)
	}
	if got := len(f.Requests()); got < 2 {
		t.Errorf("the server saw %d requests, want two or more", got)
	}
}

func TestGenerateMakesASoundRepository(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "big.git")
	id, err := gittest.Generate(t.Context(), dir, 50, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := gittest.Ref(t, dir, gittest.Branch); got != id {
		t.Errorf("branch is at %q, want %q", got, id)
	}
	if got := gittest.Run(t, dir, "rev-list", "--count", id); got != "50" {
		t.Errorf("%s commits, want 50", got)
	}
	gittest.Run(t, dir, "fsck", "--strict")
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		t.Error(err)
	}
}
