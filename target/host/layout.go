package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// layout is where things lie below a root:
//
//	target.json                     identity and highest fence
//	target.lock                     taken by every writer
//	stella.version.json             the sticker
//	SERVICE.pid                     the shim, as durable.Process writes it
//	services/SERVICE/current        → releases/NAME
//	services/SERVICE/spec.json      what the shim runs; only changes while none lives
//	services/SERVICE/spec.next.json what the next shim will run
//	services/SERVICE/running.json   the shim's own copy of what it runs
//	services/SERVICE/status.json    what the shim says of its process
//	services/SERVICE/history.json   releases in the order of their last use
//	services/SERVICE/shim.lock      held by the shim for life
//	services/SERVICE/log/           current, previous
//	services/SERVICE/releases/NAME/ rootfs/, displaced/, release.json, files, seal.json
//	volumes/NAME/                   a named volume
//	volumes/NAME.json               that it is ours, and whether it is wanted
type layout struct{ root string }

func (l layout) target() string             { return filepath.Join(l.root, "target.json") }
func (l layout) lock() string               { return filepath.Join(l.root, "target.lock") }
func (l layout) sticker() string            { return filepath.Join(l.root, "stella.version.json") }
func (l layout) pid(service string) string  { return filepath.Join(l.root, service+".pid") }
func (l layout) services() string           { return filepath.Join(l.root, "services") }
func (l layout) service(name string) string { return filepath.Join(l.services(), name) }
func (l layout) current(service string) string {
	return filepath.Join(l.service(service), "current")
}

func (l layout) spec(service string) string { return filepath.Join(l.service(service), "spec.json") }

func (l layout) nextSpec(service string) string {
	return filepath.Join(l.service(service), "spec.next.json")
}

func (l layout) running(service string) string {
	return filepath.Join(l.service(service), "running.json")
}

func (l layout) status(service string) string {
	return filepath.Join(l.service(service), "status.json")
}

func (l layout) history(service string) string {
	return filepath.Join(l.service(service), "history.json")
}

func (l layout) shimLock(service string) string {
	return filepath.Join(l.service(service), "shim.lock")
}
func (l layout) logs(service string) string { return filepath.Join(l.service(service), "log") }
func (l layout) releases(service string) string {
	return filepath.Join(l.service(service), "releases")
}

func (l layout) release(service, name string) string {
	return filepath.Join(l.releases(service), name)
}

func (l layout) rootfs(service, name string) string {
	return filepath.Join(l.release(service, name), "rootfs")
}
func (l layout) volumes() string                 { return filepath.Join(l.root, "volumes") }
func (l layout) volume(name string) string       { return filepath.Join(l.volumes(), name) }
func (l layout) volumeRecord(name string) string { return filepath.Join(l.volumes(), name+".json") }

// maxDocumentBytes bounds a JSON file below a root; a spec holds the contents
// of its configs.
const maxDocumentBytes = 32 << 20

// readJSON reads a JSON file that stella wrote. A file that is not there is
// fs.ErrNotExist; one that is not whole, or no file, is of class
// stella.ErrTampered, since all of them are written by rename; one of a newer
// version is of class stella.ErrUnsupported.
func readJSON(path string, into any) error {
	data, err := readRegular(path, maxDocumentBytes)
	if err != nil {
		return err
	}
	var version struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return fmt.Errorf("read %s: %w: %w", path, stella.ErrTampered, err)
	}
	if version.SchemaVersion != 1 {
		return fmt.Errorf("read %s: %w: schema version %d, this stella knows 1", path, stella.ErrUnsupported, version.SchemaVersion)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w: %w", path, stella.ErrTampered, err)
	}
	return nil
}

// writeJSON replaces a JSON file durably. Only its owner can read it: it may
// hold what an environment keeps to itself.
func writeJSON(path string, v any) error {
	data, err := encodeJSON(v)
	if err != nil {
		return err
	}
	return writeFile(path, data, 0o600)
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// sweep removes what a stella that was killed left of the files that it was
// about to put in place. It does what it can. The caller holds the target's
// lock: whoever writes here has it, or is waited for by who has it.
func (h *Host) sweep(ctx context.Context) {
	dirs := []string{h.lay.root, h.lay.volumes()}
	services, _ := os.ReadDir(h.lay.services())
	for _, e := range services {
		if e.IsDir() {
			dirs = append(dirs, h.lay.service(e.Name()))
		}
	}
	for _, dir := range dirs {
		strays, err := durable.Strays(dir)
		for _, stray := range strays {
			err = errors.Join(err, os.Remove(stray))
		}
		if err != nil {
			h.log.WarnContext(ctx, "remove files that were left half written", "dir", dir, "err", err)
		}
	}
}

// makeDirs creates the directories that every writer needs.
func (l layout) makeDirs(service string) error {
	if err := os.MkdirAll(l.root, 0o755); err != nil {
		return err
	}
	dirs := []string{l.services(), l.volumes()}
	if service != "" {
		dirs = append(dirs, l.service(service), l.releases(service), l.logs(service))
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
