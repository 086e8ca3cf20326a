package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
)

// What is wrong on the machine with what nobody asks for by name is a field of
// the live resource that no desired one has. It is there only while something is
// wrong (docs/design/0013-live-state-of-a-host.md).
const (
	fieldFiles   = "files"       // of the release
	fieldCurrent = "current"     // the link
	fieldSpec    = "spec.json"   // what the next shim would run
	fieldStatus  = "status.json" // what the shim said of its process
)

// isRecord reports whether a field is about the records of a service and not
// about what runs: it can be put right while it does.
func isRecord(field string) bool {
	return slices.Contains([]string{fieldCurrent, fieldSpec, fieldStatus}, field)
}

// The words for a record that is not as it was written.
const (
	wordGone   = "gone"
	wordEdited = "changed by hand"
)

func oddity(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return wordGone
	}
	return wordEdited
}

// doubt takes what is known of a status that is not to be believed, or not
// there, from the shim's own processes: the oldest of its children is the one
// that it supervises, since it ends all others before it starts it again.
func (l *liveService) doubt(shim durable.Process, err error) (runs bool) {
	l.odd[fieldStatus] = wordEdited
	if err != nil {
		l.odd[fieldStatus] = oddity(err)
	}
	l.status = statusFile{SchemaVersion: 1, Health: stella.RunHealthNone, State: stella.RunStarting}
	process, runs := oldestChild(shim.PID)
	if runs {
		l.status.State, l.status.Process = stella.RunRunning, process.String()
	}
	return runs
}

func oldestChild(pid int) (oldest durable.Process, found bool) {
	for child, parent := range parents() {
		if parent != pid {
			continue
		}
		p, err := durable.FindProcess(child)
		if err != nil {
			continue
		}
		if !found || p.StartTicks < oldest.StartTicks || p.StartTicks == oldest.StartTicks && p.PID < oldest.PID {
			oldest, found = p, true
		}
	}
	return oldest, found
}

// findSpec finds out what the shim was started with: what spec.json says, where
// that is what the status names; else the shim's own copy. Where neither is,
// nobody knows.
func (h *Host) findSpec(l *liveService) error {
	name := l.component.Name
	var err error
	if l.spec, err = h.lay.readSpec(name); err != nil && !isLost(err) {
		return err
	}
	now, sumErr := l.spec.digest()
	if err == nil && sumErr == nil && now == l.status.Spec || !l.present && err == nil {
		return nil
	}
	odd := wordEdited
	if err != nil {
		odd = oddity(err)
	}
	running, runErr := h.lay.readRunning(name)
	if runErr != nil && !isLost(runErr) {
		return runErr
	}
	if was, sumErr := running.digest(); runErr == nil && sumErr == nil && (was == l.status.Spec || l.status.Spec == "") {
		if was != now || err != nil {
			l.odd[fieldSpec] = odd
		}
		l.spec = running
		return nil
	}
	if err == nil && l.status.Spec == "" && errors.Is(runErr, fs.ErrNotExist) {
		return nil // a shim that kept no copy: the status is what somebody was at
	}
	l.lost, l.spec, l.odd[fieldSpec] = true, specFile{}, odd
	l.component.Detail = "nobody knows what it runs"
	l.component.State = stella.RunUnknown
	_, lives := h.lay.shimOf(name)
	l.present = l.present || lives || len(h.processesOf(name)) > 0
	return nil
}

// liveLink says where `current` leads, where that is not the release that runs.
func (h *Host) liveLink(l *liveService) {
	target, err := os.Readlink(h.lay.current(l.component.Name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.odd[fieldCurrent] = wordGone
	case err != nil:
		l.odd[fieldCurrent] = "no link"
	case target != filepath.Join("releases", l.spec.Release):
		l.odd[fieldCurrent] = "leads to " + safe.Clip(target, 200)
	}
}

// liveUser says who the process runs as, where it was not started so. It can not
// have got there by itself: a process that is not root gains nothing. One that
// was started as root may drop to anybody.
func (h *Host) liveUser(l *liveService) {
	process, runs := l.status.process()
	if !runs || l.status.User == "" || strings.HasPrefix(l.status.User, "0:") {
		return
	}
	if f, err := readFacts(process.PID); err == nil && f.user() != l.status.User {
		l.resource.Fields["user"] = f.user()
	}
}

// mend puts right what is wrong with the records of a service that runs as
// wanted. It reports whether it could: a shim of an older stella does not write
// its status again. The caller holds the lock.
func (h *Host) mend(ctx context.Context, l liveService, release string) (bool, error) {
	name := l.component.Name
	if err := h.link(name, release); err != nil {
		return false, err
	}
	if l.odd[fieldSpec] != nil {
		// The living shim does not read it: it is what it has a copy of.
		if err := h.effect("spec", func() error { return writeJSON(h.lay.spec(name), l.spec) }); err != nil {
			return false, fmt.Errorf("write spec: %w", err)
		}
	}
	if l.odd[fieldStatus] == nil {
		return true, nil
	}
	var told bool
	err := h.effect("status", func() error {
		told = h.askStatus(ctx, name)
		return nil
	})
	return told, err
}

// askStatus has a shim write its status again, and reports whether it did.
func (h *Host) askStatus(ctx context.Context, name string) bool {
	shim, lives := h.lay.shimOf(name)
	if !lives || signalProcess(shim, int(askAgain)) != nil {
		return false
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		status, err := h.lay.readStatus(name)
		if process, runs := status.process(); err == nil && (!runs || parentOf(process.PID) == shim.PID) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(killPoll):
		}
	}
}

const stickerPrefix = "sticker/"

// stickerID is the resource that a sticker is while it is not what was put there.
func (h *Host) stickerID() stella.ResourceID { return stella.ResourceID(stickerPrefix + h.cfg.Name) }

// stickerFile is stella.version.json, the sticker. It is a stored format.
type stickerFile struct {
	stella.Sticker
	// Sum is the digest of the sticker: one that was edited by hand is found.
	// Empty in those of an older stella.
	Sum stella.Digest `json:"sum,omitempty"`
}

func (s stickerFile) whole(t targetFile) bool {
	if s.Sum == "" {
		return !t.Sums
	}
	sum, err := drift.Digest(s.Sticker)
	return err == nil && sum == s.Sum
}

func (h *Host) writeSticker(s stella.Sticker) error {
	sum, err := drift.Digest(s)
	if err != nil {
		return err
	}
	return writeJSON(h.lay.sticker(), stickerFile{s, sum})
}

// readSticker reads the sticker; nil where nothing was ever put there.
func (h *Host) readSticker() (*stickerFile, error) {
	var s stickerFile
	err := readJSON(h.lay.sticker(), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// observeSticker reads the sticker into an observation. One that is not what was
// put there is a resource, and so is one that is not there though services are.
func (h *Host) observeSticker(o *stella.Observation, t targetFile, services bool) ([]stella.Resource, error) {
	s, err := h.readSticker()
	if err != nil && !isLost(err) {
		return nil, err
	}
	var odd string
	switch {
	case err != nil:
		odd = "can not be read"
	case s == nil && services:
		odd = wordGone
	case s != nil:
		o.Sticker = &s.Sticker
		if !s.whole(t) {
			odd = wordEdited
		}
	}
	if odd == "" {
		return nil, nil
	}
	return []stella.Resource{{ID: h.stickerID(), Fields: map[string]any{"state": odd}}}, nil
}
