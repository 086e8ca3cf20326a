package reconciler_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// signing makes the world's engine one of a person whose git signs commits, with
// a program that writes down each time that it signs. It returns that file and
// the environment in which git knows the key.
func (w *world) signing(notify func(reconciler.Event)) (log string, env map[string]string) {
	w.t.Helper()
	home := w.t.TempDir()
	key, config := home+"/id", home+"/gitconfig"
	log = home + "/log"
	if out, err := exec.CommandContext(w.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(home+"/allowed", "ana@example.com "+string(public))
	w.write(home+"/keygen", "#!/bin/sh\necho signed >> "+log+"\ntest ! -e "+home+"/locked || { echo 'agent refused operation' >&2; exit 1; }\nexec ssh-keygen \"$@\"\n")
	for k, v := range map[string]string{
		"commit.gpgSign": "true", "gpg.format": "ssh", "user.signingKey": key,
		"gpg.ssh.program": home + "/keygen", "gpg.ssh.allowedSignersFile": home + "/allowed",
	} {
		gittest.Run(w.t, "", "config", "--file", config, k, v)
	}
	env = map[string]string{"GIT_CONFIG_GLOBAL": config, "HOME": home}
	repo, err := git.Open(w.t.Context(), git.Options{URL: w.bare, Dir: w.t.TempDir(), Getenv: gittest.Getenv(env)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = repo.Close() })
	cfg := w.config("ana", notify)
	cfg.Repo = repo
	cfg.Ledger = func(prefix string) *ledger.Ledger {
		return ledger.New(ledger.NewGitStore(repo, prefix), ledger.Options{Version: "test", Actor: "Ana <ana@example.com>"})
	}
	w.Engine = reconciler.New(cfg)
	return log, env
}

func (w *world) write(file, content string) {
	w.t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
		w.t.Fatal(err)
	}
}

// lockKey makes the person's key unusable.
func lockKey(t *testing.T, env map[string]string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(env["HOME"], "locked"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// unsigned are the commits that git does not believe to be Ana's.
func (w *world) unsigned(env map[string]string, revs ...string) []string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", append([]string{"log", "--format=%G? %an %s"}, revs...)...)
	cmd.Dir, cmd.Env = gittest.Dir(w.bare), gittest.Environ()
	for k, v := range env {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s", k, v))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	var bad []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "G ana ") && !strings.HasPrefix(line, "G Ana ") {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	return bad
}

func TestWhatStellaCommitsIsSignedByThePerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := gittest.Ref(t, w.bare, gittest.Branch)
	race := false
	_, env := w.signing(func(ev reconciler.Event) {
		if _, began := ev.(reconciler.Started); began && race {
			race = false
			gittest.Seed(t, w.bare, map[string]string{"README": "somebody was faster\n"})
		}
	})
	w.reconcile()
	w.mustDeploy("b")
	for _, m := range w.machines {
		m.sick[string(digestOf("c"))] = true
	}
	if out, err := w.deploy("c"); err != nil || out.Rollback == nil || out.Rollback.Status != stella.Succeeded {
		t.Fatalf("the automatic rollback: %+v, %v", out.Rollback, err)
	}
	race = true
	if out, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod}); err != nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("the rollback: %+v, %v", out.Deployment, err)
	}
	if _, err := w.Deploy(t.Context(), reconciler.DeployRequest{
		Environment: prod, Artifacts: map[string]stella.Artifact{"": ref("d")}, Options: reconciler.Options{PullRequest: true},
	}); err != nil {
		t.Fatal(err)
	}
	bad := w.unsigned(env, "--branches", "^"+root)
	if len(bad) != 1 || !strings.HasSuffix(bad[0], "seed") {
		t.Errorf("of the branches, want only the one of somebody else to be unsigned: %q", bad)
	}
	if bad := w.unsigned(env, "refs/stella/ledger/prod"); len(bad) > 0 {
		t.Errorf("of the ledger: %q", bad)
	}
	w.wantHistory(`
prod-1 deploy a succeeded
prod-2 deploy b succeeded
prod-3 deploy c partial
prod-4 rollback b succeeded restores prod-2
prod-5 rollback a succeeded restores prod-1
`)
}

func TestWhatCanNotBeSignedTouchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log, env := w.signing(nil)
	w.reconcile()
	w.mustDeploy("b")
	before := gittest.Run(t, gittest.Dir(w.bare), "for-each-ref")
	lockKey(t, env)
	signed, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, Options: reconciler.Options{DryRun: true}}); err != nil {
		t.Errorf("a dry run needs no key: %v", err)
	}
	if now, err := os.ReadFile(log); err != nil || string(now) != string(signed) {
		t.Errorf("a dry run signed something: %q, %v", now, err)
	}
	for what, do := range map[string]func() (reconciler.Outcome, error){
		"rollback": func() (reconciler.Outcome, error) {
			return w.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod})
		},
		"deploy": func() (reconciler.Outcome, error) { return w.deploy("c") },
		"deploy --pr": func() (reconciler.Outcome, error) {
			return w.Deploy(t.Context(), reconciler.DeployRequest{
				Environment: prod, Artifacts: map[string]stella.Artifact{"": ref("d")}, Options: reconciler.Options{PullRequest: true},
			})
		},
	} {
		out, err := do()
		if !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), "agent refused operation") || stella.Hint(err) == "" || out.Deployment != nil {
			t.Errorf("%s: %+v, %v; hint %q", what, out.Deployment, err, stella.Hint(err))
		}
	}
	if now := gittest.Run(t, gittest.Dir(w.bare), "for-each-ref"); now != before || w.runs() != "bb" {
		t.Errorf("runs %s, refs\n%s\nwere\n%s", w.runs(), now, before)
	}
}
