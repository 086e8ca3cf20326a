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

// HTTP asks a URL with GET.
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

// Result is the answer to one Check.
type Result struct {
	Name    string
	Target  string // empty for the whole environment
	OK      bool
	Latency time.Duration
	Error   string // why not: one short printable line; empty where OK
}

// Executor runs a command in a component of a target. It returns the command's
// output, and an error where the command could not run or did not exit with 0.
type Executor interface {
	Exec(ctx context.Context, target, component string, command []string) (output string, err error)
}

// DefaultTimeout bounds one try of a check that names no timeout of its own.
const DefaultTimeout = 5 * time.Second
