package docker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// The pace of a watch. An engine that restarts is back within seconds; one
// whose machine vanished says nothing, which only a question finds out.
const (
	watchPause   = 200 * time.Millisecond // between two calls of changed
	watchRetry   = 100 * time.Millisecond // before the first attempt to reconnect
	watchRetries = 10 * time.Second       // the longest between two of them
	watchAlive   = 15 * time.Second       // between two questions whether the engine is there
	readPatience = 30 * time.Second       // for an answer to what only reads
)

// Watch calls changed whenever something of the target may have changed, as the
// engine's events tell: a container that died, ran out of memory, became
// unhealthy, was started, renamed, updated, removed or copied into, a command
// that ran in one, a network or a volume that went. What only reads a container,
// and the probes of healthchecks, are no reason. It returns once it watches and
// goes on until ctx ends; changed may block. When the engine was gone, changed
// is called once as soon as it is back: nobody knows what was missed.
//
// An error says that nothing is watched: the engine does not answer.
func (d *Docker) Watch(ctx context.Context, changed func()) error {
	w := &watch{d: d, wake: make(chan struct{}, 1)}
	s, err := w.open(ctx)
	if err != nil {
		return fmt.Errorf("watch target %s: %w", d.cfg.Name, fault(err))
	}
	go w.listen(ctx, s)
	go w.tell(ctx, changed)
	return nil
}

// watch is one target that is watched. The goroutine of listen owns all but
// wake.
type watch struct {
	d    *Docker
	wake chan struct{}
	filter
}

// stream is one connection to the engine's events.
type stream struct {
	client.EventsResult
	ctx context.Context //nolint:containedctx // its own life: it ends with the connection
	end context.CancelCauseFunc
}

// open begins a stream. What is ours is listed after the engine told its time
// and before the stream begins, which begins at that time: nothing comes in
// between.
func (w *watch) open(ctx context.Context) (*stream, error) {
	begin, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	now, err := w.d.engineTime(begin)
	if err != nil {
		return nil, err
	}
	own, err := w.d.owned(begin)
	if err != nil {
		return nil, err
	}
	w.filter = newFilter(w.d, own)
	life, end := context.WithCancelCause(ctx)
	hung := context.AfterFunc(begin, func() { end(context.DeadlineExceeded) })
	s := &stream{ctx: life, end: end, EventsResult: w.d.api.Events(life, client.EventsListOptions{Since: stamp(now)})}
	hung()
	go w.d.askAlive(life, end)
	return s, nil
}

// engineTime is the engine's clock, by which its events are stamped.
func (d *Docker) engineTime(ctx context.Context) (time.Time, error) {
	info, err := d.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return time.Time{}, err
	}
	if at, err := time.Parse(time.RFC3339Nano, info.Info.SystemTime); err == nil {
		return at, nil
	}
	return time.Now(), nil
}

// stamp is a time as the events API reads it.
func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

// askAlive ends a stream whose engine does not answer any more.
func (d *Docker) askAlive(ctx context.Context, end context.CancelCauseFunc) {
	every := time.NewTicker(watchAlive)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		ask, cancel := context.WithTimeout(ctx, watchAlive)
		_, err := d.api.Ping(ask, client.PingOptions{})
		cancel()
		if err != nil {
			end(err)
			return
		}
	}
}

// listen follows one stream after the other until ctx ends.
func (w *watch) listen(ctx context.Context, s *stream) {
	for {
		err := w.follow(s)
		s.end(nil)
		if ctx.Err() != nil {
			return
		}
		w.d.log.InfoContext(ctx, "the engine's events ended; they are asked for again", "target", w.d.cfg.Name, "err", err)
		if s = w.reopen(ctx); s == nil {
			return
		}
		w.stir()
	}
}

// follow reads a stream until it ends, and says why it did.
func (w *watch) follow(s *stream) error {
	for {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case err := <-s.Err:
			return err
		case m := <-s.Messages:
			if w.concerns(s.ctx, m) {
				w.stir()
			}
		}
	}
}

// reopen begins another stream as soon as the engine lets it; nil when ctx ends.
func (w *watch) reopen(ctx context.Context) *stream {
	for wait := watchRetry; ; wait = min(2*wait, watchRetries) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if s, err := w.open(ctx); err == nil {
			return s
		}
	}
}

// stir has tell call changed, now or as soon as it can.
func (w *watch) stir() {
	select {
	case w.wake <- struct{}{}:
	default: // it will
	}
}

func (w *watch) tell(ctx context.Context, changed func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		changed()
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchPause):
		}
	}
}

// filter tells the events that may be a change of the target from all others
// of the engine. It is used by one goroutine.
type filter struct {
	d      *Docker
	own    owned
	probe  map[string]string // container → the command of its healthcheck, as events have it; empty for none
	health map[string]string // container → the last verdict told of
	probes map[string]bool   // commands under way that are probes, by id
}

func newFilter(d *Docker, own owned) filter {
	return filter{d: d, own: own, probe: map[string]string{}, health: map[string]string{}, probes: map[string]bool{}}
}

// concerns reports whether something of the target may differ after an event.
func (f *filter) concerns(ctx context.Context, m events.Message) bool {
	switch m.Type {
	case events.ContainerEventType:
		return f.isOurs(m) && f.changes(ctx, m)
	case events.NetworkEventType:
		name := m.Actor.Attributes["name"]
		return f.own.networks[m.Actor.ID] || f.own.networks[name] || f.own.containers[m.Actor.Attributes["container"]] || f.ofProject(name)
	case events.VolumeEventType:
		if m.Action != events.ActionCreate && m.Action != events.ActionDestroy {
			return false // mounts come with every start and every copy out of a container
		}
		return f.own.volumes[m.Actor.ID] || f.ofProject(m.Actor.ID)
	}
	return false
}

func (f *filter) ofProject(name string) bool {
	return f.d.cfg.Project != "" && strings.HasPrefix(name, f.d.cfg.Project+"_")
}

// isOurs reports whether an event is of a container of ours, or of one that
// somebody runs under our project's name.
func (f *filter) isOurs(m events.Message) bool {
	labels := m.Actor.Attributes
	if !f.own.containers[m.Actor.ID] && !f.d.labelled(labels) {
		return f.d.cfg.Project != "" && labels[composeProject] == f.d.cfg.Project
	}
	f.own.containers[m.Actor.ID] = true
	return true
}

// changes reports whether an event of a container may be a change. Unknown ones
// are: an engine that is newer than this program has more of them.
func (f *filter) changes(ctx context.Context, m events.Message) bool {
	verb, detail := split(m.Action)
	id := m.Actor.ID
	switch verb {
	case events.ActionArchivePath, events.ActionCopy, events.ActionTop, events.ActionAttach, events.ActionDetach, events.ActionResize,
		events.ActionCommit, events.ActionExport, events.ActionExecCreate, events.ActionExecDetach, "mount", "unmount", "init", "sync", "cleanup":
		return false // they only read, or come with another one
	case events.ActionCreate:
		f.relist(ctx)
	case events.ActionDestroy, events.ActionRemove:
		delete(f.own.containers, id)
		delete(f.probe, id)
		delete(f.health, id)
	case events.ActionHealthStatus:
		return f.verdict(id, detail)
	case events.ActionExecStart, "exec":
		if f.isProbe(ctx, id, detail) {
			f.probes[m.Actor.Attributes["execID"]] = true
			return false
		}
	case events.ActionExecDie, "exec_died":
		exec := m.Actor.Attributes["execID"]
		probe := f.probes[exec]
		delete(f.probes, exec)
		return !probe
	}
	return true
}

// relist reads again what is ours: networks and volumes that were made carry no
// label in their events, and come right before a container.
func (f *filter) relist(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	if own, err := f.d.owned(ctx); err == nil {
		f.own = own
	}
}

// verdict reports whether a healthcheck says something new: some engines tell of
// every probe.
func (f *filter) verdict(id, status string) bool {
	if status != "healthy" && status != "unhealthy" || f.health[id] == status {
		return false
	}
	f.health[id] = status
	return true
}

// isProbe reports whether a command in a container is its healthcheck's.
func (f *filter) isProbe(ctx context.Context, id, command string) bool {
	probe, known := f.probe[id]
	if !known {
		ctx, cancel := context.WithTimeout(ctx, readPatience)
		defer cancel()
		got, err := f.d.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return false
		}
		probe = probeCommand(got.Container)
		f.probe[id] = probe
	}
	return probe != "" && (command == probe || command == "") // Podman names no command
}

// split parts an event's action from what follows a colon.
func split(a events.Action) (verb events.Action, detail string) {
	text, detail, _ := strings.Cut(string(a), ":")
	return events.Action(strings.TrimSpace(text)), strings.TrimSpace(detail)
}
