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
	"time"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Observe reads what runs and changes nothing. A service whose process is dead
// has no resource, except a one-shot that ended as it should; what it says
// otherwise is in the observation, as is what can not be read. Errors are of
// class stella.ErrTampered where target.json is not whole, since then nobody
// knows the fence, and of stella.ErrUnsupported for files of a newer stella.
func (h *Host) Observe(ctx context.Context) (stella.State, error) {
	o := &stella.Observation{At: time.Now().UTC(), Machine: h.machine, Components: []stella.ComponentStatus{}, Notes: []string{}}
	state := stella.State{Resources: []stella.Resource{}, Observed: o}
	t, err := h.readTarget()
	if err != nil {
		return stella.State{}, err
	}
	if o.Sticker, err = h.readSticker(); errors.Is(err, stella.ErrTampered) {
		o.Notes = append(o.Notes, "the sticker can not be read: "+err.Error())
	} else if err != nil {
		return stella.State{}, err
	}
	o.Fence = t.Fence
	if o.Sticker != nil {
		o.Fence = max(o.Fence, o.Sticker.Fence)
	}
	services, err := h.ourServices()
	if err != nil {
		return stella.State{}, err
	}
	for _, name := range services {
		live, err := h.observeService(ctx, name)
		if err != nil {
			return stella.State{}, fmt.Errorf("observe service/%s: %w", name, err)
		}
		if live.present {
			state.Resources = append(state.Resources, live.resource)
		}
		o.Components = append(o.Components, live.component)
		o.Notes = append(o.Notes, live.notes...)
	}
	volumes, err := h.observeVolumes()
	if err != nil {
		return stella.State{}, err
	}
	state.Resources = append(state.Resources, volumes...)
	if !h.chroots && len(services) > 0 {
		o.Notes = append(o.Notes, "runs without root: services run in place, as the user who runs stella")
	}
	return state, nil
}

// liveService is one service as it was observed.
type liveService struct {
	spec       specFile
	status     statusFile
	supervised bool // its shim lives, and has something to do
	present    bool // it runs, waits for a restart, or completed
	resource   stella.Resource
	component  stella.ComponentStatus
	notes      []string
}

func (h *Host) observeService(ctx context.Context, name string) (liveService, error) {
	var l liveService
	var err error
	if l.spec, err = h.lay.readSpec(name); isLost(err) {
		h.lostSpec(&l, name, err)
		return l, nil
	} else if err != nil {
		return l, err
	}
	image, _ := l.spec.Resource.Fields["image"].(string)
	l.component = stella.ComponentStatus{Name: name, Desired: image, State: stella.RunMissing, Health: stella.RunHealthNone}
	if err := h.judge(&l); err != nil {
		return l, err
	}
	if !l.present {
		return l, nil
	}
	return l, h.liveResource(ctx, &l)
}

// isLost reports whether a file of ours is gone or not whole: somebody was at
// it, and the next apply writes it anew.
func isLost(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, stella.ErrTampered)
}

// lostSpec observes a service of which nobody knows any more what it runs. While
// it runs it is there, with nothing that is known of it.
func (h *Host) lostSpec(l *liveService, name string, err error) {
	l.component = stella.ComponentStatus{Name: name, State: stella.RunUnknown, Health: stella.RunHealthNone, Detail: "nobody knows what it runs"}
	l.notes = append(l.notes, fmt.Sprintf("the spec of %s can not be read: %v", name, err))
	_, lives := h.lay.shimOf(name)
	l.present = lives || len(h.processesOf(name)) > 0
	l.resource = stella.Resource{ID: serviceID(name), Fields: map[string]any{}}
}

// judge decides from the processes what state a service is in; the status is
// believed only as far as its processes bear it out. One that is lost counts as
// none.
func (h *Host) judge(l *liveService) error {
	c := &l.component
	// First the shim: a status that is read after its end is its last word.
	_, lives := h.lay.shimOf(c.Name)
	st, err := h.lay.readStatus(c.Name)
	if err != nil && !isLost(err) {
		return err
	}
	l.status = st
	process, runs := st.process()
	if runs && !lives { // it may have been started meanwhile
		_, lives = h.lay.shimOf(c.Name)
	}
	// A shim that wrote its last word is as good as gone.
	l.supervised = lives && (runs || st.State != stella.RunExited)
	c.Restarts, c.Since, c.Detail = st.Restarts, st.Since, safe.Clip(st.Detail, 500)
	switch {
	case st.SchemaVersion == 0:
		c.Detail = "was never started"
	case l.supervised && runs:
		l.present, c.State, c.Health = true, stella.RunRunning, st.Health
	case l.supervised:
		// Between two tries. A status that still says running is one that the
		// shim is about to replace.
		l.present, c.State, c.Health = true, stella.RunStarting, st.Health
		if st.State == stella.RunRunning {
			c.Detail = "ended just now"
		}
	case runs:
		c.State, c.Detail = stella.RunUnknown, fmt.Sprintf("process %d runs without its supervisor", process.PID)
	case st.State == stella.RunExited:
		l.present, c.State = st.Completed, stella.RunExited
	default:
		c.State, c.Detail = stella.RunMissing, "its supervisor is gone: it was killed, or the machine restarted"
	}
	if left := h.unsupervised(l); left > 0 {
		l.notes = append(l.notes, fmt.Sprintf("%d processes of %s run without a supervisor; the next apply ends them", left, c.Name))
	}
	return nil
}

// unsupervised counts the processes of a service that has no shim.
func (h *Host) unsupervised(l *liveService) int {
	if l.supervised {
		return 0
	}
	return len(h.processesOf(l.component.Name))
}

// liveResource makes the resource: the fields that were asked for, with what
// can be read from the machine in place of what was asked.
func (h *Host) liveResource(ctx context.Context, l *liveService) error {
	name := l.component.Name
	l.resource = stella.Resource{ID: serviceID(name), Fields: maps.Clone(l.spec.Resource.Fields), Secrets: l.spec.Resource.Secrets}
	if d, err := l.spec.digest(); err != nil || d != l.status.Spec {
		l.notes = append(l.notes, h.lay.spec(name)+" is not what the running shim was started with")
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
