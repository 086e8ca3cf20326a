package reconciler

import (
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// undoMessage words the commit that undoes one other in git's words. Where that
// one changed other things, too, which stay, it is said to be undone in the
// environment only.
func undoMessage(env stella.EnvName, u *undo, why intent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nThis reverts commit %s", revertOf(u.commit), u.commit.ID)
	switch {
	case len(u.elsewhere) > 0:
		fmt.Fprintf(&b, " in envs/%s", env)
	case len(u.commit.Parents) > 1:
		fmt.Fprintf(&b, ", reversing\nchanges made to %s", u.parent)
	}
	fmt.Fprintf(&b, ".\n\nStella-Environment: %s\n", env)
	if why.reason != "" {
		fmt.Fprintf(&b, "Stella-Reason: %s\n", safe.Clip(why.reason, maxReasonRunes))
	}
	if why.opts.Incident != "" {
		fmt.Fprintf(&b, "Stella-Incident: %s\n", safe.Clip(why.opts.Incident, maxReasonRunes))
	}
	return b.String()
}
