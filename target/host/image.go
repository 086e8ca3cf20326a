package host

import (
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// releaseFile is release.json: what a release holds. It is a stored format and
// covered by the seal.
type releaseFile struct {
	SchemaVersion int               `json:"schemaVersion"` // 1
	Image         string            `json:"image"`         // as it was asked for first, with its digest
	Manifest      stella.Digest     `json:"manifest"`      // of this machine's platform
	Config        imageConfig       `json:"config"`
	Configs       []configRecord    `json:"configs"`   // files that Compose configs put there, sorted by path
	Added         []string          `json:"added"`     // what the image does not have: mount points, parents; slash-separated, inside rootfs
	Displaced     map[string]string `json:"displaced"` // path in rootfs → file below displaced/ that was there
	HasCABundle   bool              `json:"hasCABundle"`
}

// configRecord is a config file of a release. Its content is checked by its
// digest, apart from the seal: a changed one is drift of the service's
// configuration and not of its image.
type configRecord struct {
	Path   string        `json:"path"` // as the service calls it
	File   string        `json:"file"` // inside rootfs, with links resolved
	Digest stella.Digest `json:"digest"`
	Mode   uint32        `json:"mode"`
	Owner  string        `json:"owner,omitempty"` // "uid:gid"; absent in releases that were made before it was kept
}

// imageConfig is artifact.ImageConfig as it is stored.
type imageConfig struct {
	Entrypoint  []string     `json:"entrypoint"`
	Cmd         []string     `json:"cmd"`
	Env         []string     `json:"env"`
	User        string       `json:"user"`
	WorkingDir  string       `json:"workingDir"`
	StopSignal  string       `json:"stopSignal"`
	Healthcheck *imageHealth `json:"healthcheck"`
}

// imageHealth is an image's own healthcheck; zero means the default.
type imageHealth struct {
	Test                 []string `json:"test"`
	IntervalSeconds      float64  `json:"intervalSeconds"`
	TimeoutSeconds       float64  `json:"timeoutSeconds"`
	StartPeriodSeconds   float64  `json:"startPeriodSeconds"`
	StartIntervalSeconds float64  `json:"startIntervalSeconds"`
	Retries              int      `json:"retries"`
}

func storedConfig(c artifact.ImageConfig) imageConfig {
	out := imageConfig{
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User, WorkingDir: c.WorkingDir, StopSignal: c.StopSignal,
	}
	if hc := c.Healthcheck; hc != nil {
		out.Healthcheck = &imageHealth{
			Test: hc.Test, Retries: hc.Retries, IntervalSeconds: hc.Interval.Seconds(), TimeoutSeconds: hc.Timeout.Seconds(),
			StartPeriodSeconds: hc.StartPeriod.Seconds(), StartIntervalSeconds: hc.StartInterval.Seconds(),
		}
	}
	return out
}

// healthcheck is what decides whether a process is healthy: the service's own
// over its image's, field by field, over Docker's defaults.
type healthcheck struct {
	test          []string // "CMD" or "CMD-SHELL" first
	interval      time.Duration
	timeout       time.Duration
	startPeriod   time.Duration
	startInterval time.Duration
	retries       int
}

// newHealthcheck merges; nil where there is none.
func newHealthcheck(s service, img imageConfig) *healthcheck {
	hc := healthcheck{interval: 30 * time.Second, timeout: 30 * time.Second, startInterval: 5 * time.Second, retries: 3}
	set := func(d *time.Duration, seconds float64) {
		if seconds > 0 {
			*d = time.Duration(seconds * float64(time.Second))
		}
	}
	if i := img.Healthcheck; i != nil {
		hc.test = i.Test
		set(&hc.interval, i.IntervalSeconds)
		set(&hc.timeout, i.TimeoutSeconds)
		set(&hc.startPeriod, i.StartPeriodSeconds)
		set(&hc.startInterval, i.StartIntervalSeconds)
		if i.Retries > 0 {
			hc.retries = i.Retries
		}
	}
	if f := s.fields.Healthcheck; f != nil {
		if len(f.Test) > 0 {
			hc.test = f.Test
		}
		for d, v := range map[*time.Duration]*float64{
			&hc.interval: f.IntervalSeconds, &hc.timeout: f.TimeoutSeconds,
			&hc.startPeriod: f.StartPeriodSeconds, &hc.startInterval: f.StartIntervalSeconds,
		} {
			if v != nil {
				set(d, *v)
			}
		}
		if f.Retries != nil && *f.Retries > 0 {
			hc.retries = int(*f.Retries)
		}
	}
	if len(hc.test) == 0 || hc.test[0] == "NONE" {
		return nil
	}
	hc.startInterval = min(hc.startInterval, hc.interval)
	return &hc
}

// command is the probe's command line.
func (hc healthcheck) command() []string {
	switch hc.test[0] {
	case "CMD":
		return hc.test[1:]
	case "CMD-SHELL":
		if len(hc.test) > 1 {
			return shell(hc.test[1])
		}
		return nil
	}
	return hc.test // an image of an old builder: the command itself
}

// patience is how long a service that starts may take until its healthcheck
// has given a verdict.
func (hc healthcheck) patience() time.Duration {
	const slack = 10 * time.Second
	return hc.startPeriod + time.Duration(hc.retries+1)*(hc.interval+hc.timeout) + slack
}

// stopSignal is the service's, else its image's, else SIGTERM.
func stopSignal(s service, img imageConfig) string {
	if s.fields.StopSignal != "" {
		return s.fields.StopSignal
	}
	return img.StopSignal
}
