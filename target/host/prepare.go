package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stella-ops/stella"
)

// Prepare checks that the target can do what is desired and fetches all that is
// not there yet. It touches nothing that runs. Every finding is returned at
// once, one per line: stella.ErrUnsupported for what a bare host does not do,
// stella.ErrInvalid for what is wrong anywhere, stella.ErrRefused for a port
// that somebody else has or a root user that is not allowed, stella.ErrFenced
// for a fence lower than the target has seen.
func (h *Host) Prepare(ctx context.Context, desired stella.State, fence int64) error {
	d, err := h.parseDesired(desired)
	if err != nil {
		return err
	}
	if err := h.checkMachine(); err != nil {
		return err
	}
	if err := h.locked(ctx, fence, func() error { return nil }); err != nil {
		return err
	}
	if err := h.checkPorts(d.services, h.yields(ctx, d)); err != nil {
		return err
	}
	releases := map[string]releaseFile{}
	var all []error
	for _, s := range d.services {
		rel, name, err := h.ensureRelease(ctx, s, fence)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", s.resource.ID, err)
		}
		releases[s.name] = rel
		if err := h.checkRunnable(s, rel, name); err != nil {
			all = append(all, fmt.Errorf("%s: %w", s.resource.ID, err))
		}
	}
	all = append(all, checkHealthWaits(d, releases)...)
	return errors.Join(all...)
}

// checkMachine refuses a root user who may not make mount namespaces: running
// in place as root is no substitute.
func (h *Host) checkMachine() error {
	if !h.chroots {
		return nil
	}
	if err := canUnshare(); err != nil {
		err = fmt.Errorf("%w: this machine lets root make no mount namespace: %w", stella.ErrUnsupported, err)
		return stella.WithHint(err, "run stella as another user, or with CAP_SYS_ADMIN")
	}
	return nil
}

// checkRunnable proves from the unpacked release that the shim will be able to
// run it.
func (h *Host) checkRunnable(s service, rel releaseFile, name string) error {
	p, err := newProgram(s, rel.Config, h.lay.rootfs(s.name, name), h.chroots, h.cfg.AllowRoot)
	if err == nil {
		err = p.checkInterpreter()
	}
	if err != nil {
		return err
	}
	if _, err := parseSignal(stopSignal(s, rel.Config)); err != nil {
		return fmt.Errorf("stop signal: %w", err)
	}
	if hc := newHealthcheck(s, rel.Config); hc != nil && len(hc.command()) == 0 {
		return fmt.Errorf("%w: healthcheck: has no command", stella.ErrInvalid)
	}
	return nil
}

// checkHealthWaits refuses to wait for the health of a service that has no
// healthcheck.
func checkHealthWaits(d desiredSet, releases map[string]releaseFile) []error {
	var all []error
	for _, s := range d.services {
		for on, dep := range s.fields.DependsOn {
			other, here := d.service(on)
			if here && dep.Condition == conditionHealthy && newHealthcheck(other, releases[on].Config) == nil {
				all = append(all, invalid(string(s.resource.ID), "depends_on.%s: service_healthy, but %s has no healthcheck", on, on))
			}
		}
	}
	return all
}

// yields tells which services of this target will give up their ports before
// those that want them start: all but those that stay as they are.
func (h *Host) yields(ctx context.Context, d desiredSet) func(string) bool {
	return func(name string) bool {
		want, ok := d.service(name)
		if !ok {
			return true
		}
		_, stays := h.inEffect(ctx, want)
		return !stays
	}
}

// keepReleases is how many releases of a service stay besides the current one,
// so that going back needs no registry: the default of minVersions.
const keepReleases = 5

// historyFile is history.json: a stored format.
type historyFile struct {
	SchemaVersion int      `json:"schemaVersion"` // 1
	Releases      []string `json:"releases"`      // newest use first
}

// remember notes that a release is in use and removes those whose use lies too
// far back. It runs after the new one was started: a crash before it keeps too
// many.
func (h *Host) remember(ctx context.Context, service, name string) error {
	f, err := h.readHistory(service)
	if err != nil {
		return err
	}
	used := append([]string{name}, slices.DeleteFunc(f.Releases, func(s string) bool { return s == name })...)
	used = used[:min(len(used), keepReleases+1)]
	if !slices.Equal(used, f.Releases) {
		err := h.effect("history", func() error {
			return writeJSON(h.lay.history(service), historyFile{SchemaVersion: 1, Releases: used})
		})
		if err != nil {
			return err
		}
	}
	return h.effect("prune", func() error { return h.prune(ctx, service, used) })
}

// readHistory reads which releases were in use. One that is gone or not whole is
// made anew of what is there: it only decides what to keep.
func (h *Host) readHistory(service string) (historyFile, error) {
	var f historyFile
	err := readJSON(h.lay.history(service), &f)
	if err == nil || !isLost(err) {
		return f, err
	}
	f.Releases = h.releaseNames(service)
	slices.SortStableFunc(f.Releases, func(a, b string) int { return h.sealedAt(service, b).Compare(h.sealedAt(service, a)) })
	return f, nil
}

// sealedAt is when a release was made; the zero time for one without a seal.
func (h *Host) sealedAt(service, release string) time.Time {
	fi, err := os.Stat(filepath.Join(h.lay.release(service, release), sealName))
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

// prune removes the releases of a service that are not listed, and all that
// were renamed away but the newest.
func (h *Host) prune(ctx context.Context, service string, keep []string) error {
	h.removeScratch(ctx, service) // under the lock that Apply holds
	var all []error
	for _, name := range h.releaseNames(service) {
		if !slices.Contains(keep, name) {
			all = append(all, removeTree(h.lay.release(service, name)))
		}
	}
	tampered := h.tamperedNames(service)
	for _, name := range tampered[:max(0, len(tampered)-1)] {
		all = append(all, removeTree(h.lay.release(service, name)))
	}
	return errors.Join(all...)
}

// tamperedNames lists what was renamed away, oldest first.
func (h *Host) tamperedNames(service string) []string {
	entries, _ := os.ReadDir(h.lay.releases(service))
	type aside struct {
		name string
		at   int64
	}
	var found []aside
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && isTampered(e.Name()) {
			found = append(found, aside{e.Name(), fi.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(found, func(a, b aside) int { return int(a.at - b.at) })
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = f.name
	}
	return names
}
