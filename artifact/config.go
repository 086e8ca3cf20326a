package artifact

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

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
	Platform     string       // "linux/amd64"; empty where the image does not say
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

// configFile is the OCI image configuration, as far as it is used here; Docker's
// is the same with durations in nanoseconds.
type configFile struct {
	jsonPlatform
	Created any `json:"created"`
	RootFS  struct {
		DiffIDs []stella.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	Config struct {
		Entrypoint, Cmd, Env         []string
		User, WorkingDir, StopSignal string
		Volumes, ExposedPorts        map[string]struct{}
		Labels                       map[string]string
		Healthcheck                  *Healthcheck
	} `json:"config"`
}

// config fetches and checks the configuration of an image.
func (s *session) config(ctx context.Context, what string, m *manifest) (*configFile, error) {
	var file *configFile
	err := s.client.retry(ctx, what, func() error {
		raw, _, err := s.document(ctx, "blobs/"+string(m.config.Digest))
		if err != nil {
			return err
		}
		file, err = parseConfig(raw, m)
		return err
	})
	return file, err
}

func parseConfig(raw []byte, m *manifest) (*configFile, error) {
	if got := digest(raw); got != m.config.Digest || int64(len(raw)) != m.config.Size {
		return nil, problem(stella.ErrTampered, "the configuration is %d bytes with digest %s, not the %d bytes with digest %s that the manifest names",
			len(raw), got, m.config.Size, m.config.Digest)
	}
	if _, err := objectKeys(raw, "os", "architecture", "variant", "rootfs", "config"); err != nil {
		return nil, problem(stella.ErrInvalid, "the configuration is no clean JSON: %s", safe.Clip(err.Error(), 80))
	}
	var file configFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, problem(stella.ErrInvalid, "the configuration is none: %s", safe.Clip(err.Error(), 80))
	}
	if len(file.RootFS.DiffIDs) != len(m.layers) {
		return nil, problem(stella.ErrInvalid, "the configuration names %d layers, the manifest %d", len(file.RootFS.DiffIDs), len(m.layers))
	}
	for _, d := range file.RootFS.DiffIDs {
		if _, err := stella.ParseDigest(string(d)); err != nil {
			return nil, problem(stella.ErrInvalid, "the configuration names a layer by no sha256: %q", safe.Clip(string(d), 80))
		}
	}
	if strings.ContainsRune(strings.Join(slices.Concat(file.Config.Entrypoint, file.Config.Cmd, file.Config.Env), ""), 0) {
		return nil, problem(stella.ErrInvalid, "the configuration has a NUL in its command or environment")
	}
	return &file, nil
}

// check makes sure that the image is for the host. Images from tools that
// leave the platform out are taken at their word: none.
func (f *configFile) check(host Platform) error {
	if p := f.platform(); f.OS != "" && p.runs(host) == 0 {
		return wrongPlatform(host, []string{safe.Clip(p.String(), 40)})
	}
	return nil
}

// created returns when the image was built, zero where it says nothing usable.
func (f *configFile) created() time.Time {
	text, _ := f.Created.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

func (f *configFile) imageConfig() ImageConfig {
	c := ImageConfig{
		Entrypoint: f.Config.Entrypoint, Cmd: f.Config.Cmd, Env: f.Config.Env,
		User: f.Config.User, WorkingDir: f.Config.WorkingDir, StopSignal: f.Config.StopSignal,
		Volumes: slices.Sorted(maps.Keys(f.Config.Volumes)), ExposedPorts: slices.Sorted(maps.Keys(f.Config.ExposedPorts)),
		Labels: f.Config.Labels, Healthcheck: f.Config.Healthcheck,
	}
	if f.OS != "" {
		c.Platform = safe.Clip(f.platform().String(), 40)
	}
	return c
}
