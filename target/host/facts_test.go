//go:build linux

package host

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
)

// factsDoc is what the sample program says of itself.
type factsDoc struct {
	UID, EUID, GID             int
	Groups                     []int
	Dir, Caps, Config          string
	Env, Args, Root, Dev, Proc []string
	Writable                   []string
	FDs                        []int
	Leads, NoNewPrivs          bool
	Certs, Resolv, Mknod       bool
	Umask                      int
}

func (s *scene) facts(t *testing.T, name string) factsDoc {
	t.Helper()
	var doc factsDoc
	eventually(t, "the process tells", func() bool {
		log, err := s.Logs(t.Context(), name, 0)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if text, ok := strings.CutPrefix(line, "facts "); ok && strings.HasSuffix(line, "\n") {
				if err := json.Unmarshal([]byte(text), &doc); err != nil {
					t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
	return doc
}

// asRoot reports whether the tests run as root; what needs it is proven there.
func asRoot(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not root: proven where the tests run as root")
		return false
	}
	return true
}

var factsCommand = fields{"command": []any{"facts", "an argument"}}

func TestAProcessIsLockedIn(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	s := newScene(t)
	leak, err := os.Open("/etc/passwd") // and make it survive execve
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = leak.Close() }()
	if _, err := unix.FcntlInt(leak.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	image := s.image(t, "1", func(c *imageConfig) { c.Env = []string{"FROM=image", "BOTH=image"} })
	data := stella.Resource{ID: "volume/data", Fields: fields{"name": "data"}}
	s.deploy(t, data, serviceOf("web", image, factsCommand, fields{
		"environment": fields{"OWN": "service", "BOTH": "service"},
		"volumes": []any{
			fields{"type": "volume", "source": "data", "target": "/data"},
			fields{"type": "volume", "source": "data", "target": "/ro", "readOnly": true},
		},
		"configs": fields{"/etc/app.conf": fields{"content": "level = info\n", "mode": "0444"}},
	}))
	got := s.facts(t, "web")
	certs := got.Certs
	got.Certs = false
	want := factsDoc{
		UID: nobody, EUID: nobody, GID: nobody, Groups: nil, Dir: "/", Caps: "0000000000000000", Config: "level = info\n",
		Env:  []string{"BOTH=service", "FROM=image", "HOME=/", "OWN=service", "PATH=" + defaultPath},
		Args: []string{"/bin/app", "facts", "an argument"},
		Root: []string{"bin", "data", "dev", "etc", "ro", "tmp", "version"}, Dev: []string{"null", "urandom", "zero"}, Proc: []string{},
		Writable: []string{"/tmp", "/data"}, FDs: []int{}, Leads: true, NoNewPrivs: true, Resolv: true, Umask: 0o022,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("facts (-want +got)\n%s", diff)
	}
	if _, err := os.Stat("/etc/ssl/certs/ca-certificates.crt"); (err == nil) != certs {
		t.Errorf("CA certificates: %v here, %v in the service", err == nil, certs)
	}
	fi, err := os.Stat(s.lay.volume("data"))
	if err != nil {
		t.Fatal(err)
	}
	if owner, _ := ownerOf(fi); owner != nobody {
		t.Errorf("the volume belongs to %d", owner)
	}
}

func TestNothingOfTheMountsIsSeenOutside(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1")))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), s.cfg.Root) {
		t.Error("mounts of a service are mounted here")
	}
	var got []string
	for place, options := range s.mounts(t, "web") {
		if rest, ok := strings.CutPrefix(place, s.lay.rootfs("web", s.releaseNames("web")[0])); ok {
			readOnly, _, _ := strings.Cut(options, ",")
			got = append(got, readOnly+" "+rest)
		}
	}
	slices.Sort(got)
	want := []string{"ro ", "ro /dev", "rw /dev/null", "rw /dev/urandom", "rw /dev/zero", "rw /tmp"}
	for _, file := range []string{hostsFile, resolvConf, caBundle} {
		if _, err := os.Stat(file); err == nil {
			want = append(want, "ro "+file)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got)\n%s", diff)
	}
}

// mounts maps the mount points of a service's namespace to their options. A
// process in it sees only those below its root; the thread of the shim that
// made the namespace sees all.
func (s *scene) mounts(t *testing.T, name string) map[string]string {
	t.Helper()
	tasks := filepath.Join("/proc", strconv.Itoa(s.shimPID(t, name)), "task")
	entries, err := os.ReadDir(tasks)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(tasks, e.Name(), "mountinfo"))
		if err != nil || !strings.Contains(string(text), s.lay.root) {
			continue
		}
		out := map[string]string{}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			out[f[4]] = f[5]
		}
		return out
	}
	t.Fatal("no thread of the shim has a namespace with mounts")
	return nil
}

func TestWhoAProcessRunsAs(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	for _, tt := range []struct {
		name, image, service string
		allowRoot            bool
		uid, gid             int
		home, caps           string
	}{
		{name: "the image's user by name", image: "app", uid: 1234, gid: 2345, home: "/home/app"},
		{name: "the image's user by number, with the group of passwd", image: "1234", uid: 1234, gid: 2345, home: "/home/app"},
		{name: "a number that passwd does not have", image: "4711", uid: 4711, gid: 4711, home: "/"},
		{name: "the service's user before the image's", image: "root", service: "app:staff", uid: 1234, gid: 50, home: "/home/app"},
		{name: "numbers of both kinds", service: "10:20", uid: 10, gid: 20, home: "/"},
		{name: "root where that is allowed, with few capabilities", allowRoot: true, home: "/", caps: "00000000000004fb"},
		{name: "root by name", image: "root", allowRoot: true, home: "/root", caps: "00000000000004fb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(c *Config) { c.AllowRoot = tt.allowRoot })
			web := serviceOf("web", s.image(t, "1", func(c *imageConfig) { c.User = tt.image }), factsCommand)
			if tt.service != "" {
				web.Fields["user"] = tt.service
			}
			s.deploy(t, web)
			got := s.facts(t, "web")
			if got.UID != tt.uid || got.EUID != tt.uid || got.GID != tt.gid || len(got.Groups) > 0 || !slices.Contains(got.Env, "HOME="+tt.home) {
				t.Errorf("runs as %d:%d, groups %v, %v", got.UID, got.GID, got.Groups, got.Env)
			}
			if want := max(tt.caps, "0000000000000000"); got.Caps != want {
				t.Errorf("capabilities %s, want %s", got.Caps, want)
			}
			if got.Mknod || !got.NoNewPrivs {
				t.Error("it can make devices, or get privileges")
			}
		})
	}
}

func TestAServiceMayListenOnItsLowPort(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	s := newScene(t)
	image := s.image(t, "1")
	s.deploy(t, serviceOf("web", image, factsCommand, fields{"ports": []any{fields{"target": 7.0, "published": "7", "protocol": "tcp"}}}))
	if got := s.facts(t, "web").Caps; got != "0000000000000400" {
		t.Errorf("capabilities %s, want CAP_NET_BIND_SERVICE alone", got)
	}
}

func TestExecIsBesideTheService(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1", func(c *imageConfig) { c.Env = []string{"WHO=" + "image"} })
	s.deploy(t, serviceOf("web", image))
	out, err := s.Exec(t.Context(), "web", []string{"/bin/app", "crash", "0s"})
	if err == nil || !strings.Contains(err.Error(), "exited with 3") || strings.TrimSpace(out) != "crashing" {
		t.Errorf("got %q, %v", out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100_000_000)
	defer cancel()
	if out, err := s.Exec(ctx, "web", []string{"/bin/app", "fork"}); err == nil {
		t.Errorf("a command without end ended with %q", out)
	}
	if !asRoot(t) {
		return
	}
	out, err = s.Exec(t.Context(), "web", []string{"/bin/app", "touch", "/tmp/here"})
	if err != nil {
		t.Fatalf("%q, %v", out, err)
	}
	if _, err := s.Exec(t.Context(), "web", []string{"app", "exists", "/tmp/here"}); err != nil {
		t.Error(err)
	}
	if _, err := s.Exec(t.Context(), "web", []string{"/bin/app", "touch", "/bin/here"}); err == nil {
		t.Error("a command wrote into the release")
	}
	// What it finds of the machine is what the service finds: nothing.
	if _, err := s.Exec(t.Context(), "web", []string{"/bin/app", "exists", s.cfg.Root}); err == nil {
		t.Error("a command sees the machine's files")
	}
}
