package health

import (
	"context"
	"time"
)

// Check is one question about a running environment. Exactly one of HTTP, TCP
// and Exec is set.
type Check struct {
	Name   string
	Target string // empty for a check of the whole environment
	HTTP   *HTTP
	TCP    *TCP
	Exec   *Exec
	// Timeout bounds one try; zero means DefaultTimeout.
	Timeout time.Duration
}

// HTTP asks a URL with GET. At most three redirects are followed, on the same
// host and port only; where Status is itself a redirect, none.
type HTTP struct {
	URL          string // http or https
	Status       int    // the status wanted; zero means 200
	BodyContains string // text that the body's first 64 KiB must contain; empty accepts any body
}

// TCP opens a connection and closes it.
type TCP struct {
	Address string // host:port
}

// Exec runs a command in a component; status 0 is healthy.
type Exec struct {
	Component string
	Command   []string // argv; never a shell's line
}

// Result is the answer to one Check, or one observation of a Probe.
type Result struct {
	Name    string
	Target  string // empty for the whole environment
	OK      bool
	Latency time.Duration
	Error   string // why not: one short printable line; empty where OK
	// Output is the end of what a failed command printed, printable, at most a
	// few lines. It is for a terminal only and never recorded: programs print
	// secrets.
	Output string
	// Instance names what answered, where the one who asked can tell: a
	// process by its start, a container by its id and restarts. Another one in
	// the next round means that something ended in between. Empty: not known.
	Instance string
}

// Executor runs a command in a component of a target. It returns the command's
// output, bounded, and an error where the command could not run or did not
// exit with 0. It returns soon after ctx ends.
type Executor interface {
	Exec(ctx context.Context, target, component string, command []string) (output string, err error)
}

// DefaultTimeout bounds one try of a check that names no timeout of its own.
const DefaultTimeout = 5 * time.Second
