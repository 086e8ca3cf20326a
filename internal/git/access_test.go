package git_test

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

const secret = "hunter2"

// helper installs a git credential helper that answers with a password, and
// returns its environment and the file in which it writes what it was told.
func helper(t *testing.T, password string) (env map[string]string, log string) {
	t.Helper()
	home := t.TempDir()
	log = filepath.Join(home, "log")
	script := "#!/bin/sh\nset -e\necho \"$1\" >> " + log + "\ncat >> " + log + "\nif [ \"$1\" = get ]; then echo username=ana; echo password=" + password + "; fi\n"
	file := filepath.Join(home, "helper")
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(home, "gitconfig")
	gittest.Run(t, "", "config", "--file", config, "credential.helper", file)
	return map[string]string{"HOME": home, "GIT_CONFIG_GLOBAL": config}, log
}

func TestCredentials(t *testing.T) {
	bare := seeded(t)
	var f gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	f.Add(gittest.Any, -1, gittest.Basic("ana", secret))
	withUser := func(u string) string { return strings.Replace(url, "http://", "http://"+u+"@", 1) }
	good, goodLog := helper(t, secret)
	bad, badLog := helper(t, "wrong")
	for name, c := range map[string]struct {
		url      string
		env      map[string]string
		ok       bool
		log      string   // of the helper
		told     []string // what it must have been told
		requests int      // at most
	}{
		"of the environment":         {url, map[string]string{"STELLA_GIT_USERNAME": "ana", "STELLA_GIT_PASSWORD": secret}, true, "", nil, 1},
		"a token and the URL's user": {withUser("ana"), map[string]string{"STELLA_GIT_TOKEN": secret}, true, "", nil, 1},
		"of the URL":                 {withUser("ana:" + secret), nil, true, "", nil, 1},
		"of a helper":                {url, good, true, goodLog, []string{"get", "store"}, 2},
		"none":                       {url, nil, false, "", nil, 1},
		"wrong ones":                 {url, map[string]string{"STELLA_GIT_TOKEN": "wrong"}, false, "", nil, 1},
		"wrong ones of a helper":     {url, bad, false, badLog, []string{"get"}, 2},
		"a helper beside wrong ones": {url, merged(good, map[string]string{"STELLA_GIT_TOKEN": "wrong"}), false, "", nil, 1},
	} {
		f.Forget()
		r := open(t, c.url, c.env)
		_, err := r.List(t.Context())
		if c.ok && err != nil || !c.ok && (!errors.Is(err, stella.ErrDenied) || stella.Hint(err) == "") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error()+stella.Hint(err), secret) {
			t.Errorf("%s: the error shows the password", name)
		}
		if got := f.Requests(); len(got) > c.requests {
			t.Errorf("%s: %d requests", name, len(got))
		}
		if _, err := r.List(t.Context()); c.ok && err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
		if c.log != "" {
			told, err := os.ReadFile(c.log)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range c.told {
				if !strings.Contains(string(told), word) {
					t.Errorf("%s: the helper was told %q, want %q", name, told, word)
				}
			}
		}
	}
}

func merged(a, b map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		maps.Copy(out, m)
	}
	return out
}

func TestTokensThatAreRotatedAreAskedForAgain(t *testing.T) {
	bare := seeded(t)
	var f gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	env, log := helper(t, "$(cat "+filepath.Join(t.TempDir(), "nothing")+" 2>/dev/null || cat $HOME/password)")
	password := filepath.Join(env["HOME"], "password")
	for _, now := range []string{"first", "second"} {
		if err := os.WriteFile(password, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, url, env)
	for _, now := range []string{"second", "third"} {
		if err := os.WriteFile(password, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
		f.Clear()
		f.Add(gittest.Any, -1, gittest.Basic("ana", now))
		if _, err := r.List(t.Context()); err != nil {
			t.Errorf("%s: %v", now, err)
		}
	}
	told, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(told), "erase") {
		t.Errorf("the helper was told %q, %v, want erase", told, err)
	}
}

// TestAnswersThatAreNotGits: each has its class, and nothing of them or of the
// credentials is printed.
func TestAnswersThatAreNotGits(t *testing.T) {
	bare := seeded(t)
	var f, elsewhere gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	other := gittest.HTTP(t, bare, &elsewhere)
	env := map[string]string{"STELLA_GIT_USERNAME": "ana", "STELLA_GIT_PASSWORD": secret}
	for name, c := range map[string]struct {
		fault gittest.Fault
		want  error
		hint  bool
	}{
		"403":                       {gittest.Status(http.StatusForbidden), stella.ErrDenied, true},
		"401":                       {gittest.Status(http.StatusUnauthorized), stella.ErrDenied, true},
		"404":                       {gittest.Status(http.StatusNotFound), stella.ErrNotFound, true},
		"500":                       {gittest.Status(http.StatusInternalServerError), stella.ErrUnreachable, false},
		"418":                       {gittest.Status(http.StatusTeapot), stella.ErrInvalid, false},
		"429":                       {gittest.Status(http.StatusTooManyRequests, "Retry-After", "17"), stella.ErrUnreachable, false},
		"a page":                    {gittest.HTML(), stella.ErrUnreachable, true},
		"a redirect to another":     {gittest.Redirect(http.StatusFound, strings.TrimSuffix(other, "/config.git")), stella.ErrInvalid, true},
		"a redirect to a file":      {gittest.Redirect(http.StatusFound, "file:///etc/passwd#"), stella.ErrInvalid, true},
		"a redirect in a circle":    {gittest.Redirect(http.StatusFound, ""), stella.ErrInvalid, false},
		"a break":                   {gittest.LoseResponse(), stella.ErrUnreachable, false},
		"a break in the middle":     {gittest.Truncate(30), stella.ErrUnreachable, false},
		"a flipped byte in the end": {gittest.Flip(3), stella.ErrUnreachable, false},
	} {
		f.Clear()
		f.Add(gittest.List, -1, c.fault)
		r := open(t, url, env)
		_, err := r.List(t.Context())
		if !errors.Is(err, c.want) || (stella.Hint(err) != "") != c.hint {
			t.Errorf("%s: %v (hint %q), want %v", name, err, stella.Hint(err), c.want)
		}
		if err != nil && (strings.Contains(err.Error(), secret) || strings.ContainsAny(err.Error(), "\x1b\n")) {
			t.Errorf("%s: the error is %q", name, err)
		}
		var busy *git.BusyError
		if errors.As(err, &busy) != (name == "429") || busy != nil && busy.After.Seconds() != 17 {
			t.Errorf("%s: BusyError %+v", name, busy)
		}
	}
	for _, s := range elsewhere.Requests() {
		t.Errorf("the other host got %+v", s)
	}
}

func TestARedirectOnTheSameHostIsFollowed(t *testing.T) {
	bare := seeded(t)
	var f gittest.Faults
	url := gittest.HTTP(t, bare, &f)
	moved := strings.TrimSuffix(url, "config.git") + "moved"
	f.Add(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/moved") }, -1, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/config.git"+strings.TrimPrefix(r.URL.RequestURI(), "/moved"), http.StatusMovedPermanently)
		})
	})
	r := open(t, moved, map[string]string{"STELLA_GIT_TOKEN": secret})
	head := fetch(t, r)
	b := commit(t, r, head, "a", "2")
	if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: b.Commit}}, b); err != nil {
		t.Error(err)
	}
}

func TestUntrustedCertificatesAreRefused(t *testing.T) {
	url, _ := gittest.HTTPS(t, seeded(t), nil)
	if _, err := open(t, url).List(t.Context()); !errors.Is(err, stella.ErrUnreachable) || !strings.Contains(stella.Hint(err), "GIT_SSL_CAINFO") {
		t.Errorf("%v (hint %q)", err, stella.Hint(err))
	}
}

func TestSSHKeysAndHosts(t *testing.T) {
	bare := seeded(t)
	url, env := gittest.SSH(t, bare)
	_, other := gittest.SSH(t, bare)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadFile(env["STELLA_GIT_KNOWN_HOSTS"])
	if err != nil {
		t.Fatal(err)
	}
	otherKnown, err := os.ReadFile(other["STELLA_GIT_KNOWN_HOSTS"])
	if err != nil {
		t.Fatal(err)
	}
	// The host's name with another host's key.
	changed := filepath.Join(t.TempDir(), "changed")
	line := strings.Fields(string(known))[0] + " " + strings.Join(strings.Fields(string(otherKnown))[1:], " ") + "\n"
	if err := os.WriteFile(changed, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change map[string]string
		want   error
		hint   string
	}{
		"an unknown host":          {map[string]string{"STELLA_GIT_KNOWN_HOSTS": empty}, stella.ErrDenied, "ssh-keyscan"},
		"no file of known hosts":   {map[string]string{"STELLA_GIT_KNOWN_HOSTS": "/nonexistent"}, stella.ErrDenied, "ssh-keyscan"},
		"a changed host key":       {map[string]string{"STELLA_GIT_KNOWN_HOSTS": changed}, stella.ErrTampered, "ssh-keygen -R"},
		"a key that is not let in": {map[string]string{"STELLA_GIT_SSH_KEY": other["STELLA_GIT_SSH_KEY"]}, stella.ErrDenied, "agent"},
		"a key that is not there":  {map[string]string{"STELLA_GIT_SSH_KEY": "/nonexistent"}, stella.ErrInvalid, ""},
		"no key at all":            {map[string]string{"STELLA_GIT_SSH_KEY": ""}, stella.ErrDenied, "agent"},
	} {
		_, err := open(t, url, env, c.change).List(t.Context())
		if !errors.Is(err, c.want) || !strings.Contains(stella.Hint(err), c.hint) {
			t.Errorf("%s: %v (hint %q), want %v", name, err, stella.Hint(err), c.want)
		}
	}
	gone := strings.Replace(url, "config.git", "nothing.git", 1)
	if _, err := open(t, gone, env).List(t.Context()); !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("no repository: %v, want ErrNotFound", err)
	}
}

func TestSSHConfigurationOfTheUserCounts(t *testing.T) {
	bare := seeded(t)
	url, env := gittest.SSH(t, bare)
	home := t.TempDir()
	rest, path, _ := strings.Cut(strings.TrimPrefix(url, "ssh://"), "/")
	user, addr, _ := strings.Cut(rest, "@")
	host, port, _ := strings.Cut(addr, ":")
	config := "Host config\n  HostName " + host + "\n  Port " + port + "\n  User " + user + "\n  IdentityFile ~/key\n"
	key, err := os.ReadFile(env["STELLA_GIT_SSH_KEY"])
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(home, ".ssh"), 0o700), os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte(config), 0o600),
			os.WriteFile(filepath.Join(home, "key"), key, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, "config:/"+path, map[string]string{"HOME": home, "STELLA_GIT_KNOWN_HOSTS": env["STELLA_GIT_KNOWN_HOSTS"]})
	if _, err := r.List(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestARepositoryOfAnotherUserIsNamed(t *testing.T) {
	bare := seeded(t)
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	// A git that takes every directory for somebody else's.
	bin := t.TempDir()
	script := "#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if _, err := open(t, bare).List(t.Context()); !errors.Is(err, stella.ErrDenied) || !strings.Contains(stella.Hint(err), "safe.directory") {
		t.Errorf("%v (hint %q)", err, stella.Hint(err))
	}
}

func TestACacheThatOthersCanWriteToIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := git.Open(t.Context(), git.Options{URL: "/srv/x", Dir: dir}); !errors.Is(err, stella.ErrInvalid) || stella.Hint(err) == "" {
		t.Errorf("%v, want ErrInvalid", err)
	}
	private := filepath.Join(t.TempDir(), "cache")
	openIn(t, private, seeded(t))
	if info, err := os.Stat(private); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
