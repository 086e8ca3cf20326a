package configrepo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	stella "github.com/stella-ops/stella"
)

func TestTheStarterValidates(t *testing.T) {
	for _, o := range []StarterOptions{
		{Name: "shop"},
		{Name: "no", Environments: []string{"1e3", "true", "production"}},
		{Name: strings.Repeat("a", stella.MaxNameBytes), Environments: []string{"x"}},
	} {
		s, err := Starter(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate(t.Context(), fileTree(s.Files)); err != nil || len(s.Notes) > 0 {
			t.Errorf("%s: %v, notes %v", o.Name, err, s.Notes)
		}
		refs, err := Environments(t.Context(), fileTree(s.Files), &Project{})
		if err != nil || len(refs) != max(2, len(o.Environments)) && o.Name != strings.Repeat("a", stella.MaxNameBytes) {
			t.Errorf("%s: environments %v, %v", o.Name, refs, err)
		}
		for _, want := range []string{"stella validate --fix", "stella plan ", "stella rollback "} {
			if !strings.Contains(string(s.Files["README.md"]), want) {
				t.Errorf("the README does not name %q", want)
			}
		}
	}
}

func TestTheStarterRefusesNames(t *testing.T) {
	for _, o := range []StarterOptions{
		{},
		{Name: "../x"},
		{Name: "Shop"},
		{Name: "shop", Environments: []string{"a/b"}},
		{Name: "shop", Environments: []string{""}},
		{Name: "shop", Compose: []byte("a: [")},
		{Name: "shop", Compose: []byte("- a")},
	} {
		if _, err := Starter(t.Context(), o); !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%+v: got %v, want ErrInvalid", o, err)
		}
	}
}

// userDir writes the directory of a user and opens it.
func userDir(t *testing.T, files map[string]string) *os.Root {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	for name, content := range files {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link.conf")); err != nil {
		t.Fatal(err)
	}
	return root
}

const usersCompose = `version: "3"
include: [logs/compose.yaml]
services:
  web:
    image: ghcr.io/shop/web:${TAG}
    ports: ["${PORT}:80"]
    environment: {DB_PASSWORD: "${DB_PASSWORD}", LEVEL: "${LEVEL:-info}"}
    env_file: web.env
    configs: [site]
  cache:
    image: redis
    volumes: [cache:/data, "./redis.conf:/redis.conf:ro"]
  built:
    build: .
    image: built
  off:
    image: x/y
    profiles: [debug]
configs:
  site: {file: ./config/site.conf}
secrets:
  db: {file: ./db.secret}
volumes:
  cache:
`

func TestTheStarterImports(t *testing.T) {
	dir := userDir(t, map[string]string{
		".env": "TAG=1.2.3\nPORT=8080\nDB_PASSWORD=12345\n", "web.env": "A=b\n", "config/site.conf": "site\n", "db.secret": "hunter2\n",
		"logs/compose.yaml": "services: {log: {image: fluent/fluent-bit:3, env_file: log.env}}\n", "logs/log.env": "B=c\n",
		"redis.conf": "x", "unrelated": "x",
	})
	s, err := Starter(t.Context(), StarterOptions{Name: "shop", Compose: []byte(usersCompose), ComposeDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"README.md", "envs/production/app/compose.yaml", "envs/production/app/config/site.conf", "envs/production/app/logs/compose.yaml",
		"envs/production/app/logs/log.env", "envs/production/app/release.yaml", "envs/production/app/web.env",
		"envs/production/environment.yaml", "stella.yaml",
	}
	if diff := cmp.Diff(want, sortedKeys(s.Files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if string(s.Files["envs/production/app/compose.yaml"]) != usersCompose {
		t.Error("the Compose file is not the user's")
	}
	wantRelease := "# 'stella validate --fix' pins the tags to their digests.\n" +
		"apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\ncomponents:\n" +
		"  cache: \"docker.io/library/redis:latest\"\n  log: \"docker.io/fluent/fluent-bit:3\"\n" +
		"  web: \"ghcr.io/shop/web:1.2.3\"\n" +
		"variables:\n  DB_PASSWORD: \"\"\n  PORT: \"8080\"\n  TAG: \"1.2.3\"\n"
	if diff := cmp.Diff(wantRelease, string(s.Files["envs/production/app/release.yaml"])); diff != "" {
		t.Errorf("release.yaml (-want +got):\n%s", diff)
	}
	notes := []string{
		"db.secret was not copied: it is a secret, and secrets do not belong in this repository",
		"logs/log.env was copied, since a service reads it: look for secrets before you commit it",
		"web.env was copied, since a service reads it: look for secrets before you commit it",
		"service cache mounts ./redis.conf of this directory, which is not on the targets: use configs for files and volumes for data",
		"service off is not run: it has profiles",
		"variable DB_PASSWORD: its value was not copied from .env, as it may be secret: set it in release.yaml or of a target",
		"envs/production/app/compose.yaml:14:5: services.built.build: is not supported: a release is made of digests; build and push the image before, and name it in release.yaml",
		"envs/production/app/compose.yaml:22:14: secrets.db.file: is not below envs/production/secrets; put the file below envs/production/secrets and write ../secrets/FILE",
	}
	if diff := cmp.Diff(notes, s.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	for name, content := range s.Files {
		if strings.Contains(string(content), "12345") || strings.Contains(string(content), "hunter2") {
			t.Errorf("a secret is in %s", name)
		}
	}
}

// TestTheStarterImportsAndRenders needs nothing but pinning.
func TestTheStarterImportsAndRenders(t *testing.T) {
	compose := "services:\n  web: {image: nginx:1.27, configs: [site]}\nconfigs: {site: {file: site.conf}}\n"
	s, err := Starter(t.Context(), StarterOptions{
		Name: "shop", Environments: []string{"staging", "production"}, Compose: []byte(compose),
		ComposeDir: userDir(t, map[string]string{"site.conf": "x"}),
	})
	if err != nil || len(s.Notes) > 0 {
		t.Fatalf("%v, notes %v", err, s.Notes)
	}
	for _, env := range []string{"staging", "production"} {
		at := "envs/" + env + "/app/release.yaml"
		pinned, err := PinDigests(s.Files[at], func(a stella.Artifact) (stella.Artifact, error) {
			a.Digest = someDigest
			return a, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Files[at] = pinned
	}
	if err := Validate(t.Context(), fileTree(s.Files)); err != nil {
		t.Error(err)
	}
}

// TestTheStarterImportsNothingFromOutside tries each way out of the directory.
func TestTheStarterImportsNothingFromOutside(t *testing.T) {
	compose := "services:\n  web:\n    image: x/y\n    env_file: [/etc/hostname, ../../../../../../etc/hostname, link.conf, \"${UP}/etc/hostname\"]\n" +
		"configs:\n  a: {file: link.conf}\n  b: {file: /etc/hostname}\ninclude: [../x.yaml]\n"
	s, err := Starter(t.Context(), StarterOptions{Name: "shop", Compose: []byte(compose), ComposeDir: userDir(t, map[string]string{".env": "UP=../../../../../.."})})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"README.md", "envs/production/app/compose.yaml", "envs/production/app/release.yaml", "envs/production/environment.yaml", "stella.yaml"}
	if diff := cmp.Diff(want, sortedKeys(s.Files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if len(s.Notes) < 6 {
		t.Errorf("notes %v", s.Notes)
	}
}

func TestFullImage(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":                         "docker.io/library/nginx:latest",
		"nginx:1.27":                    "docker.io/library/nginx:1.27",
		"grafana/grafana":               "docker.io/grafana/grafana:latest",
		"docker.io/nginx":               "docker.io/library/nginx:latest",
		"localhost/x":                   "localhost/x:latest",
		"127.0.0.1:5000/shop/web":       "127.0.0.1:5000/shop/web:latest",
		"quay.io/a/b/c:1@" + someDigest: "quay.io/a/b/c:1@" + someDigest,
		"nginx@" + someDigest:           "docker.io/library/nginx@" + someDigest,
	} {
		if got := fullImage(in); got != want {
			t.Errorf("fullImage(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzStarter imports any Compose file: what it writes is a repository whose
// own files can be read.
func FuzzStarter(f *testing.F) {
	f.Add([]byte(usersCompose))
	f.Add([]byte("services: {\"no\": {image: \"${A:-x}\"}, \"1\": {image: x}}\n"))
	f.Add([]byte("services: {web: {image: x, environment: [a b, \"No\", TRUE, y, _]}}\n"))
	f.Fuzz(func(t *testing.T, compose []byte) {
		s, err := Starter(t.Context(), StarterOptions{Name: "shop", Compose: compose})
		if err != nil || len(compose) == 0 {
			return
		}
		if _, err := ReadRelease(t.Context(), fileTree(s.Files), &Project{}, "production"); err != nil {
			t.Errorf("release.yaml can not be read: %v\n%s", err, s.Files["envs/production/app/release.yaml"])
		}
	})
}
