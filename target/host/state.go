package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/effect"
)

// specFile is spec.json: what the shim of a service runs. It changes only while
// no shim of the service lives, so that it is always what the living one was
// started with. It is a stored format.
type specFile struct {
	SchemaVersion int             `json:"schemaVersion"` // 1
	Resource      stella.Resource `json:"resource"`      // as desired when it was applied
	Release       string          `json:"release"`       // name below releases/
	AllowRoot     bool            `json:"allowRoot"`
	AppliedAt     time.Time       `json:"appliedAt"`
}

// digest identifies a spec: the shim says in its status which one it runs.
func (s specFile) digest() (stella.Digest, error) { return drift.Digest(s) }

// readSpec reads what the shim runs, or will run; fs.ErrNotExist where the
// service is not one of ours.
func (l layout) readSpec(service string) (specFile, error) {
	var s specFile
	err := readJSON(l.spec(service), &s)
	return s, err
}

// writeRunning keeps the shim's own copy of what it runs: spec.json may be edited
// while it does. Like the status it is not synced, and only the shim writes it.
func (l layout) writeRunning(service string, s specFile) error {
	return l.replace(service, l.running(service), s)
}

// readRunning reads what the last shim of a service said it ran.
func (l layout) readRunning(service string) (specFile, error) {
	var s specFile
	err := readJSON(l.running(service), &s)
	return s, err
}

// statusFile is status.json: what the shim says of its process. It is written
// by rename but not synced: after a power cut nothing runs anyway. It is a
// stored format.
type statusFile struct {
	SchemaVersion int              `json:"schemaVersion"` // 1
	Spec          stella.Digest    `json:"spec"`          // of the spec that runs
	State         stella.RunState  `json:"state"`
	Process       string           `json:"process"` // durable.Process of the main process; empty where none runs
	Health        stella.RunHealth `json:"health"`
	Restarts      int              `json:"restarts"`  // since the shim started
	Since         time.Time        `json:"since"`     // when it entered State
	Detail        string           `json:"detail"`    // for people, printable
	Completed     bool             `json:"completed"` // ended with success and is not started again
	InPlace       bool             `json:"inPlace"`   // without a root of its own
	User          string           `json:"user"`      // "uid:gid" that the main process was started as
	LastEnd       string           `json:"lastEnd"`   // how the process ended last, printable; empty where it never did
	LastEndAt     time.Time        `json:"lastEndAt"` // zero where it never did
	// Sum is the digest of all the rest: a status that was edited by hand is none.
	// Empty in those of older shims.
	Sum stella.Digest `json:"sum,omitempty"`
}

// sum is the digest of a status without its sum.
func (s statusFile) sum() (stella.Digest, error) {
	s.Sum = ""
	return drift.Digest(s)
}

// completed is the detail of a one-shot that ended as it should.
const completed = "completed"

func (l layout) readStatus(service string) (statusFile, error) {
	var s statusFile
	if err := readJSON(l.status(service), &s); err != nil {
		return s, err
	}
	if s.Sum == "" {
		// A shim that keeps a copy of what it runs writes sums as well.
		running, err := l.readRunning(service)
		if was, sumErr := running.digest(); err != nil || sumErr != nil || was != s.Spec {
			return s, nil //nolint:nilerr // an older one keeps none
		}
	}
	if sum, err := s.sum(); err != nil || sum != s.Sum {
		return statusFile{}, fmt.Errorf("read %s: %w: it was edited", l.status(service), stella.ErrTampered)
	}
	return s, nil
}

// writeStatus replaces status.json. Only the shim calls it, under its lock.
func (l layout) writeStatus(service string, s statusFile) error {
	var err error
	if s.Sum, err = s.sum(); err != nil {
		return err
	}
	return l.replace(service, l.status(service), s)
}

// replace replaces a JSON file of a shim, which has its lock, so that one
// temporary name is enough.
func (l layout) replace(service, path string, v any) error {
	data, err := encodeJSON(v)
	if err != nil {
		return err
	}
	tmp := filepath.Join(l.service(service), ".status.tmp")
	if err := errors.Join(makeWay(path), makeWay(tmp), ignoreMissing(os.Remove(tmp))); err != nil {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // in a new one, and in no pipe
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(tmp)))
	}
	return os.Rename(tmp, path)
}

// writePID writes which process the shim is. Like the status it is not synced,
// which spares each start two waits for the disk: it is believed only of a
// process of this boot, and where it is not whole the shim is looked for by its
// command line.
func (l layout) writePID(service string, shim durable.Process) error {
	path := l.pid(service)
	if err := makeWay(path); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*") // as durable.Strays finds them
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(shim.String() + "\n")
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = effect.Do("write", path, func() error { return os.Rename(tmp.Name(), path) })
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(tmp.Name())))
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// process is the main process that the status names, while it lives.
func (s statusFile) process() (durable.Process, bool) {
	p, err := durable.ParseProcess(s.Process)
	return p, err == nil && p.Local() && p.Alive()
}

// ourServices lists the services that have a spec, or a shim that lives, sorted
// by name. Any other directory was made by somebody else, or is kept for its
// releases.
func (h *Host) ourServices() ([]string, error) {
	entries, err := os.ReadDir(h.lay.services())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := stella.ParseName(e.Name()); err != nil || !e.IsDir() {
			continue
		}
		if h.isOurs(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (h *Host) isOurs(service string) bool {
	if _, err := os.Lstat(h.lay.spec(service)); err == nil {
		return true
	}
	_, lives := h.lay.shimOf(service)
	return lives
}
