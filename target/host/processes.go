package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// allProcesses lists the pids of /proc.
func allProcesses() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parents maps every process that has not ended to its parent: field 4 of
// /proc/PID/stat, proc(5).
func parents() map[int]int {
	out := map[int]int{}
	for _, pid := range allProcesses() {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			continue
		}
		f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(f) < 2 || f[0] == "Z" || f[0] == "X" {
			continue
		}
		if parent, err := strconv.Atoi(f[1]); err == nil {
			out[pid] = parent
		}
	}
	return out
}

// descendants lists the processes below pid that have not ended.
func descendants(pid int) []int {
	tree := parents()
	var out []int
	for p := range tree {
		for up, hops := tree[p], 0; up > 0 && hops < len(tree); up, hops = tree[up], hops+1 {
			if up == pid {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// releaseOf names the service of this target and the release whose files a
// process runs from; empty for none. Of files that were removed under it the
// release is empty. A process belongs to it when its root, its working directory
// or its executable lies in one of the service's releases, which holds for
// whatever it forked, however far that got away.
func (h *Host) releaseOf(pid int) (service, release string) {
	if pid <= 0 {
		return "", ""
	}
	prefix := h.lay.services() + "/"
	for _, link := range []string{"root", "cwd", "exe"} {
		path, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), link))
		if err != nil {
			continue
		}
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		if len(parts) < 3 || parts[1] != "releases" {
			continue
		}
		if strings.HasSuffix(rest, " (deleted)") { // as the kernel says, proc_pid_exe(5)
			return parts[0], ""
		}
		return parts[0], parts[2]
	}
	return "", ""
}

func (h *Host) serviceOf(pid int) string {
	service, _ := h.releaseOf(pid)
	return service
}

// processesOf lists what runs from a service's releases.
func (h *Host) processesOf(service string) []int {
	self := os.Getpid()
	var out []int
	for _, pid := range allProcesses() {
		if pid != self && h.serviceOf(pid) == service {
			out = append(out, pid)
		}
	}
	return out
}

// shimOf returns the living shim of a service: by its pid file, or, where that
// was lost, by its command line.
func (l layout) shimOf(service string) (durable.Process, bool) {
	if p, ok := l.pidOf(service); ok {
		return p, true
	}
	for _, pid := range allProcesses() {
		if !isShim(pid, l.shimArgs(service)) {
			continue
		}
		if p, err := durable.FindProcess(pid); err == nil {
			return p, true
		}
	}
	return durable.Process{}, false
}

// shimArgs is the command line of a service's shim, after the program's name.
func (l layout) shimArgs(service string) []string {
	return []string{ShimCommand, "--root", l.root, "--service", service, "--ready", "3"}
}

// isShim reports whether a process of this user was started with the arguments.
func isShim(pid int, args []string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || !strings.HasSuffix(string(line), "\x00"+strings.Join(args, "\x00")+"\x00") {
		return false
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return false
	}
	owner, ok := ownerOf(fi)
	return ok && owner == os.Geteuid()
}

// signalProcess sends a signal to that very process, whoever has its pid by
// then. One that has ended is fine.
func signalProcess(p durable.Process, sig int) error {
	fd, err := openPidfd(p.PID)
	if errors.Is(err, errors.ErrUnsupported) && p.Alive() { // ENOSYS: a kernel before 5.3
		return ignoreGone(syscall.Kill(p.PID, syscall.Signal(sig)))
	}
	if err != nil {
		return ignoreGone(err)
	}
	defer func() { _ = os.NewFile(uintptr(fd), "pidfd").Close() }()
	// The descriptor names one process for good; only now is it known which.
	if !p.Alive() {
		return nil
	}
	return ignoreGone(signalPidfd(fd, sig))
}

func ignoreGone(err error) error {
	if errors.Is(err, errNoProcess) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// killAll sends SIGKILL to what list returns until it returns nothing. A
// process that forks while it is looked for is found on the next round.
func killAll(list func() []int, most time.Duration) error {
	deadline := time.Now().Add(most)
	for {
		pids := list()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if p, err := durable.FindProcess(pid); err == nil {
				_ = signalProcess(p, sigKill) // one that can not be killed is found again
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: %d processes do not die, one is %d", stella.ErrTimeout, len(pids), pids[0])
		}
		<-time.After(killPoll)
	}
}

// killPoll is short beside the milliseconds in which a killed process is gone.
const killPoll = 5 * time.Millisecond

// processFacts is what the kernel says of a process and the process can not
// change at will, proc_pid_status(5).
type processFacts struct {
	parent   int
	uid, gid string // effective
}

func (f processFacts) user() string { return f.uid + ":" + f.gid }

func readFacts(pid int) (processFacts, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return processFacts{}, err
	}
	var f processFacts
	for line := range strings.Lines(string(data)) {
		key, rest, _ := strings.Cut(line, ":")
		values := strings.Fields(rest)
		switch {
		case key == "PPid" && len(values) == 1:
			f.parent, _ = strconv.Atoi(values[0])
		case key == "Uid" && len(values) == 4:
			f.uid = values[1]
		case key == "Gid" && len(values) == 4:
			f.gid = values[1]
		}
	}
	if f.uid == "" || f.gid == "" {
		return f, fmt.Errorf("process %d: %w", pid, fs.ErrInvalid)
	}
	return f, nil
}

// parentOf is the parent of a process; 0 where nobody can tell.
func parentOf(pid int) int {
	f, err := readFacts(pid)
	if err != nil {
		return 0
	}
	return f.parent
}
