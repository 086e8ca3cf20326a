package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// maxSuspects bounds what Suspects returns, and how many files it looks at.
const (
	maxSuspects     = 12
	maxSuspectFiles = 3
)

// Suspects says what is known of who else writes a resource, as lines for
// people, the likeliest first: who has its file open for writing, processes that
// work in the root and are none of its services, when and whose its file last
// was changed, how its process ended last, and who holds the target's lock. The
// kernel does not tell who changed a file: a line says what is the case now, and
// none says who it was. Empty where there is no trace.
func (h *Host) Suspects(ctx context.Context, id stella.ResourceID, path string) ([]string, error) {
	name, isService := serviceName(id)
	if isService {
		if _, err := stella.ParseName(name); err != nil {
			return nil, err
		}
	}
	s := suspicion{h: h, service: name, files: h.suspectFiles(ctx, id, path)}
	s.holders()
	s.strangers()
	for _, file := range s.files {
		s.file(file)
	}
	if isService {
		s.ending()
		s.executed(path)
	}
	s.locks()
	s.sticker()
	return s.lines[:min(len(s.lines), maxSuspects)], context.Cause(ctx)
}

// suspicion collects lines.
type suspicion struct {
	h       *Host
	service string // empty for what is none
	files   []string
	lines   []string
}

func (s *suspicion) say(format string, args ...any) {
	s.lines = append(s.lines, safe.Clip(fmt.Sprintf(format, args...), 300))
}

// suspectFiles are the files that a difference is about.
func (h *Host) suspectFiles(ctx context.Context, id stella.ResourceID, path string) []string {
	kind, name, _ := strings.Cut(string(id), "/")
	switch {
	case id == h.stickerID():
		return []string{h.lay.sticker()}
	case kind == "volume":
		if _, err := stella.ParseName(name); err != nil {
			return nil
		}
		return []string{h.lay.volumeRecord(name)}
	case kind != "service":
		return nil
	}
	parts, err := drift.ParsePointer(path)
	if err != nil || len(parts) == 0 {
		return []string{h.lay.spec(name), h.lay.pid(name)}
	}
	switch parts[0] {
	case fieldCurrent:
		return []string{h.lay.current(name)}
	case fieldStatus:
		return []string{h.lay.status(name)}
	case "configs":
		if len(parts) > 1 {
			return h.configFiles(name, parts[1])
		}
	case fieldFiles:
		return h.changedFiles(ctx, name)
	}
	return []string{h.lay.spec(name)}
}

func (h *Host) configFiles(service, path string) []string {
	for _, release := range h.releasesInUse(service) {
		dir := h.lay.release(service, release)
		rel, _, _ := readRelease(dir) // one that can not be read has no configs that are known
		for _, c := range rel.Configs {
			if c.Path == path && liesInside(dir, c) {
				return []string{configPath(dir, c)}
			}
		}
	}
	return nil
}

func (h *Host) changedFiles(ctx context.Context, service string) []string {
	for _, release := range h.releasesInUse(service) {
		dir := h.lay.release(service, release)
		rel, seal, err := readRelease(dir)
		if err != nil {
			return []string{filepath.Join(dir, sealName), filepath.Join(dir, releaseDocument)}
		}
		found, err := treeChanges(ctx, dir, rel, seal)
		if err != nil || found.total == 0 {
			continue
		}
		var files []string
		for _, name := range found.names[:min(len(found.names), maxSuspectFiles)] {
			files = append(files, filepath.Join(dir, name))
		}
		return files
	}
	return nil
}

// shown is a path below the root as people read it.
func (s *suspicion) shown(path string) string {
	if rel, err := filepath.Rel(s.h.lay.root, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// file says when a file was changed and whose it is; of one that is gone, when
// something came or went in its directory.
func (s *suspicion) file(path string) {
	fi, err := os.Lstat(path)
	gone := errors.Is(err, fs.ErrNotExist)
	if gone {
		path = filepath.Dir(path)
		fi, err = os.Lstat(path)
	}
	if err != nil {
		return
	}
	uid, _, _ := strings.Cut(ownership(fi), ":")
	at := changedAt(fi).UTC().Format(time.RFC3339)
	if gone {
		s.say("%s is gone; something came or went in %s at %s, which is owned by %s",
			s.shown(filepath.Join(path, "…")), s.shown(path), fi.ModTime().UTC().Format(time.RFC3339), owner(uid))
		return
	}
	s.say("%s was last changed at %s and is owned by %s", s.shown(path), at, owner(uid))
}

// owner is a user for people: "uid 1000 (deploy)".
func owner(uid string) string {
	if u, err := osuser.LookupId(uid); err == nil {
		return "uid " + uid + " (" + safe.Clip(u.Username, 40) + ")"
	}
	return "uid " + uid
}

// holders says who has one of the files open for writing now.
func (s *suspicion) holders() {
	for _, pid := range allProcesses() {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil || pid == os.Getpid() {
			continue // gone, or another user's
		}
		for _, fd := range fds {
			path, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if err == nil && slices.Contains(s.files, path) && writes(pid, fd.Name()) {
				s.say("%s has %s open for writing", process(pid), s.shown(path))
			}
		}
	}
}

// writes reports whether a descriptor of a process was opened for writing: the
// flags of proc_pid_fdinfo(5) are octal.
func writes(pid int, fd string) bool {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "fdinfo", fd))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(text), 8, 64)
			return err == nil && flags&(uint64(os.O_WRONLY)|uint64(os.O_RDWR)) != 0
		}
	}
	return false
}

// process is one for people: "process 4711 (vim), uid 1000 (deploy),".
func process(pid int) string {
	who := "nobody knows whose"
	if f, err := readFacts(pid); err == nil {
		who = owner(f.uid)
	}
	return fmt.Sprintf("process %d (%s), %s,", pid, safe.Clip(commandName(pid), 40), who)
}

// strangers are processes that work in the root and that no shim of this target
// has started.
func (s *suspicion) strangers() {
	tree := parents()
	shims := map[int]bool{}
	services, _ := s.h.ourServices()
	for _, name := range services {
		if shim, lives := s.h.lay.shimOf(name); lives {
			shims[shim.PID] = true
		}
	}
	for _, pid := range slices.Sorted(slices.Values(allProcesses())) {
		if pid == os.Getpid() || descends(pid, shims, tree) {
			continue
		}
		for _, l := range []struct{ link, words string }{{"cwd", "works in"}, {"exe", "runs"}, {"root", "has its root at"}} {
			path, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), l.link))
			if err == nil && (path == s.h.lay.root || below(path, s.h.lay.root)) {
				s.say("%s %s %s and was started by no shim", process(pid), l.words, s.shown(path))
				break
			}
		}
	}
}

func descends(pid int, from map[int]bool, tree map[int]int) bool {
	for hops := 0; pid > 0 && hops <= len(tree); pid, hops = tree[pid], hops+1 {
		if from[pid] {
			return true
		}
	}
	return false
}

// ending says how the service's process ended last, as its shim saw it.
func (s *suspicion) ending() {
	status, err := s.h.lay.readStatus(s.service)
	if err == nil && status.LastEnd != "" {
		s.say("its process last ended at %s: %s", status.LastEndAt.Format(time.RFC3339), safe.Line(status.LastEnd))
	}
	if _, lives := s.h.lay.shimOf(s.service); !lives && err == nil && status.State == stella.RunRunning {
		s.say("its supervisor was killed, or the machine restarted, after %s: it did not say why", status.Since.Format(time.RFC3339))
	}
}

// executed says what runs in the place of what was started, where the question
// is what runs. Most programs may do this, and many do.
func (s *suspicion) executed(path string) {
	parts, err := drift.ParsePointer(path)
	if err != nil || len(parts) == 0 || !slices.Contains([]string{"command", "entrypoint", "image", "environment", "user"}, parts[0]) {
		return
	}
	status, err := s.h.lay.readStatus(s.service)
	main, runs := status.process()
	if err != nil || !runs {
		return
	}
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(main.PID), "cmdline"))
	if err != nil {
		return
	}
	spec, err := s.h.lay.readRunning(s.service)
	if err != nil {
		return
	}
	svc, errs := decodeService(spec.Resource)
	rel, _, relErr := readRelease(s.h.lay.release(s.service, spec.Release))
	if len(errs) > 0 || relErr != nil {
		return
	}
	started := strings.Join(arguments(svc, rel.Config), "\x00") + "\x00"
	if string(line) != started {
		s.say("its process %d (%s) has executed something else since it was started, or rewrote its arguments", main.PID, safe.Clip(commandName(main.PID), 40))
	}
}

// locks says who holds the target's lock: another stella, that is changing it
// now. The columns are those of proc_locks(5).
func (s *suspicion) locks() {
	fi, err := os.Stat(s.h.lay.lock())
	if err != nil {
		return
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	device, inode := lockID(fi)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		c := strings.Fields(lines.Text())
		if len(c) < 6 || !strings.HasSuffix(c[5], inode) {
			continue
		}
		pid, err := strconv.Atoi(c[4])
		if err == nil && pid > 0 && pid != os.Getpid() && (c[5] == device+inode || hasOpen(pid, s.h.lay.lock())) {
			s.say("%s holds the target's lock", process(pid))
		}
	}
}

// hasOpen reports whether a process has a file open. Some file systems have
// another device in proc_locks(5) than in stat(2).
func hasOpen(pid int, path string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	fds, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(fds, func(fd fs.DirEntry) bool {
		at, err := os.Readlink(filepath.Join(dir, fd.Name()))
		return err == nil && at == path
	})
}

// sticker says which order was the last one here, and whose.
func (s *suspicion) sticker() {
	t, err := s.h.readTarget()
	if err != nil {
		return
	}
	at, err := s.h.readSticker()
	if err != nil || at == nil {
		return
	}
	whose := ""
	if at.Environment != s.h.cfg.Environment || at.Target != s.h.cfg.Name {
		whose = fmt.Sprintf(", of target %s of another environment, %s", safe.Line(at.Target), safe.Line(string(at.Environment)))
	}
	if t.Fence > at.Fence {
		whose += fmt.Sprintf("; somebody with fence %d was here after it", t.Fence)
	}
	s.say("the last order that took effect was of %s at %s (fence %d)%s",
		safe.Clip(at.Deployment, 100), at.WrittenAt.UTC().Format(time.RFC3339), at.Fence, whose)
}
