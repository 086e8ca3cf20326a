//go:build linux

package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

// TestHostileImages has what an image may say to get out. None of it is
// started, and what runs is not touched.
func TestHostileImages(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1")))
	pid := s.pid(t, "web")
	for _, tt := range []struct {
		name   string
		change func(*imageConfig)
		root   bool // only where services have a root of their own
		class  error
		want   string
	}{
		{"WORKDIR of an open directory of the supervisor", func(c *imageConfig) { c.WorkingDir = "/proc/self/fd/7" }, false, stella.ErrInvalid, "working directory"},
		{"WORKDIR with dots", func(c *imageConfig) { c.WorkingDir = "../../../proc/self/cwd" }, false, stella.ErrInvalid, "/proc is not the image's"},
		{"WORKDIR that is a file", func(c *imageConfig) { c.WorkingDir = "/version" }, false, stella.ErrInvalid, "not a directory"},
		{"WORKDIR that is not there", func(c *imageConfig) { c.WorkingDir = "/nowhere\x1b[2J" }, false, stella.ErrInvalid, `working directory "/nowhere\\u001B[2J"`},
		{"USER that wraps around", func(c *imageConfig) { c.User = "4294967296" }, true, stella.ErrInvalid, `user "4294967296"`},
		{"USER that means unchanged", func(c *imageConfig) { c.User = "4294967295" }, true, stella.ErrInvalid, `user "4294967295"`},
		{"USER with a path", func(c *imageConfig) { c.User = "../../x" }, true, stella.ErrInvalid, `user "../../x"`},
		{"USER with a sign", func(c *imageConfig) { c.User = "+0" }, true, stella.ErrInvalid, `user "+0"`},
		{"USER that passwd does not have", func(c *imageConfig) { c.User = "nobody" }, true, stella.ErrInvalid, "etc/passwd of the image does not have it"},
		{"a group that wraps around", func(c *imageConfig) { c.User = "app:4294967296" }, true, stella.ErrInvalid, "group of"},
		{"USER root", func(c *imageConfig) { c.User = "root" }, true, stella.ErrRefused, `user "root" is root`},
		{"USER 0", func(c *imageConfig) { c.User = "0:50" }, true, stella.ErrRefused, "is root"},
		{"USER 00", func(c *imageConfig) { c.User = "00" }, true, stella.ErrRefused, "is root"},
		{"an entrypoint outside", func(c *imageConfig) { c.Entrypoint = []string{"../../../../bin/sh"} }, false, stella.ErrInvalid, "not in the image"},
		{"an entrypoint that is not executable", func(c *imageConfig) { c.Entrypoint = []string{"/version"} }, false, stella.ErrInvalid, "not executable"},
		{"an entrypoint that is a directory", func(c *imageConfig) { c.Entrypoint = []string{"/bin"} }, false, stella.ErrInvalid, "not executable"},
		{"nothing to run", func(c *imageConfig) { c.Entrypoint, c.Cmd = nil, nil }, false, stella.ErrInvalid, "what to run"},
		{"a relative PATH", func(c *imageConfig) { c.Entrypoint, c.Env = []string{"app"}, []string{"PATH=bin:.:"} }, false, stella.ErrInvalid, "not in the image"},
		{"an environment that is none", func(c *imageConfig) { c.Env = []string{"=x"} }, false, stella.ErrInvalid, "NAME=value"},
		{"a stop signal that stops nothing", func(c *imageConfig) { c.StopSignal = "SIGSTOP" }, false, stella.ErrInvalid, "no signal that stops"},
		{"a healthcheck without a command", func(c *imageConfig) { c.Healthcheck = &imageHealth{Test: []string{"CMD"}} }, false, stella.ErrInvalid, "healthcheck"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && !asRoot(t) {
				return
			}
			err := s.Prepare(t.Context(), stateOf(serviceOf("web", s.image(t, "2", tt.change))), s.fence)
			if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant %q", err, tt.want)
			}
		})
	}
	if s.pid(t, "web") != pid {
		t.Error("what ran was touched")
	}
}

func TestAProgramWithoutItsLoaderIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	s := newScene(t)
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	loader := interpreter(strings.NewReader(string(shell)))
	if loader == "" {
		t.Log("the shell of this machine is static")
		loader = "/bin/sh"
		shell = []byte("#! /bin/sh -e\n")
	}
	for name, program := range map[string]string{loader: string(shell), "/usr/bin/env": "#!/usr/bin/env python\n", "/lib/ld-\\u001B": "#!/lib/ld-\x1b"} {
		image := s.store.push(t, "1", imageConfig{Entrypoint: []string{"/app"}}, fakeFile{name: "app", content: program})
		err := s.Prepare(t.Context(), stateOf(serviceOf("web", image)), 1)
		if !errors.Is(err, stella.ErrInvalid) || !strings.Contains(err.Error(), `command "/app" needs `+name+", which is not in the image") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzInterpreter(f *testing.F) {
	f.Add([]byte("#!/bin/sh -e\n"))
	f.Add([]byte("#!"))
	f.Add([]byte("#!\x00"))
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	if program, err := os.ReadFile("/bin/sh"); err == nil {
		f.Add(program[:4096])
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if name := interpreter(bytes.NewReader(program)); len(name) > maxInterpreterBytes || strings.ContainsAny(name, "\x00\n") {
			t.Fatalf("%q", name)
		}
	})
}

func TestLinksOfAnImageLeadNowhereElse(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	files := append(appFiles(t, "1"),
		fakeFile{name: "dev", link: "."}, fakeFile{name: "tmp", link: "etc"}, fakeFile{name: "etc/hosts", link: "passwd"},
		fakeFile{name: "data", link: "bin"},
	)
	web := serviceOf("web", s.store.push(t, "1", imageConfig{Entrypoint: []string{"/bin/app", "facts"}}, files...))
	if !asRoot(t) {
		return
	}
	web.Fields["volumes"] = []any{fields{"type": "volume", "source": "data", "target": "/data"}}
	s.deploy(t, stella.Resource{ID: "volume/data", Fields: fields{"name": "data"}}, web)
	got := s.facts(t, "web")
	if len(got.Dev) != 3 || !slices.Equal(got.Writable, []string{"/tmp", "/data"}) {
		t.Errorf("dev %v, writable %v", got.Dev, got.Writable)
	}
}

// TestAVolumeCanNotMoveTheNext has a volume below a volume whose content a
// process can choose.
func TestAVolumeCanNotMoveTheNext(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	s := newScene(t)
	image := s.image(t, "1")
	volumes := []stella.Resource{{ID: "volume/a", Fields: fields{"name": "a"}}, {ID: "volume/b", Fields: fields{"name": "b"}}}
	web := serviceOf("web", image, fields{"volumes": []any{
		fields{"type": "volume", "source": "b", "target": "/data/sub"}, fields{"type": "volume", "source": "a", "target": "/data"},
	}})
	s.deploy(t, append(volumes, web)...)
	if err := os.WriteFile(filepath.Join(s.lay.volume("b"), "inner"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), "web", []string{"/bin/app", "exists", "/data/sub/inner"}); err != nil {
		t.Fatal(err)
	}
	s.fence++
	if err := s.Stop(t.Context(), s.fence); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"../../../../../../etc", "/etc", "../bin"} {
		t.Run(target, func(t *testing.T) {
			if err := errors.Join(os.RemoveAll(filepath.Join(s.lay.volume("a"), "sub")), os.Symlink(target, filepath.Join(s.lay.volume("a"), "sub"))); err != nil {
				t.Fatal(err)
			}
			// Refused or mounted inside the root: never on the machine's own.
			if err := s.tryDeploy(t.Context(), append(volumes, web)...); err != nil {
				return
			}
			for place := range s.mounts(t, "web") {
				if place == "/etc" || place == "/bin" {
					t.Errorf("the volume is mounted on the machine's %s", place)
				}
			}
		})
	}
}

func TestResolveUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	passwd := "# comment\nroot:x:0:0::/root:\nbad:x:4294967296:0::/:\nshort:x:5\nneg:x:-1:1::/:\napp:x:10:20::../../home:\nnogroup:x:11:x::/:\n"
	if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	for spec, want := range map[string]string{
		"": "65534:65534 /", "app": "10:20 /", "10": "10:20 /", "app:30": "10:30 /", "99": "99:99 /", "4294967294": "4294967294:4294967294 /",
		"bad": "", "short": "", "neg": "", "nogroup": "", "app:staff": "", "app:": "", ":": "", ":5": "", "-1": "", "app:-1": "", "a b": "",
		strings.Repeat("a", 33): "", "root": "", "0": "", "0x0": "", "app\n": "",
	} {
		u, err := resolveUser(spec, root, false)
		got := ""
		if err == nil {
			got = fmt.Sprintf("%d:%d %s", u.uid, u.gid, u.home)
		}
		if got != want {
			t.Errorf("%q: %s, %v, want %q", spec, got, err, want)
		}
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("app:staff", "app:x:10:20::/home/app:/bin/sh", "staff:x:30:")
	f.Add("4294967296", "", "")
	f.Add("../../x", "../../x:x:0:0::/:", "")
	f.Add("0", "a:x:0:0::/:", "\x00")
	dir := f.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		f.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, spec, passwd, group string) {
		for name, text := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		u, err := resolveUser(spec, root, false)
		if err == nil && (u.uid == 0 || u.uid == 1<<32-1 || u.gid == 1<<32-1 || !filepath.IsAbs(u.home)) {
			t.Fatalf("%q is %+v", spec, u)
		}
		if err == nil && spec != "" && !isAccount(strings.Split(spec, ":")[0]) {
			t.Fatalf("%q was taken", spec)
		}
	})
}

func FuzzParseSignal(f *testing.F) {
	for _, s := range []string{"SIGTERM", "term", "15", "SIGRTMIN+3", "RTMAX-1", "SIGSTOP", "0", "-9", "65", "SIG", "RTMIN+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := parseSignal(s)
		if err == nil && (sig < 1 || sig > 64) {
			t.Fatalf("%q is signal %d", s, sig)
		}
	})
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]int{
		"": 15, "SIGTERM": 15, "quit": 3, "SIGUSR1": 10, "9": 9, "SIGRTMIN+3": 37, "RTMAX": 64, "RTMAX-1": 63,
		"SIGSTOP": 0, "SIGCHLD": 0, "SIGNOPE": 0, "0": 0, "65": 0, "RTMIN+31": 0, "RTMIN-1": 0,
	} {
		sig, err := parseSignal(in)
		if int(sig) != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", in, sig, err, want)
		}
	}
}
