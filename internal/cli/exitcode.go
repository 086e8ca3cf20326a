package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// The exit codes. They are a contract with scripts: never renumbered, and used
// nowhere but in this file.
const (
	exitDone     = 0
	exitNo       = 1
	exitUnknown  = 2
	exitFailed   = 3
	exitPartial  = 4
	exitRefused  = 5
	exitLocked   = 6
	exitTimeout  = 7
	exitReview   = 8
	exitCodeLast = exitReview
)

// exitMeaning says what a code means, in the words of the documentation.
func exitMeaning(code int) string {
	return [exitCodeLast + 1]string{
		exitDone:    "done; no difference; healthy; ready",
		exitNo:      "the answer is no: drift, unhealthy, missing artifact, not ready, a check failed",
		exitUnknown: "could not tell or could not start: usage, configuration, Git or network error",
		exitFailed:  "the operation failed and the environment is in a known, consistent state (said which)",
		exitPartial: "partial: some targets changed and others not, or owed",
		exitRefused: "refused by preflight: artifact missing, target unreachable, irreversible, hold, conflict",
		exitLocked:  "locked or frozen",
		exitTimeout: "timed out waiting; the operation goes on, its id is printed",
		exitReview:  "done and verified on a pin, the pull request is outstanding; for a deploy: pushed for review, nothing applied",
	}[code]
}

// The exit codes that a kind of command can end with, for its help.
func exitsOfReading() []int  { return []int{exitDone, exitUnknown} }
func exitsOfQuestion() []int { return []int{exitDone, exitNo, exitUnknown} }
func exitsOfLedger() []int   { return []int{exitDone, exitUnknown, exitRefused, exitLocked} }
func exitsOfChange() []int {
	return []int{exitDone, exitUnknown, exitFailed, exitPartial, exitRefused, exitLocked, exitTimeout, exitReview}
}

// noError is the answer "no": everything was printed, nothing went wrong. The
// hint names the next command all the same.
type noError struct{ hint string }

func (noError) Error() string { return "the answer is no" }

// answer turns the answer to a yes-or-no question into what a command returns.
func answer(yes bool, hint string) error {
	if yes {
		return nil
	}
	return noError{hint}
}

// exitCode is the one place where an error becomes an exit code.
func (a *App) exitCode(err error) int {
	var no noError
	var verdict *outcomeError
	var several *severalError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &no):
		return exitNo
	case errors.As(err, &several):
		return several.code
	case errors.As(err, &verdict):
		return verdict.code
	case isInterrupted(err) && a.followed:
		return exitTimeout
	}
	return exitOfClass(err)
}

// exitOfClass maps the class of an error. Rules are tried in order: what was
// refused is told apart before why.
func exitOfClass(err error) int {
	rules := []struct {
		class error
		code  int
	}{
		{stella.ErrRefused, exitRefused},
		{stella.ErrConflict, exitRefused},
		{stella.ErrLocked, exitLocked},
		{stella.ErrFrozen, exitLocked},
		{stella.ErrFenced, exitLocked},
		{stella.ErrTimeout, exitTimeout},
		{stella.ErrUnhealthy, exitNo},
	}
	for _, r := range rules {
		if errors.Is(err, r.class) {
			return r.code
		}
	}
	return exitUnknown
}

// exitOf is the exit code of a request that may have recorded a deployment and
// ended with an error all the same. The class of the error says more than the
// deployment, but for an interruption: there it counts what was recorded.
func (a *App) exitOf(o reconciler.Outcome, err error) int {
	switch {
	case err == nil:
		return exitOfOutcome(o)
	case o.Deployment != nil && (isInterrupted(err) || classOf(err).is == nil):
		return exitOfOutcome(o)
	}
	return a.exitCode(err)
}

// exitOfOutcome is the exit code of a request that was carried out, or that
// came to nothing.
func exitOfOutcome(o reconciler.Outcome) int {
	switch {
	case o.Rollback != nil && o.Rollback.Status == stella.Succeeded:
		return exitFailed
	case o.Rollback != nil:
		return exitPartial
	case o.Deployment != nil && !o.Detached && o.Deployment.Status != stella.Succeeded:
		return exitOfStatus(o.Deployment.Status)
	case o.Proposal != nil, o.Offline:
		return exitReview
	case o.Deployment != nil || o.Nothing || o.Detached || o.Committed:
		return exitDone
	}
	return exitOfSync(o.Sync)
}

// exitOfSync is the exit code of a pass that recorded nothing and still did not
// find everything as wanted.
func exitOfSync(s stella.Sync) int {
	switch s {
	case stella.Held:
		return exitRefused
	case stella.Invalid, stella.SyncUnknown:
		return exitUnknown
	case stella.SyncFailed:
		return exitFailed
	case stella.SyncPartial:
		return exitPartial
	case stella.Synced, stella.OutOfSync, stella.Progressing, stella.Pinned:
	}
	return exitDone
}

func exitOfStatus(s stella.Status) int {
	switch s {
	case stella.Succeeded:
		return exitDone
	case stella.Partial:
		return exitPartial
	case stella.Failed, stella.Aborted:
		return exitFailed
	case stella.Errored, stella.Superseded:
		return exitRefused
	case stella.Pending, stella.Running:
		return exitTimeout
	}
	return exitUnknown
}

// worst returns the exit code of several requests as one: what needs a person
// first counts most.
func worst(codes []int) int {
	for _, code := range []int{exitPartial, exitFailed, exitRefused, exitLocked, exitTimeout, exitUnknown, exitReview, exitNo} {
		if slices.Contains(codes, code) {
			return code
		}
	}
	return exitDone
}

// isInterrupted reports whether a person ended it.
func isInterrupted(err error) bool {
	return errors.Is(err, ErrInterrupted) || errors.Is(err, context.Canceled)
}
