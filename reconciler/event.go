package reconciler

import (
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/health"
)

// Event is something that happened while the engine worked. It is the only way
// that the engine speaks; terminal, log and metrics subscribe.
type Event interface{ event() }

// Started says that a deployment begins: its intent is recorded.
type Started struct{ Deployment stella.Deployment }

// StepBegan says that a step of a deployment begins.
type StepBegan struct {
	Environment stella.EnvName
	Deployment  string // may be empty before the intent is recorded
	Step        stella.Step
}

// StepEnded says how a step ended.
type StepEnded struct {
	Environment stella.EnvName
	Deployment  string
	Step        stella.Step
}

// ActionDone says that one action on one target was carried out, or not.
type ActionDone struct {
	Environment stella.EnvName
	Deployment  string
	Target      string
	Action      stella.Action
	Err         error
}

// Checked carries one round of verification.
type Checked struct {
	Environment stella.EnvName
	Deployment  string
	Results     []health.Result
}

// Waiting says what the engine waits for, and again when that changes.
type Waiting struct {
	Environment stella.EnvName
	For         string
	Since       time.Time
}

// Ended says how a deployment ended, after that was recorded.
type Ended struct{ Deployment stella.Deployment }

// Warned is something that a person should know and that stops nothing.
type Warned struct {
	Environment stella.EnvName
	Text        string
}

func (Started) event()    {}
func (StepBegan) event()  {}
func (StepEnded) event()  {}
func (ActionDone) event() {}
func (Checked) event()    {}
func (Waiting) event()    {}
func (Ended) event()      {}
func (Warned) event()     {}
