package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Observe reads what runs and changes nothing. A service whose process is dead
// has no resource, except a one-shot that ended as it should; what it says
// otherwise is in the observation, as is what can not be read. Errors are of
// class stella.ErrTampered where target.json is not whole, since then nobody
// knows the fence, and of stella.ErrUnsupported where it is one of a newer stella.
func (h *Host) Observe(ctx context.Context) (stella.State, error) {
	o := &stella.Observation{At: time.Now().UTC(), Machine: h.machine, Components: []stella.ComponentStatus{}, Notes: []string{}}
	state := stella.State{Resources: []stella.Resource{}, Observed: o}
	t, err := h.readTarget()
	if err != nil {
		return stella.State{}, err
	}
	services, err := h.ourServices()
	if err != nil {
		return stella.State{}, err
	}
	odd, err := h.observeSticker(o, t, len(services) > 0)
	if err != nil {
		return stella.State{}, err
	}
	o.Fence = max(t.Fence, h.stickerFence(t))
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
	state.Resources = append(state.Resources, odd...)
	volumes, notes, err := h.observeVolumes()
	if err != nil {
		return stella.State{}, err
	}
	state.Resources, o.Notes = append(state.Resources, volumes...), append(o.Notes, notes...)
	if !h.chroots && len(services) > 0 {
		o.Notes = append(o.Notes, "runs without root: services run in place, as the user who runs stella")
	}
	return state, nil
}

// liveService is one service as it was observed.
type liveService struct {
	spec       specFile       // of what runs, where somebody knows
	lost       bool           // nobody knows
	status     statusFile     // with what is known of it elsewhere, where it is not to be believed
	odd        map[string]any // what is wrong with the records of it, by field
	supervised bool           // its shim lives, and has something to do
	present    bool           // it runs, waits for a restart, or completed
	resource   stella.Resource
	component  stella.ComponentStatus
	notes      []string
}

func (h *Host) observeService(ctx context.Context, name string) (liveService, error) {
	l := liveService{odd: map[string]any{}}
	l.component = stella.ComponentStatus{Name: name, State: stella.RunMissing, Health: stella.RunHealthNone}
	if err := h.judge(&l); err != nil {
		return l, err
	}
	if err := h.findSpec(&l); err != nil {
		return l, err
	}
	l.component.Desired, _ = l.spec.Resource.Fields["image"].(string)
	if !l.present {
		return l, nil
	}
	return l, h.liveResource(ctx, &l)
}

// isLost reports whether a file of ours is gone or not whole: somebody was at
// it, and the next apply writes it anew. A newer stella is not to be taken for
// somebody: it raises the version of target.json, too.
func isLost(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, stella.ErrTampered) || errors.Is(err, stella.ErrUnsupported)
}

// judge decides from the processes what state a service is in; the status is
// believed only as far as its processes bear it out. One that is lost counts as
// none.
func (h *Host) judge(l *liveService) error {
	c := &l.component
	lives, runs, err := h.look(l)
	if err != nil {
		return err
	}
	st := l.status
	process, _ := st.process()
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

// look reads a service's status and whether its shim and its process live. A
// shim that says of a dead process that it runs is about to say something else,
// or about to die itself: it is given a moment. So is one that has no status, or
// one that names a process which is not its own: after that it is not believed.
func (h *Host) look(l *liveService) (lives, runs bool, err error) {
	const moment = 500 * time.Millisecond
	for deadline := time.Now().Add(moment); ; {
		// First the shim: a status that is read after its end is its last word.
		shim, lives := h.lay.shimOf(l.component.Name)
		l.status, err = h.lay.readStatus(l.component.Name)
		if err != nil && !isLost(err) {
			return lives, false, err
		}
		process, runs := l.status.process()
		if runs && !lives { // it may have been started meanwhile
			shim, lives = h.lay.shimOf(l.component.Name)
		}
		doubtful := lives && (err != nil || runs && parentOf(process.PID) != shim.PID)
		late := time.Now().After(deadline)
		if doubtful && late {
			return lives, l.doubt(shim, err), nil
		}
		if !doubtful && (!lives || runs || l.status.State != stella.RunRunning || late) {
			return lives, runs, nil
		}
		<-time.After(killPoll)
	}
}

// unsupervised counts the processes of a service that has no shim.
func (h *Host) unsupervised(l *liveService) int {
	if l.supervised {
		return 0
	}
	return len(h.processesOf(l.component.Name))
}
