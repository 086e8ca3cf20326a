package acceptance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// lastPort is the port that was given out last: two test processes start far
// apart.
var lastPort = func() *atomic.Int64 {
	var n atomic.Int64
	n.Store(12000 + rand.Int64N(19000))
	return &n
}()

// process is a process as the kernel knows it: a pid alone may come again.
type process struct {
	PID     int
	Start   string // field 22 of /proc/PID/stat
	Version string // of the app
}

// running finds the process that listens for a service on a target; the zero
// value when nobody does.
func (w *world) running(target target, service string) process {
	w.t.Helper()
	return w.allRunning()[target.name+"/"+service]
}

// allRunning are the processes that listen for the services of the targets, by
// "target/service".
func (w *world) allRunning() map[string]process {
	w.t.Helper()
	if w.targets[0].engine != nil {
		return w.allContained()
	}
	sockets, owners := listening(w.t), socketsOf(processesBelow(w.dir))
	all := map[string]process{}
	for _, target := range w.targets {
		for _, s := range w.services {
			pid := owners[sockets[fmt.Sprintf("%s:%d", target.address, w.ports[s])]]
			if start, ok := startTime(pid); ok {
				all[target.name+"/"+s] = process{pid, start, w.app.version(w, pid)}
			}
		}
	}
	return all
}

// versions are what runs, without which process it is.
func versions(running map[string]process) map[string]string {
	all := map[string]string{}
	for name, p := range running {
		all[name] = p.Version
	}
	return all
}

// everywhere is what versions gives when all services run one version.
func (w *world) everywhere(version string) map[string]string {
	all := map[string]string{}
	for _, target := range w.targets {
		for _, s := range w.services {
			all[target.name+"/"+s] = version
		}
	}
	return all
}

// listening returns the sockets that wait for connections, by address and port.
func listening(t *testing.T) map[string]string {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const listen = "0A" // proc_net(5)
	sockets := map[string]string{}
	for row := range strings.Lines(string(table)) {
		f := strings.Fields(row)
		if len(f) < 10 || f[3] != listen {
			continue
		}
		var a, b, c, d byte // an address of 32 bits in this machine's byte order
		var port int
		if _, err := fmt.Sscanf(f[1], "%02X%02X%02X%02X:%04X", &d, &c, &b, &a, &port); err != nil {
			t.Fatalf("/proc/net/tcp: %q: %v", row, err)
		}
		sockets[fmt.Sprintf("%d.%d.%d.%d:%d", a, b, c, d, port)] = "socket:[" + f[9] + "]"
	}
	return sockets
}

// socketsOf says which of the processes has each socket: the one with the
// lowest pid, since a server that forks for a connection passes its socket on.
func socketsOf(pids []int) map[string]int {
	owners := map[string]int{}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it ended
		}
		for _, fd := range fds {
			link, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if owner, known := owners[link]; err == nil && (!known || pid < owner) {
				owners[link] = pid
			}
		}
	}
	return owners
}

// startTime is when a process started, in ticks after boot; false when it is
// gone or a zombie.
func startTime(pid int) (string, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The command's name may hold anything; fields are counted behind it.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	return fields[19], true
}

// variable is what a process was given in its environment when it was
// executed.
func variable(t *testing.T, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return "" // it ended
	}
	for kv := range bytes.SplitSeq(data, []byte{0}) {
		if v, ok := bytes.CutPrefix(kv, []byte(name+"=")); ok {
			return string(v)
		}
	}
	return ""
}

// processesBelow lists the processes whose program, root or supervisor's root
// lies below a directory.
func processesBelow(dir string) []int {
	var found []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		root, _ := os.Readlink(filepath.Join("/proc", e.Name(), "root"))
		args, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		shim := bytes.Contains(args, []byte("\x00--root\x00"+dir+"/"))
		if _, alive := startTime(pid); alive && (shim || strings.HasPrefix(exe, dir+"/") || strings.HasPrefix(root, dir+"/")) {
			found = append(found, pid)
		}
	}
	return found
}

// get asks a URL and returns status and body.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err.Error()
	}
	return resp.StatusCode, string(data)
}

// url is where a service answers on a target.
func (w *world) url(target target, service, path string) string {
	return fmt.Sprintf("http://%s:%d%s", target.address, w.ports[service], path)
}

// sticker reads what a target says of itself.
func (w *world) sticker(target target) stella.Sticker {
	w.t.Helper()
	if target.engine != nil {
		return w.recordOnEngine(target).Sticker
	}
	data, err := os.ReadFile(filepath.Join(target.root, "stella.version.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	var s stella.Sticker
	if err := json.Unmarshal(data, &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// git runs git in the config repository.
func (w *world) git(args ...string) string {
	w.t.Helper()
	return gittest.Run(w.t, gittest.Dir(w.bare), args...)
}

// head is the branch's commit; appTree the tree of the app in a commit.
func (w *world) head() string { w.t.Helper(); return w.git("rev-parse", "main") }

func (w *world) appTree(commit string) string {
	w.t.Helper()
	return w.git("rev-parse", commit+":envs/production/app")
}

// wanted is the version that the branch asks for.
func (w *world) wanted() string {
	w.t.Helper()
	for row := range strings.Lines(w.git("show", "main:envs/production/app/release.yaml")) {
		if version, ok := strings.CutPrefix(row, "version: "); ok {
			return strings.TrimSpace(version)
		}
	}
	w.t.Fatal("release.yaml has no version")
	return ""
}

// deployments is what the ledger has, oldest first.
func (w *world) deployments() []stella.Deployment {
	w.t.Helper()
	var doc struct{ Deployments []stella.Deployment }
	if r := w.document(&doc, "orch", "deployments", "list", production); r.code != 0 {
		w.t.Fatalf("want exit code 0: %s", r)
	}
	slices.Reverse(doc.Deployments)
	return doc.Deployments
}

// current is the verified deployment that is in effect.
func (w *world) current() stella.Deployment {
	w.t.Helper()
	var doc struct{ Deployment *stella.Deployment }
	if r := w.document(&doc, "orch", "deployments", "current", production); r.code != 0 || doc.Deployment == nil {
		w.t.Fatalf("want a current deployment: %s", r)
	}
	return *doc.Deployment
}

// soundLedger checks what must hold of a ledger at rest: it replays, its
// sequence has no gap, nothing is open and nothing is locked.
func (w *world) soundLedger() []stella.Deployment {
	w.t.Helper()
	w.must("orch", "db", "verify")
	all := w.deployments()
	const atHand = 100 // older ones are kept as far as somebody may go back to them
	first := max(0, len(all)-atHand)
	for i, d := range all {
		want := all[first].Sequence + int64(i-first)
		if i >= first && (d.Sequence != want || d.ID != fmt.Sprintf("production-%d", want)) {
			w.t.Errorf("%s has sequence %d, want %d", d.ID, d.Sequence, want)
		}
		if d.Status.Open() {
			w.t.Errorf("%s is still %s", d.ID, d.Status)
		}
	}
	if len(all) > 0 && len(all) < atHand && all[0].Sequence != 1 {
		w.t.Errorf("the first record is %s", all[0].ID)
	}
	var locks struct{ Locks []stella.Lock }
	if w.document(&locks, "orch", "locks", "list", production); len(locks.Locks) != 0 {
		w.t.Errorf("the environment is still locked: %+v", locks.Locks)
	}
	return all
}

// agreed checks that all witnesses say the same of a version that should run
// everywhere: Git, ledger, stickers and processes. It returns the deployment.
func (w *world) agreed(version string) stella.Deployment {
	w.t.Helper()
	d := w.current()
	if got := w.appTree("main"); got != d.Tree {
		w.t.Errorf("the branch has the app tree %s, %s brought %s", got, d.ID, d.Tree)
	}
	if got := w.wanted(); got != version || d.Release != version {
		w.t.Errorf("the branch asks for %s and %s brought %s, want %s", got, d.ID, d.Release, version)
	}
	for _, target := range w.targets {
		s := w.sticker(target)
		if s.Deployment != d.ID || s.Release != version || fmt.Sprint(s.Components) != fmt.Sprint(d.Components) {
			w.t.Errorf("the sticker of %s names %s of %s with %v, want %s with %v", target.name, s.Release, s.Deployment, s.Components, d.ID, d.Components)
		}
	}
	if got, want := versions(w.allRunning()), w.everywhere(version); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("what runs is %v, want %v", got, want)
	}
	for service, image := range d.Components {
		a, err := stella.ParseArtifact(image)
		if err != nil || a.Digest == "" || a.Tag != version {
			w.t.Errorf("the ledger has %q for %s (%v), want a digest of %s", image, service, err, version)
		}
	}
	return d
}
