//go:build linux

package host

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
)

// TestEverythingAsAnotherUser runs the tests of this package once more, without
// root: then services run in place.
func TestEverythingAsAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // they are run so anyway
	}
	const someone = 4242
	dir, err := os.MkdirTemp("", "stella-someone-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	copied, home := filepath.Join(dir, "host.test"), filepath.Join(dir, "home")
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, owner := range map[string]int{dir: 0, home: someone} {
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Those that take longest say nothing about users.
	cmd := exec.CommandContext(t.Context(), copied, "-test.count=1",
		"-test.skip=^TestConformance$/every_effect|^Test(AKilledApply|Dependencies|Hostile|Old|Releases|FromAReal|Services|WhatABare)")
	cmd.Dir = home
	cmd.Env = []string{appEnv + "=" + appPath, "TMPDIR=" + home, "HOME=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: someone, Gid: someone}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as user %d: %v\n%s", someone, err, out)
	}
	if !strings.Contains(string(out), "PASS") {
		t.Errorf("no test said that it passed:\n%s", out)
	}
}

func TestInPlace(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if s.chroots {
		return // TestEverythingAsAnotherUser runs this one
	}
	image := s.image(t, "1", func(c *imageConfig) { c.WorkingDir, c.User = "/etc", "app" })
	web := serviceOf("web", image, factsCommand, configField("level = info\n"))
	s.deploy(t, web)
	got := s.facts(t, "web")
	dir := filepath.Join(s.lay.rootfs("web", s.releaseNames("web")[0]), "etc")
	if got.UID != os.Getuid() || got.Dir != dir || !got.Leads || !got.NoNewPrivs || len(got.FDs) > 0 {
		t.Errorf("facts %+v", got)
	}
	if diff := cmp.Diff([]string{"FROM=image", "HOME=/", "PATH=" + defaultPath}, got.Env); diff != "" {
		t.Errorf("environment (-want +got)\n%s", diff)
	}
	live := s.observe(t)
	if !slices.ContainsFunc(live.Observed.Notes, func(n string) bool { return strings.Contains(n, "in place") }) {
		t.Errorf("notes %q", live.Observed.Notes)
	}
	out, err := s.Exec(t.Context(), "web", []string{"app", "say", "hello"})
	if err != nil || out != "hello\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
	if _, err := s.Exec(t.Context(), "web", []string{"/bin/app", "touch", "app.conf"}); err == nil {
		t.Error("a service wrote into its release")
	}
}

// busybox is a real image's program: one file of many names.
func busybox(t *testing.T) (string, bool) {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Log("no busybox here")
		return "", false
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(program), true
}

func TestAnImageWithAShellAndMergedDirectories(t *testing.T) {
	t.Parallel()
	program, ok := busybox(t)
	if !ok {
		return
	}
	s := newScene(t)
	script := "#!/bin/sh\necho started as $(id -u) in $(pwd) with $1\nexec sleep 1000\n"
	image := s.store.push(t, "1", imageConfig{
		Entrypoint: []string{"entry.sh"}, Cmd: []string{"default"}, WorkingDir: "/usr", Env: []string{"PATH=/bin:/usr/local/bin"},
		Healthcheck: &imageHealth{Test: []string{"CMD-SHELL", "test -x /bin/sh && test $((1+1)) = 2"}, IntervalSeconds: 0.1},
	},
		fakeFile{name: "usr/", dir: true}, fakeFile{name: "usr/bin/", dir: true}, fakeFile{name: "usr/bin/busybox", content: program},
		fakeFile{name: "bin", link: "usr/bin"}, fakeFile{name: "usr/bin/sh", link: "/bin/busybox"}, fakeFile{name: "usr/bin/id", link: "busybox"},
		fakeFile{name: "usr/bin/sleep", link: "busybox"}, fakeFile{name: "usr/bin/test", link: "../bin/busybox"},
		fakeFile{name: "usr/local/", dir: true}, fakeFile{name: "usr/local/bin/", dir: true}, fakeFile{name: "usr/local/bin/entry.sh", content: script},
	)
	web := serviceOf("web", image, fields{"user": "1000"})
	if !s.chroots {
		delete(web.Fields, "user")
	}
	s.deploy(t, web)
	uid, dir := "1000", "/usr"
	if !s.chroots {
		uid, dir = strconv.Itoa(os.Getuid()), filepath.Join(s.lay.rootfs("web", s.releaseNames("web")[0]), "usr")
	}
	s.logHas(t, "web", "started as "+uid+" in "+dir+" with default\n")
	eventually(t, "it is healthy", func() bool { return s.component(t, "web").Health == stella.RunHealthHealthy })
	out, err := s.Exec(t.Context(), "web", []string{"sh", "-c", "echo $0 $HOME; exit 7"})
	if err == nil || !strings.Contains(err.Error(), "exited with 7") || out != "sh /\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("changes %v", got)
	}
}

func TestRemovedVolumesComeBackWithWhatIsInThem(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	s := newScene(t)
	image := s.image(t, "1")
	data := stella.Resource{ID: "volume/data", Fields: fields{"name": "data"}}
	web := serviceOf("web", image, fields{"volumes": []any{fields{"type": "volume", "source": "data", "target": "/data"}}})
	exec := func(want bool, args ...string) {
		t.Helper()
		if _, err := s.Exec(context.Background(), "web", append([]string{"/bin/app"}, args...)); (err == nil) != want {
			t.Errorf("%q: %v", args, err)
		}
	}
	s.deploy(t, data, web)
	exec(true, "touch", "/data/kept")
	s.deploy(t, serviceOf("web", image))
	exec(false, "exists", "/data/kept")
	s.fence++
	if err := s.Remove(t.Context(), s.fence); err != nil {
		t.Fatal(err)
	}
	if len(s.observe(t).Resources) > 0 {
		t.Error("something is left")
	}
	s.deploy(t, data, web)
	exec(true, "exists", "/data/kept")
}
