package host

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
)

// liveResource makes the resource: the fields that were asked for, with what
// can be read from the machine in place of what was asked.
func (h *Host) liveResource(ctx context.Context, l *liveService) error {
	name := l.component.Name
	l.resource = stella.Resource{ID: serviceID(name), Fields: maps.Clone(l.spec.Resource.Fields), Secrets: l.spec.Resource.Secrets}
	if l.lost {
		l.resource.Fields = l.odd
		return nil
	}
	h.liveLink(l)
	if err := h.liveImage(ctx, l); err != nil {
		return err
	}
	h.liveUser(l)
	if _, ok := l.resource.Fields["ports"]; ok {
		if err := h.livePorts(l); err != nil {
			return err
		}
	}
	maps.Copy(l.resource.Fields, l.odd)
	return nil
}

// liveImage is the image whose files the process runs from, and which of these
// are not the image's any more.
func (h *Host) liveImage(ctx context.Context, l *liveService) error {
	name, release := l.component.Name, l.spec.Release
	image, _ := l.spec.Resource.Fields["image"].(string)
	dir := h.lay.release(name, release)
	rel, seal, err := readRelease(dir)
	if err != nil {
		l.odd[fieldFiles] = []any{unreadable(dir)}
	} else {
		found, err := treeChanges(ctx, dir, rel, seal)
		if err != nil {
			return err
		}
		if found.total > 0 {
			l.odd[fieldFiles] = texts(found.lines())
		}
		if !isOf(release, image) {
			image = rel.Image
		}
		h.liveConfigs(l, rel, seal, found)
	}
	// Where the files are gone it is clear that it runs from others.
	if p, runs := l.status.process(); runs && err == nil && !h.runsFrom(p.PID, name, release) {
		image += " (runs from other files)"
	}
	l.resource.Fields["image"], l.component.Running = image, image
	if l.odd[fieldFiles] != nil {
		l.component.Running += " (changed on disk)"
	}
	if l.component.State == stella.RunExited || l.component.State == stella.RunStarting {
		l.component.Running = ""
	}
	return nil
}

// unreadable words why nobody can tell what a release holds.
func unreadable(dir string) string {
	for _, file := range []string{"", sealName, releaseDocument} {
		if _, err := os.Lstat(filepath.Join(dir, file)); errors.Is(err, fs.ErrNotExist) {
			return strings.TrimSpace("removed " + strings.TrimPrefix(cmp.Or(file, "all of them"), "/"))
		}
	}
	return "changed " + sealName + " or " + strings.TrimPrefix(releaseDocument, "/")
}

func texts(lines []string) []any {
	out := make([]any, len(lines))
	for i, line := range lines {
		out[i] = line
	}
	return out
}

// isOf reports whether a release is one of the image.
func isOf(release, image string) bool {
	a, err := stella.ParseArtifact(image)
	return err == nil && strings.HasPrefix(release, a.Digest.Hex())
}

// runsFrom reports whether a process runs from the files that have this
// release's name now: they may have been renamed away under it. A process that
// can not be looked at is not accused.
func (h *Host) runsFrom(pid int, service, release string) bool {
	if !h.chroots {
		of, from := h.releaseOf(pid)
		return of != service || from == release
	}
	root, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root"))
	if err != nil {
		return true
	}
	want, err := os.Stat(h.lay.rootfs(service, release))
	return err == nil && os.SameFile(root, want)
}

// livePorts reports a port that the service opened on another address than the
// one that was asked for: the machine's network is its own, and only looking
// tells.
func (h *Host) livePorts(l *liveService) error {
	svc, errs := decodeService(l.spec.Resource)
	bound := slices.ContainsFunc(svc.ports, func(p port) bool { return p.ip.IsValid() })
	process, runs := l.status.process()
	if len(errs) > 0 || !bound || !runs {
		return nil
	}
	all, err := listeners()
	if err != nil {
		return err
	}
	// Whose they are is asked only of those that may be on a wrong address: it
	// takes a look at every descriptor of the machine.
	all = slices.DeleteFunc(all, func(l listener) bool {
		return !slices.ContainsFunc(svc.ports, func(p port) bool { return p.elsewhere(l.port) })
	})
	if len(all) == 0 {
		return nil
	}
	owners := socketOwners(all)
	mine := append(descendants(process.PID), process.PID)
	ports, _ := l.resource.Fields["ports"].([]any)
	live := slices.Clone(ports)
	for i, want := range svc.ports {
		for _, got := range all {
			if pid, ok := owners[got.inode]; !ok || !slices.Contains(mine, pid) {
				continue
			}
			if want.elsewhere(got.port) {
				fields, _ := ports[i].(map[string]any)
				fields = maps.Clone(fields)
				fields["hostIP"] = anyAddress(got.port)
				live[i] = fields
			}
		}
	}
	l.resource.Fields["ports"] = live
	return nil
}

func anyAddress(p port) string {
	if p.ip.IsValid() {
		return p.ip.String()
	}
	return "0.0.0.0"
}
