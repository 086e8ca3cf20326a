package reconciler

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/stella-ops/stella/internal/safe"
)

// errPanicked: a driver, a check or a client of a registry has a defect. It has
// no class: nobody can do anything about it but mend it, and nobody may conclude
// that nothing was touched.
var errPanicked = errors.New("a defect in stella")

// guard runs fn and makes a panic in it an error of whom fn was called for: it
// would end the process, and with it the work on all other targets and
// environments. Where it happened goes to the log. A goroutine that calls a
// driver, a registry or a subscriber needs one of its own.
func (e *Engine) guard(what string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e.cfg.Logger.Error("panic", "in", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s: %w: panic: %s", what, errPanicked, safe.Clip(fmt.Sprint(p), 200))
		}
	}()
	return fn()
}
