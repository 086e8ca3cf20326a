package git_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// signs is a person's home with a git configuration.
type signs struct {
	home string
	env  map[string]string
}

func newSigns(t testing.TB) *signs {
	t.Helper()
	home := t.TempDir()
	s := &signs{home: home, env: map[string]string{"HOME": home, "GIT_CONFIG_GLOBAL": home + "/.gitconfig"}}
	s.config(t, "user.name", "Ana", "user.email", "ana@example.com", "commit.gpgSign", "true")
	return s
}

// config sets keys and values in turn.
func (s *signs) config(t testing.TB, kv ...string) {
	t.Helper()
	for i := 0; i < len(kv); i += 2 {
		gittest.Run(t, "", "config", "--file", s.home+"/.gitconfig", kv[i], kv[i+1])
	}
}

// sshKey makes a key without or with a passphrase.
func (s *signs) sshKey(t testing.TB, name, passphrase string) string {
	t.Helper()
	file := filepath.Join(s.home, name)
	command(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", file)
	return file
}

// agent starts an ssh-agent that has the keys.
func (s *signs) agent(t testing.TB, keys ...string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	sock := filepath.Join(dir, "s")
	cmd := exec.CommandContext(t.Context(), "ssh-agent", "-D", "-a", sock)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	// It prints where it listens once it does.
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.env["SSH_AUTH_SOCK"] = sock
	command(t, []string{"SSH_AUTH_SOCK=" + sock}, "ssh-add", append([]string{"-q"}, keys...)...)
}

// gpgKey makes an OpenPGP key for a person.
func (s *signs) gpgKey(t testing.TB, who, passphrase string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	s.env["GNUPGHOME"] = dir
	env := []string{"GNUPGHOME=" + dir}
	t.Cleanup(func() {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "gpgconf", "--kill", "all")
		cmd.Env = append(os.Environ(), env...)
		_ = cmd.Run()
		_ = os.RemoveAll(dir)
	})
	command(t, env, "gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", passphrase, "--quick-generate-key", who, "ed25519", "sign", "never")
	command(t, env, "gpgconf", "--kill", "gpg-agent") // which knows the passphrase
}

func command(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// script installs a program.
func (s *signs) script(t testing.TB, name, body string) string {
	t.Helper()
	file := filepath.Join(s.home, name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func contents(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// verify asks git whether a pushed commit is signed by Ana.
func (s *signs) verify(t testing.TB, bare string, id git.ID) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "verify-commit", string(id))
	cmd.Dir, cmd.Env = gittest.Dir(bare), gittest.Environ()
	for k, v := range s.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git verify-commit: %w: %s", err, out)
	}
	return nil
}

// trust lets git believe an SSH key.
func (s *signs) trust(t testing.TB, public string) {
	t.Helper()
	file := filepath.Join(s.home, "allowed")
	if err := os.WriteFile(file, []byte("ana@example.com namespaces=\"git\" "+public+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.config(t, "gpg.ssh.allowedSignersFile", file)
}

func ana() git.Signature {
	return git.Signature{Name: "Ana", Email: "ana@example.com", When: time.Unix(1_750_000_000, 0).UTC()}
}

// draft builds an unsigned commit on an empty repository.
func draft(t testing.TB, r *git.Repo) *git.Built {
	t.Helper()
	b, err := r.Build(t.Context(), git.Draft{Author: ana(), Message: "Deploy 2\n\nStella-Environment: prod", Edits: []git.Edit{{Path: "a", Content: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommitsAreSignedAsGitSignsThem(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]func(t *testing.T, s *signs){
		"ssh, a private key's file": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "id", "")
			s.config(t, "gpg.format", "ssh", "user.signingKey", key)
			s.trust(t, contents(t, key+".pub"))
		},
		"ssh, below the home": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "with space", "")
			s.config(t, "gpg.format", "ssh", "user.signingKey", "~/with space")
			s.trust(t, contents(t, key+".pub"))
		},
		"ssh, a key that begins with a dash": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "-Ox", "")
			s.config(t, "gpg.format", "ssh", "user.signingKey", "-Ox")
			s.env["clone"] = s.home
			s.trust(t, contents(t, key+".pub"))
		},
		"ssh, a public key's file and an agent": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "id", "")
			s.agent(t, key)
			s.config(t, "gpg.format", "ssh", "user.signingKey", key+".pub")
			s.trust(t, contents(t, key+".pub"))
			_ = os.Remove(key)
		},
		"ssh, the key itself and an agent": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "id", "")
			s.agent(t, key)
			s.config(t, "gpg.format", "ssh", "user.signingKey", "key::"+contents(t, key+".pub"))
			s.trust(t, contents(t, key+".pub"))
			_ = os.Remove(key)
		},
		"ssh, the key itself as it used to be written": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "id", "")
			s.agent(t, key)
			s.config(t, "gpg.format", "ssh", "user.signingKey", contents(t, key+".pub"))
			s.trust(t, contents(t, key+".pub"))
		},
		"ssh, whichever key a command names": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "id", "")
			s.agent(t, key)
			s.config(t, "gpg.format", "ssh", "gpg.ssh.defaultKeyCommand", "sh -c 'echo \"key::$(cat \"$1\")\"' x "+key+".pub")
			s.trust(t, contents(t, key+".pub"))
		},
		"ssh, another program": func(t *testing.T, s *signs) {
			key := s.sshKey(t, "id", "")
			s.config(t, "gpg.format", "ssh", "user.signingKey", key, "gpg.ssh.program", s.script(t, "keygen", `exec ssh-keygen "$@"`))
			s.trust(t, contents(t, key+".pub"))
		},
		"openpgp, the committer's": func(t *testing.T, s *signs) {
			s.gpgKey(t, "Ana <ana@example.com>", "")
		},
		"openpgp, a key that is named, by another program": func(t *testing.T, s *signs) {
			s.gpgKey(t, "Release <release@example.com>", "")
			s.config(t, "gpg.format", "openpgp", "user.signingKey", "release@example.com", "gpg.program", s.script(t, "gpg", `exec gpg "$@"`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSigns(t)
			setup(t, s)
			bare := gittest.Bare(t)
			r := openSigning(t, bare, s)
			b := draft(t, r)
			signed, err := r.Sign(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := r.Sign(t.Context(), signed); err != nil || again != signed {
				t.Errorf("signed twice: %v, %v", again, err)
			}
			if signed.Commit == b.Commit || signed.Tree != b.Tree {
				t.Errorf("signed %s of %s, was %s of %s", signed.Commit, signed.Tree, b.Commit, b.Tree)
			}
			if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, New: signed.Commit}}, signed); err != nil {
				t.Fatal(err)
			}
			gittest.Run(t, gittest.Dir(bare), "fsck", "--strict", "--full")
			if err := s.verify(t, bare, signed.Commit); err != nil {
				t.Error(err)
			}
			c, err := r.Commit(t.Context(), signed.Commit)
			if err != nil || c.Message != "Deploy 2\n\nStella-Environment: prod\n" || c.Committer.Name != "Ana" {
				t.Errorf("read back: %+v, %v", c, err)
			}
		})
	}
}

func openSigning(t testing.TB, bare string, s *signs) *git.Repo {
	t.Helper()
	r, err := git.Open(t.Context(), git.Options{
		URL: bare, Dir: filepath.Join(s.home, "cache"), Getenv: gittest.Getenv(s.env), Clone: s.env["clone"],
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		if left, err := filepath.Glob(filepath.Join(s.home, "cache", "sign-*")); len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return r
}

// TestAForgedSignatureIsNotBelieved: the check above can fail.
func TestAForgedSignatureIsNotBelieved(t *testing.T) {
	s := newSigns(t)
	s.config(t, "gpg.format", "ssh", "user.signingKey", s.sshKey(t, "id", ""))
	s.trust(t, contents(t, s.sshKey(t, "other", "")+".pub"))
	bare := gittest.Bare(t)
	r := openSigning(t, bare, s)
	signed, err := r.Sign(t.Context(), draft(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Push(t.Context(), []git.Update{{Ref: gittest.Branch, New: signed.Commit}}, signed); err != nil {
		t.Fatal(err)
	}
	if err := s.verify(t, bare, signed.Commit); err == nil {
		t.Error("git believes a signature of a key that it does not know")
	}
}

func TestWhatCanNotBeSignedIsNotMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup func(t *testing.T, s *signs)
		class error
		says  string
	}{
		"a key that wants a passphrase": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "ssh", "user.signingKey", s.sshKey(t, "id", "secret passphrase"))
		}, stella.ErrRefused, "ssh-keygen did not sign: "},
		"an OpenPGP key that wants a passphrase": {func(t *testing.T, s *signs) {
			s.gpgKey(t, "Ana <ana@example.com>", "secret passphrase")
			if err := os.WriteFile(s.env["GNUPGHOME"]+"/gpg-agent.conf", []byte("pinentry-program /bin/false\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, stella.ErrRefused, "gpg did not sign: "},
		"a key that is not there": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "ssh", "user.signingKey", "/nonexistent/key")
		}, stella.ErrRefused, "/nonexistent/key"},
		"a key that no agent has": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "ssh", "user.signingKey", "key::"+contents(t, s.sshKey(t, "id", "")+".pub"))
		}, stella.ErrRefused, "did not sign"},
		"no key at all": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "ssh")
		}, stella.ErrInvalid, "no key is named"},
		"an OpenPGP key that is not there": {func(t *testing.T, s *signs) {
			s.env["GNUPGHOME"] = t.TempDir()
			s.config(t, "user.signingKey", "nobody@example.com")
		}, stella.ErrRefused, "No secret key"},
		"an OpenPGP key that could be an option": {func(t *testing.T, s *signs) {
			s.config(t, "user.signingKey", "--output=/tmp/x")
		}, stella.ErrInvalid, "option"},
		"a program that is not there": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.program", "/nonexistent/gpg")
		}, stella.ErrRefused, "/nonexistent/gpg can not be run"},
		"a program that says it did and did not": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.program", s.script(t, "gpg", "echo '-----BEGIN PGP SIGNATURE-----'"))
		}, stella.ErrRefused, "it does not say that it did"},
		"a program that signs with something else": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.program", s.script(t, "gpg", "echo 'tree 1'; echo '[GNUPG:] SIG_CREATED x' >&2"))
		}, stella.ErrRefused, "no armoured signature"},
		"a program that never stops talking": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.program", s.script(t, "gpg", "echo '[GNUPG:] SIG_CREATED x' >&2; echo '-----BEGIN PGP SIGNATURE-----'; head -c 1000000 /dev/zero | tr '\\0' x"))
		}, stella.ErrRefused, "no armoured signature"},
		"a program that signs no file": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "ssh", "user.signingKey", "/k", "gpg.ssh.program", s.script(t, "keygen", "exit 0"))
		}, stella.ErrRefused, "wrote no signature"},
		"a program that draws on the terminal": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.program", s.script(t, "gpg", `printf '\033[2Jgone\n' >&2; exit 2`))
		}, stella.ErrRefused, `\u001B[2Jgone`},
		"a command that names no key": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "ssh", "gpg.ssh.defaultKeyCommand", "echo The agent has no identities.")
		}, stella.ErrRefused, "named no key"},
		"a command that is none": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "ssh", "gpg.ssh.defaultKeyCommand", "sh -c 'echo")
		}, stella.ErrInvalid, "is no command"},
		"a format that nobody knows": {func(t *testing.T, s *signs) {
			s.config(t, "gpg.format", "minisign")
		}, stella.ErrInvalid, "gpg.format"},
		"neither yes nor no": {func(t *testing.T, s *signs) {
			s.config(t, "commit.gpgSign", "maybe")
		}, stella.ErrInvalid, "commit.gpgsign"},
		"a configuration that git can not read": {func(t *testing.T, s *signs) {
			if err := os.WriteFile(s.home+"/.gitconfig", []byte("[commit\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, stella.ErrInvalid, "bad config line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSigns(t)
			c.setup(t, s)
			r := openSigning(t, gittest.Bare(t), s)
			signed, err := r.Sign(t.Context(), draft(t, r))
			if signed != nil || !errors.Is(err, c.class) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("signed %v, %v; want %v, and %q", signed, err, c.class, c.says)
			}
			if text := fmt.Sprint(err, stella.Hint(err)); strings.ContainsAny(text, "\n\x1b") || len(text) > 1500 || strings.Contains(text, "passphrase\n") {
				t.Errorf("not fit to be printed: %q", text)
			}
			if errors.Is(err, stella.ErrRefused) && stella.Hint(err) == "" {
				t.Errorf("no hint: %v", err)
			}
		})
	}
}

func TestAProgramThatHangsIsCut(t *testing.T) {
	s := newSigns(t)
	pipe := filepath.Join(s.home, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	s.config(t, "gpg.program", s.script(t, "gpg", "echo here > "+pipe+"; cat "+pipe))
	r := openSigning(t, gittest.Bare(t), s)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	go func() {
		_, _ = os.ReadFile(pipe) // until it was started
		cancel(gone)
	}()
	if _, err := r.Sign(ctx, draft(t, r)); !errors.Is(err, gone) {
		t.Errorf("%v, want the reason why it was cut", err)
	}
}

func TestWhoseConfigurationCounts(t *testing.T) {
	t.Parallel()
	base := newSigns(t)
	base.config(t, "commit.gpgSign", "false")
	key := base.sshKey(t, "id", "")
	work := filepath.Join(base.home, "work.inc")
	gittest.Run(t, "", "config", "--file", work, "commit.gpgSign", "yes")
	gittest.Run(t, "", "config", "--file", work, "gpg.format", "ssh")
	gittest.Run(t, "", "config", "--file", work, "user.signingKey", key)
	clone := filepath.Join(base.home, "src", "config")
	gittest.Run(t, "", "init", "-q", clone)
	bare := gittest.Bare(t)
	for name, c := range map[string]struct {
		config []string
		opts   git.Options
		want   bool
	}{
		"nothing says so":                    {nil, git.Options{}, false},
		"it is said, and not for stella":     {[]string{"include.path", work}, git.Options{Unsigned: true}, false},
		"an include":                         {[]string{"include.path", work}, git.Options{}, true},
		"an include for the clone":           {[]string{"includeIf.gitdir:~/src/.path", work}, git.Options{Clone: clone}, true},
		"an include for another clone":       {[]string{"includeIf.gitdir:~/src/.path", work}, git.Options{}, false},
		"an include for the remote":          {[]string{"includeIf.hasconfig:remote.*.url:" + bare + ".path", work}, git.Options{}, true},
		"an include for another remote":      {[]string{"includeIf.hasconfig:remote.*.url:https://example.com/**.path", work}, git.Options{}, false},
		"a number":                           {[]string{"gpg.format", "ssh", "user.signingKey", key, "commit.gpgSign", "1"}, git.Options{}, true},
		"a number that is none":              {[]string{"gpg.format", "ssh", "user.signingKey", key, "commit.gpgSign", "0"}, git.Options{}, false},
		"a transition where they are wanted": {[]string{"include.path", work, "stella.signLedger", "true"}, git.Options{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &signs{home: t.TempDir(), env: maps.Clone(base.env)}
			if err := os.WriteFile(s.home+"/.gitconfig", []byte(contents(t, base.home+"/.gitconfig")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.config(t, c.config...)
			s.env["GIT_CONFIG_GLOBAL"] = s.home + "/.gitconfig"
			c.opts.URL, c.opts.Dir, c.opts.Getenv = bare, s.home+"/cache", gittest.Getenv(s.env)
			r, err := git.Open(t.Context(), c.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			b := draft(t, r)
			signed, err := r.SignUnless(t.Context(), "stella.signLedger", b)
			if err != nil || (signed != b) != c.want {
				t.Errorf("signed: %v, %v; want %v", signed != b, err, c.want)
			}
		})
	}
}

func TestTransitionsNeedNotBeSigned(t *testing.T) {
	s := newSigns(t)
	s.config(t, "gpg.format", "ssh", "user.signingKey", s.sshKey(t, "id", ""), "stella.signLedger", "off")
	r := openSigning(t, gittest.Bare(t), s)
	b := draft(t, r)
	if signed, err := r.SignUnless(t.Context(), "stella.signLedger", b); err != nil || signed != b {
		t.Errorf("a transition: %v, %v; want it as it was", signed, err)
	}
	if signed, err := r.Sign(t.Context(), b); err != nil || signed == b {
		t.Errorf("a commit: %v, %v; want it signed", signed, err)
	}
}

// TestSigningCostsNothingWhereNobodySigns: git is asked once.
func TestSigningCostsNothingWhereNobodySigns(t *testing.T) {
	s := newSigns(t)
	s.config(t, "commit.gpgSign", "false")
	bin, log := t.TempDir(), filepath.Join(s.home, "log")
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bin+"/git", []byte("#!/bin/sh\necho \"$1\" >> "+log+"\nexec "+real+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	r := openSigning(t, gittest.Bare(t), s)
	before := strings.Count(contents(t, log), "\n")
	for range 5 {
		_ = r.Identity(t.Context())
		if _, err := r.Sign(t.Context(), draft(t, r)); err != nil {
			t.Fatal(err)
		}
	}
	if ran := strings.Count(contents(t, log), "\n") - before; ran != 1 {
		t.Errorf("git ran %d times, want once:\n%s", ran, contents(t, log))
	}
}

func BenchmarkSign(b *testing.B) {
	for name, setup := range map[string]func(s *signs){
		"off":     func(s *signs) { s.config(b, "commit.gpgSign", "false") },
		"ssh":     func(s *signs) { s.config(b, "gpg.format", "ssh", "user.signingKey", s.sshKey(b, "id", "")) },
		"openpgp": func(s *signs) { s.gpgKey(b, "Ana <ana@example.com>", "") },
	} {
		b.Run(name, func(b *testing.B) {
			s := newSigns(b)
			setup(s)
			r := openSigning(b, gittest.Bare(b), s)
			built := draft(b, r)
			for b.Loop() {
				if _, err := r.Sign(b.Context(), built); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
