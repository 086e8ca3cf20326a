package gittest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Generate makes a bare repository of that many commits and environments below
// dir, with git fast-import and one pack as a host has it, and returns the id
// of the last commit. Each environment has environment.yaml and
// app/{release.yaml,compose.yaml}; the first commit adds all of them, and each
// further one is a deploy: it changes one release.yaml. 50,000 commits of
// 2,000 environments take well under a minute.
func Generate(ctx context.Context, dir string, commits, envs int) (string, error) {
	if _, err := run(ctx, "", nil, "init", "-q", "--bare", "-b", "main", dir); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "git", "fast-import", "--quiet", "--depth=10")
	cmd.Dir, cmd.Env = dir, Environ()
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(in, 1<<20)
	writeHistory(w, commits, envs)
	if err := errors.Join(w.Flush(), in.Close(), cmd.Wait()); err != nil {
		return "", err
	}
	out, err := run(ctx, dir, nil, "rev-parse", Branch)
	return string(out[:min(40, len(out))]), err
}

// EnvName is the name of the i-th environment that Generate makes.
func EnvName(i int) string { return fmt.Sprintf("env-%05d", i) }

func writeHistory(w io.Writer, commits, envs int) {
	file := func(path, content string) {
		_, _ = fmt.Fprintf(w, "M 100644 inline %s\ndata %d\n%s\n", path, len(content), content)
	}
	for c := range commits {
		msg := fmt.Sprintf("deploy %d", c)
		_, _ = fmt.Fprintf(w, "commit %s\ncommitter Test <test@example.com> %d +0000\ndata %d\n%s\n", Branch, 1_600_000_000+c*60, len(msg), msg)
		if c > 0 {
			env := EnvName((c * 7919) % envs)
			file("envs/"+env+"/app/release.yaml", releaseYAML(env, c))
			continue
		}
		file("stella.yaml", "apiVersion: stella/v1\nkind: Project\nname: big\n")
		for e := range envs {
			env := EnvName(e)
			file("envs/"+env+"/environment.yaml", fmt.Sprintf("apiVersion: stella/v1\nkind: Environment\nname: %s\ntargets:\n  - name: web-1\n    docker: {host: \"ssh://%s.example.com\"}\n", env, env))
			file("envs/"+env+"/app/release.yaml", releaseYAML(env, 0))
			file("envs/"+env+"/app/compose.yaml", "services:\n  api:\n    image: api\n    ports: [\"8080:8080\"]\n  web:\n    image: web\n    ports: [\"80:80\"]\n")
		}
	}
}

func releaseYAML(env string, c int) string {
	return fmt.Sprintf("apiVersion: stella/v1\nkind: Release\nversion: 1.%d.0\ncomponents:\n  api: registry.example.com/%s/api:1.%d.0@sha256:%064x\n  web: registry.example.com/%s/web:1.%d.0@sha256:%064x\n", c, env, c, c*2+1, env, c, c*2+2)
}
