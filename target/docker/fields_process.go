package docker

import (
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/stella-ops/stella"
)

// processAttributes are what runs, and as whom.
func processAttributes() []attribute {
	return []attribute{
		{field: "image", set: setImage, get: getImage, asIs: true},
		{
			field: "entrypoint",
			set:   func(c *compiler, path string, v any) { c.bp.config.Entrypoint = c.texts(path, v) },
			get:   func(s *side) any { return listOf(s.bp.config.Entrypoint) },
		},
		{
			field: "command",
			set:   func(c *compiler, path string, v any) { c.bp.config.Cmd = c.texts(path, v) },
			get:   func(s *side) any { return listOf(s.bp.config.Cmd) },
		},
		{field: "environment", set: setEnvironment, get: getEnvironment, asIs: true},
		{field: "labels", set: setLabels, get: getLabels},
		pairsField("annotations", func(bp *blueprint) *map[string]string { return &bp.host.Annotations }).from("1.43"),
		textField("user", func(bp *blueprint) *string { return &bp.config.User }),
		textField("workingDir", func(bp *blueprint) *string { return &bp.config.WorkingDir }),
		textField("stopSignal", func(bp *blueprint) *string { return &bp.config.StopSignal }),
		{field: "stopGracePeriodSeconds", set: setGrace, get: getGrace},
		{field: "restart", set: setRestart, get: getRestart},
		{field: "healthcheck", set: setHealthcheck, get: getHealthcheck},
		flagField("tty", func(bp *blueprint) *bool { return &bp.config.Tty }),
		flagField("stdin_open", func(bp *blueprint) *bool { return &bp.config.OpenStdin }),
		{
			field: "init",
			set:   func(c *compiler, path string, v any) { on := c.flag(path, v); c.bp.host.Init = &on },
			get:   func(s *side) any { return flagOf(s.bp.host.Init) },
		},
		textField("platform", func(bp *blueprint) *string { return &bp.platform }).told(),
		{field: "logging", set: setLogging, get: getLogging},
	}
}

// from is an attribute that older engines do not know.
func (a attribute) from(api string) attribute { a.since = api; return a }

// told is an attribute that no inspection tells: it reads as asked.
func (a attribute) told() attribute {
	a.get = func(*side) any { return nil }
	return a
}

func flagOf(b *bool) any {
	if b == nil {
		return nil
	}
	return orNone(*b)
}

func setImage(c *compiler, path string, v any) {
	if c.bp.config.Image = c.text(path, v); c.bp.config.Image == "" {
		c.invalid(path, "is empty")
	}
}

// getImage reads as asked when the container was made of that image. An image is
// its content: a tag never decides.
func getImage(s *side) any {
	asked, _ := s.asked["image"].(string)
	id := s.bp.config.Image
	if s.bp.id == "" || id == "" {
		return orNone(asked)
	}
	if id == asked || s.image.asked != "" && s.image.asked == id {
		return asked
	}
	want, err := stella.ParseArtifact(asked)
	for _, name := range s.image.digests {
		if _, digest, ok := strings.Cut(name, "@"); ok && err == nil && want.Digest != "" && string(want.Digest) == digest {
			return asked
		}
	}
	if len(s.image.digests) > 0 {
		return s.image.digests[0]
	}
	return id
}

// setEnvironment leaves out what has no value: a label tells the names only.
func setEnvironment(c *compiler, path string, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		c.invalid(path, "is not a mapping")
		return
	}
	for _, name := range sortedNames(m) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			c.invalid(path, "has a name that no variable can have")
			continue
		}
		if m[name] != nil {
			c.bp.config.Env = append(c.bp.config.Env, name+"="+c.text(path+"."+name, m[name]))
		}
	}
}

// getEnvironment reads the variables that were asked for, and those that are
// not the image's.
func getEnvironment(s *side) any {
	asked, _ := s.asked["environment"].(map[string]any)
	known := map[string]bool{}
	for _, one := range s.image.config.Env {
		known[one] = true
	}
	out := map[string]any{}
	for _, one := range s.bp.config.Env {
		name, value, _ := strings.Cut(one, "=")
		_, named := asked[name]
		if named || !known[one] && !(s.engine.podman && podmanSets(name)) {
			out[name] = value
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// podmanSets reports whether Podman sets a variable in every container.
func podmanSets(name string) bool {
	switch name {
	case "container", "HOME", "HOSTNAME", "TERM", "PATH":
		return true
	}
	return false
}

// reserved reports whether a label is for Compose's and our own use.
func reserved(name string) bool {
	return strings.HasPrefix(name, "com.docker.compose.") || strings.HasPrefix(name, "stella.")
}

func setLabels(c *compiler, path string, v any) {
	c.bp.config.Labels = c.pairs(path, v)
	for _, name := range sortedNames(c.bp.config.Labels) {
		if reserved(name) {
			c.invalid(path, "has "+name+": labels of Compose and of Stella are not for services")
		}
	}
}

func getLabels(s *side) any {
	asked, _ := s.asked["labels"].(map[string]any)
	out := map[string]string{}
	for name, value := range s.bp.config.Labels {
		own, ofImage := s.image.config.Labels[name]
		_, named := asked[name]
		if !reserved(name) && (named || !ofImage || own != value) {
			out[name] = value
		}
	}
	return pairsOf(out)
}

func setGrace(c *compiler, path string, v any) {
	seconds := int(math.Ceil(c.fraction(path, v)))
	c.bp.config.StopTimeout = &seconds
}

func getGrace(s *side) any {
	if s.bp.config.StopTimeout == nil {
		return nil
	}
	return float64(*s.bp.config.StopTimeout)
}

func setRestart(c *compiler, path string, v any) {
	name, times, _ := strings.Cut(c.text(path, v), ":")
	c.bp.host.RestartPolicy.Name = container.RestartPolicyMode(name)
	if times != "" {
		c.bp.host.RestartPolicy.MaximumRetryCount = int(c.within(path, times, 0, math.MaxInt32))
	}
	switch name {
	case "no", "always", "on-failure", "unless-stopped":
	default:
		c.invalid(path, "is not a restart policy")
	}
}

func getRestart(s *side) any {
	if s.asked["restart"] == nil && askedBelow(s.asked, "deploy", "restart_policy") != nil {
		return nil // it is read there
	}
	return restartOf(s.bp.host.RestartPolicy)
}

func restartOf(p container.RestartPolicy) any {
	switch {
	case p.IsNone():
		return nil
	case p.MaximumRetryCount > 0:
		return string(p.Name) + ":" + strconv.Itoa(p.MaximumRetryCount)
	}
	return string(p.Name)
}

func setHealthcheck(c *compiler, at string, v any) {
	h := &container.HealthConfig{}
	c.bp.config.Healthcheck = h
	duration := func(to *time.Duration) func(string, any) {
		return func(path string, v any) { *to = c.duration(path, v) }
	}
	c.object(at, v, map[string]func(string, any){
		"test":               func(path string, v any) { h.Test = c.texts(path, v) },
		"intervalSeconds":    duration(&h.Interval),
		"timeoutSeconds":     duration(&h.Timeout),
		"startPeriodSeconds": duration(&h.StartPeriod),
		"startIntervalSeconds": func(path string, v any) {
			if c.needs(path, "1.44") {
				h.StartInterval = c.duration(path, v)
			}
		},
		"retries": func(path string, v any) { h.Retries = int(c.within(path, v, 0, math.MaxInt32)) },
	})
}

func getHealthcheck(s *side) any {
	h := s.bp.config.Healthcheck
	if h == nil {
		return nil
	}
	out := map[string]any{}
	setField(out, "test", listOf(h.Test))
	setField(out, "intervalSeconds", orNone(h.Interval.Seconds()))
	setField(out, "timeoutSeconds", orNone(h.Timeout.Seconds()))
	setField(out, "startPeriodSeconds", orNone(h.StartPeriod.Seconds()))
	setField(out, "startIntervalSeconds", orNone(h.StartInterval.Seconds()))
	setField(out, "retries", numberOf(int64(h.Retries)))
	if len(out) == 0 {
		return nil
	}
	return out
}

func setLogging(c *compiler, at string, v any) {
	c.object(at, v, map[string]func(string, any){
		"driver":  func(path string, v any) { c.bp.host.LogConfig.Type = c.text(path, v) },
		"options": func(path string, v any) { c.bp.host.LogConfig.Config = c.pairs(path, v) },
	})
}

func getLogging(s *side) any {
	out := map[string]any{}
	setField(out, "driver", orNone(s.bp.host.LogConfig.Type))
	setField(out, "options", pairsOf(s.bp.host.LogConfig.Config))
	if len(out) == 0 {
		return nil
	}
	return out
}

// askedBelow returns what is asked for at a path; nil for nothing.
func askedBelow(asked map[string]any, keys ...string) any {
	var v any = asked
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// cleanDir returns a working directory as it is compared.
func cleanDir(dir string) string {
	if dir == "" {
		return ""
	}
	if dir = path.Clean(dir); dir == "/" {
		return ""
	}
	return dir
}
