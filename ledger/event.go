package ledger

import (
	"time"

	"github.com/stella-ops/stella"
)

// RulesVersion is the newest version of the transition rules that this binary
// knows. It grows when a transition starts to mean something else, or when a
// stored file gains a field that an older binary must not drop.
const RulesVersion = 2

// Meta says who made a transition, when and by which rules. [Ledger.Append]
// fills in what is zero.
type Meta struct {
	At      time.Time `json:"at"`      // UTC, by the writer's clock; shown, never compared
	By      string    `json:"by"`      // who: "ana@example.com"
	Version string    `json:"version"` // of stella
	Rules   int       `json:"rules"`   // version of the transition rules, from 1
	Nonce   string    `json:"nonce"`   // random: two equal transitions are two commits
}

// Event is one thing that may happen to an environment. It is sealed: the
// types in this file are all there are. Events are values.
type Event interface {
	event()
	meta() Meta
	withMeta(m Meta) Event
}

// Begin makes a new or pending deployment running and takes the lock for it.
//
// Zero fields that [Ledger.Append] fills in: Deployment.ID, Sequence,
// Environment, Actor, StartedAt and Fence; all of Lock but Purpose.
type Begin struct {
	Meta
	Deployment stella.Deployment `json:"deployment"`
	Lock       stella.Lock       `json:"lock"`
	// Takeover is the id of the lock that this one replaces: one seen stale, or
	// the writer's own (see Finish.KeepLock). A deployment that still runs under
	// it ends as aborted.
	Takeover string `json:"takeover"`
	// FenceFloor is the highest fence found on the targets: the new lock's fence
	// is above it.
	FenceFloor int64 `json:"fenceFloor"`
	// Includes are pending deployments that are carried out by this one; they
	// end as superseded, as does Deployment.Supersedes.
	Includes []string `json:"includes"`
}

// Request records a deployment as pending, without a lock. It is allowed while
// another one runs, not in a frozen environment. [Ledger.Append] fills in the
// same fields of Deployment as for Begin. A pending deployment named in
// Deployment.Supersedes ends as superseded.
type Request struct {
	Meta
	Deployment stella.Deployment `json:"deployment"`
}

// Progress renews the lock and records how far its deployment is. Zero fields
// leave what is recorded. Without a deployment (ID empty) it renews a lock that
// has none.
type Progress struct {
	Meta
	ID      string                `json:"id"` // the deployment; must be the lock's
	LockID  string                `json:"lockID"`
	Commit  string                `json:"commit"` // once the branch commit exists
	Tree    string                `json:"tree"`
	Steps   []stella.Step         `json:"steps"`   // nil: unchanged; otherwise the whole list
	Targets []stella.TargetResult `json:"targets"` // nil: unchanged; otherwise the whole list
	// ExpiresAt is filled in as now plus the lease when zero.
	ExpiresAt time.Time `json:"expiresAt"`
}

// Finish records the outcome of the running deployment and gives its lock
// back.
type Finish struct {
	Meta
	// Deployment is the whole record with an ended status. FinishedAt and
	// DurationSeconds are filled in when zero; identity, kind, actor, start and
	// fence are those of the running record and are filled in when zero.
	Deployment stella.Deployment `json:"deployment"`
	LockID     string            `json:"lockID"`
	// Hold is the memory to keep of what was rolled back, nil for none. ID,
	// Environment, Since and By are filled in when zero.
	Hold *stella.Hold `json:"hold"`
	// KeepLock keeps the lock, without a deployment, for what follows at once:
	// a Begin that names it as Takeover.
	KeepLock bool `json:"keepLock"`
	// Current says that this deployment is verified and in effect from now on;
	// only a succeeded one can be.
	Current bool `json:"current"`
}

// Abort ends an open deployment before its end, by a person or by repair. A
// running one is aborted only together with its lock, which LockID must name:
// by its holder, or by who has seen that lock stale.
type Abort struct {
	Meta
	ID      string                `json:"id"`
	LockID  string                `json:"lockID"`
	Reason  string                `json:"reason"`
	Targets []stella.TargetResult `json:"targets"` // as observed now; nil: as recorded
}

// Lock takes the lock without a deployment: by hand (a freeze, which needs
// ExpiresAt and a Purpose) or for work that is not a deployment. Append fills
// in what it does for Begin.Lock.
type Lock struct {
	Meta
	Lock       stella.Lock `json:"lock"`
	Takeover   string      `json:"takeover"` // as for Begin
	FenceFloor int64       `json:"fenceFloor"`
}

// Unlock gives a lock back. Force, which needs a Reason, is for one that
// belongs to somebody else or has a deployment running under it: that one ends
// as aborted.
type Unlock struct {
	Meta
	LockID string `json:"lockID"`
	Reason string `json:"reason"`
	Force  bool   `json:"force"`
}

// Lift ends a hold. Nothing else does.
type Lift struct {
	Meta
	HoldID string `json:"holdID"`
	Reason string `json:"reason"`
}

// Note records what was seen: it needs no lock. An Append of nothing but a
// Note that changes nothing is not written.
type Note struct {
	Meta
	Summary Summary `json:"summary"`
	// Machines are identities of targets to remember. The first one met stays:
	// another is recorded only after the target was forgotten.
	Machines map[string]string `json:"machines"`
	// Forget are targets that are no more: their machine and debt are dropped.
	Forget []string `json:"forget"`
	// Stopped says that a person ended what runs; nil leaves what is recorded.
	// From rules 2 on.
	Stopped *Stopped `json:"stopped,omitempty"`
}

// Found records what a look for drift found that was not known: findings that
// began and ended, and nothing else, so that a look that finds what is known
// writes nothing. It needs no lock, and is refused as long as a deployment runs:
// what is seen half way is no drift. From rules 2 on.
type Found struct {
	Meta
	// Sequence is of the newest deployment when the targets were observed: what was
	// seen before a newer one is refused.
	Sequence int64                 `json:"sequence"`
	Opened   []stella.DriftFinding `json:"opened"`
	// Ended are findings that are open, as they are from now on: with how they
	// ended, and when. What they are about and since when is not changed.
	Ended []stella.DriftFinding `json:"ended"`
	// Seen are the targets that were read, at SeenAt: what stays open on them was
	// still there.
	Seen   []string  `json:"seen"`
	SeenAt time.Time `json:"seenAt"`
	// Uncounted is how many more differences there are than are kept open.
	Uncounted int `json:"uncounted"`
}

// PinTo pins the environment to a commit that is not on its branch yet.
type PinTo struct {
	Meta
	Pin Pin `json:"pin"` // Since and By are filled in when zero
	// Hold is the memory of what the branch still asks for, as for Finish: from
	// the same moment on it must not come back.
	Hold *stella.Hold `json:"hold"`
}

// Unpin ends the pin.
type Unpin struct {
	Meta
	Reason string `json:"reason"`
}

func (Begin) event()    {}
func (Request) event()  {}
func (Progress) event() {}
func (Finish) event()   {}
func (Abort) event()    {}
func (Lock) event()     {}
func (Unlock) event()   {}
func (Lift) event()     {}
func (Note) event()     {}
func (PinTo) event()    {}
func (Unpin) event()    {}
func (Found) event()    {}

func (m Meta) meta() Meta { return m }

func (e Begin) withMeta(m Meta) Event    { e.Meta = m; return e }
func (e Request) withMeta(m Meta) Event  { e.Meta = m; return e }
func (e Progress) withMeta(m Meta) Event { e.Meta = m; return e }
func (e Finish) withMeta(m Meta) Event   { e.Meta = m; return e }
func (e Abort) withMeta(m Meta) Event    { e.Meta = m; return e }
func (e Lock) withMeta(m Meta) Event     { e.Meta = m; return e }
func (e Unlock) withMeta(m Meta) Event   { e.Meta = m; return e }
func (e Lift) withMeta(m Meta) Event     { e.Meta = m; return e }
func (e Note) withMeta(m Meta) Event     { e.Meta = m; return e }
func (e PinTo) withMeta(m Meta) Event    { e.Meta = m; return e }
func (e Unpin) withMeta(m Meta) Event    { e.Meta = m; return e }
func (e Found) withMeta(m Meta) Event    { e.Meta = m; return e }
