package host

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stella-ops/stella"
)

// liveResource makes the resource: the fields that were asked for, with what
// can be read from the machine in place of what was asked.
func (h *Host) liveResource(ctx context.Context, l *liveService) error {
	name := l.component.Name
	l.resource = stella.Resource{ID: serviceID(name), Fields: maps.Clone(l.spec.Resource.Fields), Secrets: l.spec.Resource.Secrets}
	if !l.specRuns() {
		// The file was changed by hand. What runs was started with something else.
		l.notes = append(l.notes, h.lay.spec(name)+" is not what the running shim was started with")
		l.resource.Fields = map[string]any{}
		return nil
	}
	if target, err := os.Readlink(h.lay.current(name)); err != nil || filepath.Base(target) != l.spec.Release {
		l.notes = append(l.notes, h.lay.current(name)+" does not name the release that runs")
	}
	image, err := h.liveImage(ctx, l)
	if err != nil {
		return err
	}
	l.resource.Fields["image"], l.component.Running = image, image
	if l.component.State == stella.RunExited || l.component.State == stella.RunStarting {
		l.component.Running = ""
	}
	if _, ok := l.resource.Fields["configs"]; ok {
		l.resource.Fields["configs"] = h.liveConfigs(l)
	}
	if _, ok := l.resource.Fields["ports"]; ok {
		return h.livePorts(l)
	}
	return nil
}

// specRuns reports whether the spec is the one that the shim was started with.
func (l *liveService) specRuns() bool {
	d, err := l.spec.digest()
	return err == nil && d == l.status.Spec
}

// liveImage is the image whose files the process runs from. One whose files are
// not the image's any more is no image at all: it says so in its place.
func (h *Host) liveImage(ctx context.Context, l *liveService) (string, error) {
	name, release := l.component.Name, l.spec.Release
	image, _ := l.spec.Resource.Fields["image"].(string)
	dir := h.lay.release(name, release)
	rel, seal, err := readRelease(dir)
	if err != nil {
		l.notes = append(l.notes, fmt.Sprintf("release %s of %s can not be read: %v", release, name, err))
		return image + " (gone from disk)", nil
	}
	if err := checkTree(ctx, dir, rel, seal); err != nil {
		if !errors.Is(err, stella.ErrTampered) {
			return "", err
		}
		l.notes = append(l.notes, fmt.Sprintf("release %s of %s was changed on disk", release, name))
		return image + " (changed on disk)", nil
	}
	if p, runs := l.status.process(); runs && !h.runsFrom(p.PID, name, release) {
		return image + " (runs from other files)", nil
	}
	if !isOf(release, image) {
		return rel.Image, nil
	}
	return image, nil
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

// liveConfigs are the config files as they lie on disk, in the shape of the
// desired ones. A file that is gone is left out.
func (h *Host) liveConfigs(l *liveService) map[string]any {
	asked, _ := l.spec.Resource.Fields["configs"].(map[string]any)
	dir := h.lay.release(l.component.Name, l.spec.Release)
	rel, _, _ := readRelease(dir) // liveImage has said what is wrong with it
	records := map[string]configRecord{}
	for _, c := range rel.Configs {
		records[c.Path] = c
	}
	out := map[string]any{}
	for path, v := range asked {
		want, _ := v.(map[string]any)
		content, mode, err := readConfig(dir, records[path])
		if err != nil {
			continue
		}
		live := maps.Clone(want)
		delete(live, "content")
		delete(live, "contentBase64")
		if utf8.Valid(content) {
			live["content"] = string(content)
		} else {
			live["contentBase64"] = base64.StdEncoding.EncodeToString(content)
		}
		if _, ok := live["digest"]; ok {
			live["digest"] = string(digestOf(content))
		}
		if _, ok := live["mode"]; ok && mode != records[path].Mode {
			live["mode"] = fmt.Sprintf("%04o", mode)
		}
		out[path] = live
	}
	return out
}

// readConfig reads a config file of a release, which may have become anything.
func readConfig(dir string, c configRecord) (content []byte, mode uint32, err error) {
	const most = 4 << 20
	if c.File == "" {
		return nil, 0, fs.ErrNotExist
	}
	fi, err := os.Lstat(configPath(dir, c))
	if err != nil {
		return nil, 0, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > most {
		return nil, 0, fs.ErrInvalid
	}
	content, err = os.ReadFile(configPath(dir, c))
	return content, uint32(fi.Mode().Perm()), err
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
	owners := socketOwners(all)
	mine := append(descendants(process.PID), process.PID)
	ports, _ := l.resource.Fields["ports"].([]any)
	live := slices.Clone(ports)
	for i, want := range svc.ports {
		for _, got := range all {
			if pid, ok := owners[got.inode]; !ok || !slices.Contains(mine, pid) {
				continue
			}
			if want.ip.IsValid() && got.port.number == want.number && got.port.protocol == want.protocol && got.port.ip != want.ip {
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
