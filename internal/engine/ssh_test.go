package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/engine"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// TestSSHNeverAsks goes through the real ssh command to a real sshd, where the
// real docker command reaches the engine.
func TestSSHNeverAsks(t *testing.T) {
	t.Parallel()
	d := dockertest.Engine(t)
	login, key, known := gittest.SSHD(t)
	host := "ssh://" + login + d.Socket
	over := func(key, known string) *engine.Pool {
		return pool(t, engine.Config{SSH: []string{"-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", key, "-o", "UserKnownHostsFile=" + known}})
	}
	good := over(key, known)
	if answers(t, good, engine.Address{Host: host}) != answers(t, good, engine.Address{Host: "unix://" + d.Socket}) {
		t.Error("another engine answers")
	}
	empty := filepath.Join(t.TempDir(), "known_hosts")
	write(t, empty, "")
	fails(t, over(key, empty), engine.Address{Host: host}, stella.ErrDenied, "not in known_hosts", "ssh -p")

	_, anotherKey, anotherKnown := gittest.SSHD(t)
	theirs, err := os.ReadFile(anotherKnown)
	if err != nil {
		t.Fatal(err)
	}
	_, hostKey, _ := strings.Cut(string(theirs), " ")
	_, at, _ := strings.Cut(login, "@")
	ip, port, _ := strings.Cut(at, ":")
	wrong := filepath.Join(t.TempDir(), "known_hosts")
	write(t, wrong, "["+ip+"]:"+port+" "+hostKey)
	fails(t, over(key, wrong), engine.Address{Host: host}, stella.ErrDenied, "HAS CHANGED", "ssh-keygen -R")

	fails(t, over(anotherKey, known), engine.Address{Host: host}, stella.ErrDenied, "no key is accepted", "ssh-add")
	fails(t, good, engine.Address{Host: "ssh://" + login + "/nonexistent.sock"}, stella.ErrUnreachable, "its engine does not", "systemctl start docker")
	fails(t, good, engine.Address{Host: "ssh://127.0.0.1:1"}, stella.ErrUnreachable, "Connection refused", "ssh -p 1 127.0.0.1")
}
