package gittest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Generate makes a bare repository of that many commits and environments (at
// most 99,999) in dir, in one pack as a host has it, and returns the id of the
// last commit. Each environment has environment.yaml and
// app/{release.yaml,compose.yaml}; the first commit adds all of them, and each
// further one is a deploy: it changes one release.yaml.
//
// It writes the pack itself: 50,000 commits of 2,000 environments take seconds,
// where git fast-import takes a minute, since it is known what changes.
func Generate(ctx context.Context, dir string, commits, envs int) (string, error) {
	if _, err := run(ctx, "", nil, "init", "-q", "--bare", "-b", "main", dir); err != nil {
		return "", err
	}
	p, err := newPacker(filepath.Join(dir, "objects", "pack"))
	if err != nil {
		return "", err
	}
	defer p.discard()
	head := newHistory(p, envs).write(commits)
	if err := p.install(); err != nil {
		return "", err
	}
	return head.String(), os.WriteFile(filepath.Join(dir, "refs", "heads", "main"), []byte(head.String()+"\n"), 0o600)
}

// EnvName is the name of the i-th environment that Generate makes.
func EnvName(i int) string { return fmt.Sprintf("env-%05d", i) }

// history is the state of the repository as of the last commit.
type history struct {
	p       *packer
	top     []byte   // the top directory, which ends with the file stella.yaml
	envs    []byte   // the directory envs: entries of entrySize
	fixed   [][]byte // of each environment: its directory, all but the id of app
	compose hash
	head    hash

	envsAt int64 // where the last envs was written
	chain  int   // how many deltas it is away from a whole one
}

// An entry of envs: "40000 env-00000", NUL, 20 bytes.
const (
	entrySize = 36
	entryID   = 16
	// maxChain is how long git makes chains of deltas, by default.
	maxChain = 50
)

func newHistory(p *packer, envs int) *history {
	h := &history{p: p, compose: p.add(blob, []byte("services:\n  api:\n    ports: [\"8080:8080\"]\n  web:\n    ports: [\"80:80\"]\n"))}
	for i := range envs {
		name := EnvName(i)
		env := p.add(blob, fmt.Appendf(nil, "apiVersion: stella/v1\nkind: Environment\nname: %s\ntargets:\n  - name: web-1\n    docker: {host: \"ssh://%s.example.com\"}\n", name, name))
		h.fixed = append(h.fixed, append([]byte("100644 environment.yaml\x00"), env[:]...))
		h.envs = append(h.envs, "40000 "+name+"\x00"+string(make([]byte, 20))...)
		h.deploy(i, 0)
	}
	project := p.add(blob, []byte("apiVersion: stella/v1\nkind: Project\nname: big\n"))
	h.top = append([]byte("40000 envs\x00"+string(make([]byte, 20))+"100644 stella.yaml\x00"), project[:]...)
	return h
}

// deploy changes the release of one environment.
func (h *history) deploy(env, version int) {
	release := h.p.add(blob, releaseYAML(EnvName(env), version))
	app := bytes.Join([][]byte{[]byte("100644 compose.yaml\x00"), h.compose[:], []byte("100644 release.yaml\x00"), release[:]}, nil)
	appID := h.p.add(tree, app)
	envID := h.p.add(tree, bytes.Join([][]byte{[]byte("40000 app\x00"), appID[:], h.fixed[env]}, nil))
	copy(h.envs[env*entrySize+entryID:], envID[:])
}

func (h *history) write(commits int) hash {
	for c := range commits {
		env := (c * 7919) % len(h.fixed)
		if c > 0 {
			h.deploy(env, c)
		}
		envs := h.writeEnvs(env)
		copy(h.top[len("40000 envs\x00"):], envs[:])
		top := h.p.add(tree, h.top)
		var b bytes.Buffer
		fmt.Fprintf(&b, "tree %s\n", top)
		if c > 0 {
			fmt.Fprintf(&b, "parent %s\n", h.head)
		}
		when := fmt.Sprintf("Test <test@example.com> %d +0000", 1_600_000_000+c*60)
		fmt.Fprintf(&b, "author %s\ncommitter %s\n\ndeploy %d\n", when, when, c)
		h.head = h.p.add(commit, b.Bytes())
	}
	return h.head
}

// writeEnvs writes the directory envs, in which one entry changed since the last
// time.
func (h *history) writeEnvs(env int) hash {
	at := h.p.off
	if h.envsAt == 0 || h.chain == maxChain || len(h.fixed) < 3 {
		h.envsAt, h.chain = at, 0
		return h.p.add(tree, h.envs)
	}
	from := env*entrySize + entryID
	delta := appendSize(appendSize(nil, len(h.envs)), len(h.envs))
	delta = appendCopy(delta, 0, from)
	delta = append(append(delta, 20), h.envs[from:from+20]...)
	if end := from + 20; end < len(h.envs) {
		delta = appendCopy(delta, end, len(h.envs)-end)
	}
	id := h.p.addDelta(tree, h.envs, delta, h.envsAt)
	h.envsAt, h.chain = at, h.chain+1
	return id
}

func releaseYAML(env string, c int) []byte {
	return fmt.Appendf(nil, "apiVersion: stella/v1\nkind: Release\nversion: 1.%d.0\ncomponents:\n  api: registry.example.com/%s/api:1.%d.0@sha256:%064x\n  web: registry.example.com/%s/web:1.%d.0@sha256:%064x\n", c, env, c, c*2+1, env, c, c*2+2)
}
