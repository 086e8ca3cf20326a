package artifact

import "time"

// ImageConfig is what an image says about how to run it: the part of the OCI
// image configuration that a target needs. It is data of whoever built the
// image, never a command to us.
type ImageConfig struct {
	Entrypoint   []string
	Cmd          []string
	Env          []string // "NAME=value"
	User         string
	WorkingDir   string
	StopSignal   string
	Volumes      []string // sorted
	ExposedPorts []string // "8080/tcp", sorted
	Labels       map[string]string
	Healthcheck  *Healthcheck // nil where the image has none
	Platform     string       // "linux/amd64"
}

// Healthcheck is the image's own. Zero durations and retries mean the
// runtime's defaults.
type Healthcheck struct {
	Test          []string // {"NONE"}, {"CMD", …} or {"CMD-SHELL", …}
	Interval      time.Duration
	Timeout       time.Duration
	StartPeriod   time.Duration
	StartInterval time.Duration
	Retries       int
}
