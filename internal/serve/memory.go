package serve

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// storedScan is when the last scan of an environment began, and the schedule
// that it had then, in the daemon's file. Only the next daemon reads it; without
// it nothing is lost but the count of what was missed meanwhile.
type storedScan struct {
	At       time.Time `json:"at"`
	Schedule string    `json:"schedule"`
}

const (
	// rememberScansEvery is how often the file may be written: a crash forgets as
	// much.
	rememberScansEvery = 10 * time.Second
	maxScansFile       = 32 << 20
)

// recallScans reads what the daemon before this one knew. A file that can not
// be read is as good as none.
func (d *daemon) recallScans() {
	d.recalled = map[stella.EnvName]storedScan{}
	if d.cfg.Scans == "" {
		return
	}
	info, err := os.Stat(d.cfg.Scans)
	if err == nil && info.Size() > maxScansFile {
		err = errors.New("it is too large")
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(d.cfg.Scans)
	}
	if err == nil {
		err = json.Unmarshal(text, &d.recalled)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.cfg.Logger.Warn("recall when environments were last scanned", "err", err)
	}
	if d.recalled == nil || err != nil {
		d.recalled = map[stella.EnvName]storedScan{}
	}
}

// lastScan is what is known of an environment that is met for the first time.
// The caller has d.mu.
func (d *daemon) lastScan(name stella.EnvName) storedScan { return d.recalled[name] }

// noteScan remembers that an environment was scanned. The caller has d.mu.
func (d *daemon) noteScan(name stella.EnvName, schedule string, began time.Time) {
	if d.recalled != nil && schedule != "" {
		d.recalled[name] = storedScan{began.UTC(), schedule}
		d.unsaved = true
	}
}

// rememberScans writes what the next daemon is to know, where it was not written
// just now or it is the last chance.
func (d *daemon) rememberScans(last bool) {
	if d.cfg.Scans == "" {
		return
	}
	d.mu.Lock()
	if !d.unsaved || !last && time.Since(d.saved) < rememberScansEvery {
		d.mu.Unlock()
		return
	}
	d.unsaved, d.saved = false, time.Now()
	text, err := json.Marshal(d.recalled)
	d.mu.Unlock()
	if err == nil {
		err = durable.WriteFile(d.cfg.Scans, append(text, '\n'), 0o600)
	}
	if err != nil {
		d.cfg.Logger.Warn("remember when environments were scanned", "err", err)
	}
}
