package cli

import (
	"context"

	"github.com/stella-ops/stella/internal/sampleapp"
	"github.com/stella-ops/stella/target/host"
)

// The hidden commands: what stella runs of itself, never a person. They see
// their arguments as they are.
const (
	hiddenShim   = host.ShimCommand // supervises a component of a host target
	hiddenSample = "sample-app"     // is the application of the quickstart
)

// IsShim reports whether a command line runs the supervisor of a host target,
// which handles signals itself.
func IsShim(args []string) bool { return len(args) > 0 && args[0] == hiddenShim }

// runHidden runs a hidden command.
func runHidden(ctx context.Context, p Process) (code int, ok bool) {
	switch {
	case IsShim(p.Args):
		return host.Shim(ctx, p.Args[1:], p.Stderr), true
	case len(p.Args) == 2 && p.Args[0] == hiddenSample && p.Args[1] == "check":
		return sampleapp.Check(ctx, p.Getenv, p.Stderr), true
	case len(p.Args) > 0 && p.Args[0] == hiddenSample:
		return sampleapp.Run(ctx, p.Getenv, p.Stderr), true
	}
	return 0, false
}
