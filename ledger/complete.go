package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stella-ops/stella"
)

// filler completes events: what a caller need not say is filled in here, so
// that what is stored says everything and replay needs nothing else.
type filler struct {
	o   Options
	now time.Time
}

// complete fills in what is zero in an event that is about to be applied to b,
// and brings it into the very form that a reader of the stored file gets.
func (f filler) complete(b Book, e Event) (Event, error) {
	if e == nil {
		return nil, refuse(stella.ErrInvalid, "no event")
	}
	e = f.fill(b, e.withMeta(f.meta(e.meta())))
	raw, err := marshalEvent(e)
	if err != nil {
		return nil, err
	}
	return unmarshalEvent(raw)
}

func (f filler) meta(m Meta) Meta {
	if m.At.IsZero() {
		m.At = f.now
	}
	m.By = or(m.By, f.o.Actor)
	m.Version = or(m.Version, f.o.Version)
	m.Nonce = or(m.Nonce, nonce())
	if m.Rules == 0 {
		m.Rules = RulesVersion
	}
	return m
}

func (f filler) fill(b Book, e Event) Event {
	m := e.meta()
	switch e := e.(type) {
	case Begin:
		e.Deployment = f.open(b, e.Deployment, stella.Running, m)
		e.Lock = f.lock(b, e.Lock, e.FenceFloor, m)
		e.Lock.Deployment = or(e.Lock.Deployment, e.Deployment.ID)
		e.Lock.Purpose = or(e.Lock.Purpose, purpose(e.Deployment))
		if e.Deployment.Fence == 0 {
			e.Deployment.Fence = e.Lock.Fence
		}
		return e
	case Request:
		e.Deployment = f.open(b, e.Deployment, stella.Pending, m)
		return e
	case Progress:
		if e.ExpiresAt.IsZero() {
			e.ExpiresAt = m.At.Add(f.o.Lease)
		}
		e.Steps, e.Targets = fitSteps(e.Steps), fitTargets(e.Targets)
		return e
	case Finish:
		return f.finish(b, e)
	case Abort:
		e.Reason, e.Targets = clip(e.Reason), fitTargets(e.Targets)
		return e
	case Lock:
		e.Lock = f.lock(b, e.Lock, e.FenceFloor, m)
		return e
	case Note:
		if e.Stopped != nil {
			s := *e.Stopped
			s.By, s.Reason = or(s.By, m.By), clip(s.Reason)
			if s.At.IsZero() {
				s.At = m.At
			}
			e.Stopped = &s
		}
		return e
	case PinTo:
		e.Pin.By = or(e.Pin.By, m.By)
		if e.Pin.Since.IsZero() {
			e.Pin.Since = m.At
		}
		e.Pin.Reason, e.Hold = clip(e.Pin.Reason), f.hold(b, e.Hold, m)
		return e
	default:
		return e
	}
}

func purpose(d stella.Deployment) string {
	if d.Release == "" {
		return string(d.Kind)
	}
	return fmt.Sprintf("%s %s", d.Kind, d.Release)
}

func (f filler) open(b Book, d stella.Deployment, s stella.Status, m Meta) stella.Deployment {
	d.SchemaVersion = schemaVersion
	d.Environment = stella.EnvName(or(string(d.Environment), string(b.State.Environment)))
	if known, ok := b.Deployment(d.ID); ok && d.Sequence == 0 {
		d.Sequence = known.Sequence
	}
	if d.Sequence == 0 {
		d.Sequence = b.State.Sequence + 1
	}
	d.ID = or(d.ID, DeploymentID(d.Environment, d.Sequence))
	d.Status = stella.Status(or(string(d.Status), string(s)))
	d.Actor = or(d.Actor, m.By)
	if d.StartedAt.IsZero() {
		d.StartedAt = m.At
	}
	return fit(d)
}

func (f filler) lock(b Book, l stella.Lock, floor int64, m Meta) stella.Lock {
	l.ID = or(l.ID, nonce())
	l.Holder = or(l.Holder, m.By)
	l.Machine = or(l.Machine, f.o.Machine)
	if l.AcquiredAt.IsZero() {
		l.AcquiredAt = m.At
	}
	if l.RenewedAt.IsZero() {
		l.RenewedAt = l.AcquiredAt
	}
	if l.ExpiresAt.IsZero() && !l.ByHand {
		l.ExpiresAt = l.AcquiredAt.Add(f.o.Lease)
	}
	if l.Fence == 0 {
		l.Fence = max(b.State.Fence, floor) + 1
	}
	return l
}

func (f filler) finish(b Book, e Finish) Event {
	m, d := e.meta(), e.Deployment
	if known, ok := b.Deployment(d.ID); ok {
		d = inherit(d, known)
	}
	if d.FinishedAt == nil {
		at := m.At
		d.FinishedAt = &at
	}
	if d.DurationSeconds == 0 {
		d.DurationSeconds = max(0, d.FinishedAt.Sub(d.StartedAt).Seconds())
	}
	e.Deployment = fit(d)
	e.Hold = f.hold(b, e.Hold, m)
	return e
}

func (f filler) hold(b Book, h *stella.Hold, m Meta) *stella.Hold {
	if h == nil {
		return nil
	}
	full := *h
	full.ID = or(full.ID, "hold-"+nonce())
	full.Environment = stella.EnvName(or(string(full.Environment), string(b.State.Environment)))
	full.By, full.Reason = or(full.By, m.By), clip(full.Reason)
	if full.Since.IsZero() {
		full.Since = m.At
	}
	return &full
}

// inherit fills in what a running record already says of its deployment.
func inherit(d, known stella.Deployment) stella.Deployment {
	d.SchemaVersion = schemaVersion
	d.Environment = stella.EnvName(or(string(d.Environment), string(known.Environment)))
	d.Kind = stella.Kind(or(string(d.Kind), string(known.Kind)))
	d.Actor = or(d.Actor, known.Actor)
	if d.Sequence == 0 {
		d.Sequence = known.Sequence
	}
	if d.StartedAt.IsZero() {
		d.StartedAt = known.StartedAt
	}
	if d.Fence == 0 {
		d.Fence = known.Fence
	}
	return d
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// nonce is random: nothing that carries one is ever equal to anything else.
func nonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return hex.EncodeToString(b[:])
}
