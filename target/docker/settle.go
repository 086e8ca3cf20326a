package docker

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// settle brings a blueprint to the form in which two are compared: an image's
// values are put where nothing was asked for, as an engine does when it makes a
// container, and what an engine fills in by itself is taken out. It changes no
// value that the blueprint shares with the engine's answer.
func settle(bp *blueprint, g sighting) {
	fillImage(&bp.config, g.image)
	settleConfig(bp, g)
	settleHost(bp, g)
}

// fillImage does what the engine does with an image's configuration; see
// https://github.com/moby/moby/blob/master/daemon/commit.go (merge).
func fillImage(c *container.Config, image imageFacts) {
	i := image.config
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		c.Cmd = i.Cmd
	}
	if c.Entrypoint == nil {
		c.Entrypoint = i.Entrypoint
	}
	c.User = cmp.Or(c.User, i.User)
	c.WorkingDir = cleanDir(cmp.Or(c.WorkingDir, i.WorkingDir))
	c.StopSignal = stopSignalOf(cmp.Or(c.StopSignal, i.StopSignal))
	if i.Healthcheck == nil {
		return
	}
	h := container.HealthConfig{}
	if c.Healthcheck != nil {
		h = *c.Healthcheck
	}
	if len(h.Test) == 0 {
		h.Test = i.Healthcheck.Test
	}
	h.Interval = cmp.Or(h.Interval, i.Healthcheck.Interval)
	h.Timeout = cmp.Or(h.Timeout, i.Healthcheck.Timeout)
	h.StartPeriod = cmp.Or(h.StartPeriod, i.Healthcheck.StartPeriod)
	h.StartInterval = cmp.Or(h.StartInterval, i.Healthcheck.StartInterval)
	h.Retries = cmp.Or(h.Retries, i.Healthcheck.Retries)
	c.Healthcheck = &h
}

// stopSignalOf returns a signal by its name; the usual one is none.
func stopSignalOf(s string) string {
	s = strings.ToUpper(s)
	if s == "" || s == "15" || s == "TERM" || s == "SIGTERM" {
		return ""
	}
	if s[0] >= '0' && s[0] <= '9' || strings.HasPrefix(s, "SIG") {
		return s
	}
	return "SIG" + s
}

// settleConfig takes out the names that an engine gives.
func settleConfig(bp *blueprint, g sighting) {
	c, h := &bp.config, &bp.host
	if g.asked["hostname"] == nil {
		shared := h.NetworkMode.IsHost() || h.NetworkMode.IsContainer() || h.UTSMode.IsHost()
		if shared || bp.id != "" && strings.HasPrefix(bp.id, c.Hostname) {
			c.Hostname = ""
		}
		if shared && g.asked["domainname"] == nil {
			c.Domainname = ""
		}
	}
	if bp.platform == "" {
		bp.platform, _ = g.asked["platform"].(string)
	}
}

// settleHost takes out what an engine fills in.
func settleHost(bp *blueprint, g sighting) {
	h := &bp.host
	plain := container.HostConfig{}
	if g.engine.plain != nil {
		plain = *g.engine.plain
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = cmp.Or(g.engine.loggingDriver, "json-file")
	}
	usual := h.LogConfig.Type == cmp.Or(g.engine.loggingDriver, "json-file") && len(h.LogConfig.Config) == 0
	if usual || g.asked["logging"] == nil && g.engine.plain != nil && reflect.DeepEqual(h.LogConfig, plain.LogConfig) {
		h.LogConfig = container.LogConfig{}
	}
	if h.Runtime == cmp.Or(g.engine.runtime, "runc") || h.Runtime == plain.Runtime {
		h.Runtime = ""
	}
	if h.ShmSize == 64<<20 || h.ShmSize == plain.ShmSize {
		h.ShmSize = 0
	}
	if h.IpcMode == container.IPCModePrivate || h.IpcMode == plain.IpcMode || h.IpcMode == container.IPCModeShareable && g.engine.podman {
		h.IpcMode = ""
	}
	settleNamespaces(h, plain, g)
	settleResources(h, plain)
	settleSecurity(h, plain, g)
}

func settleNamespaces(h *container.HostConfig, plain container.HostConfig, g sighting) {
	usual := container.CgroupnsModePrivate
	if g.engine.cgroupVersion == "1" {
		usual = container.CgroupnsModeHost
	}
	if plain.CgroupnsMode != "" {
		usual = plain.CgroupnsMode
	}
	if h.CgroupnsMode == usual {
		h.CgroupnsMode = ""
	}
	if string(h.PidMode) == "private" {
		h.PidMode = ""
	}
	if string(h.UTSMode) == "private" {
		h.UTSMode = ""
	}
	if h.OomScoreAdj == plain.OomScoreAdj && g.asked["oom_score_adj"] == nil {
		h.OomScoreAdj = 0
	}
	if g.asked["userns_mode"] == nil && h.UsernsMode == plain.UsernsMode {
		h.UsernsMode = ""
	}
}

// settleResources takes out what limits come to where only some were asked for.
func settleResources(h *container.HostConfig, plain container.HostConfig) {
	if h.Memory > 0 && h.MemorySwap == 2*h.Memory {
		h.MemorySwap = 0
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness < 0 {
		h.MemorySwappiness = nil
	}
	if h.PidsLimit != nil && (*h.PidsLimit <= 0 || plain.PidsLimit != nil && *h.PidsLimit == *plain.PidsLimit) {
		h.PidsLimit = nil
	}
	h.Ulimits = slices.DeleteFunc(slices.Clone(h.Ulimits), func(u *container.Ulimit) bool {
		return u == nil || slices.ContainsFunc(plain.Ulimits, func(p *container.Ulimit) bool { return p != nil && *p == *u })
	})
	if h.CgroupParent == plain.CgroupParent {
		h.CgroupParent = ""
	}
}

// settleSecurity takes out what follows from other fields: an engine turns
// labels off for who shares the machine's processes.
func settleSecurity(h *container.HostConfig, plain container.HostConfig, g sighting) {
	if h.Privileged {
		h.MaskedPaths, h.ReadonlyPaths = nil, nil
	}
	asked, _ := g.asked["security_opt"].([]any)
	h.SecurityOpt = slices.DeleteFunc(slices.Clone(h.SecurityOpt), func(one string) bool {
		if slices.Contains(asked, any(one)) {
			return false
		}
		shares := h.Privileged || h.PidMode.IsHost() || h.IpcMode.IsHost() || h.PidMode.IsContainer() || h.IpcMode.IsContainer()
		return shares && (strings.HasPrefix(one, "label=") || strings.HasPrefix(one, "label:")) || slices.Contains(plain.SecurityOpt, one)
	})
}
