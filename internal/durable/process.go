package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
)

// Process names one process of one boot of one machine: a pid alone is reused.
type Process struct {
	Machine    string // MachineID and the pid namespace: two containers of one machine know nothing of each other
	Boot       string // kernel's boot id
	PID        int
	StartTicks uint64 // field 22 of /proc/PID/stat, proc(5): clock ticks after boot
}

// Self returns the running process.
func Self() (Process, error) { return FindProcess(os.Getpid()) }

// FindProcess returns the process that has the pid now, or an error of class
// stella.ErrNotFound.
func FindProcess(pid int) (Process, error) {
	ticks, err := startTicks(pid)
	if err != nil {
		return Process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, err
	}
	return Process{Machine: place(), Boot: string(bytes.TrimSpace(boot)), PID: pid, StartTicks: ticks}, nil
}

// place is where a pid means something: this machine, in this pid namespace
// (pid_namespaces(7)).
func place() string {
	ns, err := os.Readlink("/proc/self/ns/pid") // "pid:[4026531836]"
	if err != nil {
		return MachineID()
	}
	return MachineID() + "." + strings.Trim(strings.TrimPrefix(ns, "pid:"), "[]")
}

// MachineID identifies this machine: a hash of systemd's machine id
// (machine-id(5)), which asks not to be shown itself, or of the host's name
// where there is none.
func MachineID() string {
	for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if id, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(id)) > 0 {
			return hashID(string(bytes.TrimSpace(id)))
		}
	}
	name, _ := os.Hostname()
	return hashID("host:" + name)
}

func hashID(s string) string {
	sum := sha256.Sum256([]byte("stella machine " + s))
	return hex.EncodeToString(sum[:8])
}

// startTicks reads field 22 of /proc/PID/stat. The second field, the command,
// may hold spaces and parentheses: fields are counted after its last ')'. A
// zombie counts as gone.
func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, stella.ErrNotFound)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const state, start = 0, 22 - 3
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return 0, fmt.Errorf("process %d: %w", pid, stella.ErrNotFound)
	}
	return strconv.ParseUint(fields[start], 10, 64)
}

// Local reports whether the process is, or was, one that this process could
// see: of the same machine and pid namespace.
func (p Process) Local() bool { return p.Machine == place() }

// Alive reports whether the very process still runs. It says nothing useful
// about a process of another machine: ask Local first.
func (p Process) Alive() bool {
	now, err := FindProcess(p.PID)
	return err == nil && now == p
}

// String returns the process as ParseProcess reads it.
func (p Process) String() string {
	return fmt.Sprintf("%s/%s/%d/%d", p.Machine, p.Boot, p.PID, p.StartTicks)
}

// ParseProcess parses what String made. Errors are of class stella.ErrInvalid.
func ParseProcess(s string) (Process, error) {
	parts := strings.Split(s, "/")
	bad := fmt.Errorf("%w: process %q", stella.ErrInvalid, s)
	if len(parts) != 4 {
		return Process{}, bad
	}
	pid, err := strconv.Atoi(parts[2])
	if err != nil || pid <= 0 {
		return Process{}, bad
	}
	ticks, err := strconv.ParseUint(parts[3], 10, 64)
	if err != nil {
		return Process{}, bad
	}
	return Process{Machine: parts[0], Boot: parts[1], PID: pid, StartTicks: ticks}, nil
}
