package docker

import (
	"math"

	"github.com/moby/moby/api/types/container"
)

// setDeploy takes what of deploy is for one machine. The rest is for a swarm.
func setDeploy(c *compiler, at string, v any) {
	const rollout = "is not supported: say it under rollout in environment.yaml"
	refuse := func(why string) func(string, any) {
		return func(path string, _ any) { c.unsupported(path, why) }
	}
	c.object(at, v, map[string]func(string, any){
		"mode": func(path string, v any) {
			if v != "replicated" {
				c.unsupported(path, "is not supported: a service is one container on each target that it is placed on")
			}
		},
		"replicas":        func(path string, v any) { setScale(c, path, v) },
		"placement":       nil, // by whoever renders
		"labels":          refuse("is not supported: it is for services of a swarm; use labels"),
		"endpoint_mode":   refuse("is not supported: it is for services of a swarm"),
		"update_config":   refuse(rollout),
		"rollback_config": refuse(rollout),
		"restart_policy":  c.restartPolicy,
		"resources": func(path string, v any) {
			c.object(path, v, map[string]func(string, any){"limits": c.limits, "reservations": c.reservations})
		},
	})
}

func (c *compiler) restartPolicy(at string, v any) {
	engine := " is not supported: engines decide it themselves"
	p := container.RestartPolicy{Name: container.RestartPolicyAlways}
	c.object(at, v, map[string]func(string, any){
		"condition": func(path string, v any) {
			switch v {
			case "any":
			case "none":
				p.Name = container.RestartPolicyDisabled
			case "on-failure":
				p.Name = container.RestartPolicyOnFailure
			default:
				c.invalid(path, "is not none, on-failure or any")
			}
		},
		"max_attempts": func(path string, v any) { p.MaximumRetryCount = int(c.within(path, v, 0, math.MaxInt32)) },
		"delay":        func(path string, _ any) { c.unsupported(path, engine[1:]) },
		"window":       func(path string, _ any) { c.unsupported(path, engine[1:]) },
	})
	if p.MaximumRetryCount > 0 && p.Name != container.RestartPolicyOnFailure {
		c.unsupported(at+".max_attempts", "is for the condition on-failure only")
		p.MaximumRetryCount = 0
	}
	c.bp.host.RestartPolicy = p
}

func (c *compiler) limits(at string, v any) {
	c.object(at, v, map[string]func(string, any){
		"cpus":   func(path string, v any) { setCPUs(c, path, v) },
		"memory": func(path string, v any) { c.bp.host.Memory = c.whole(path, v) },
		"pids":   func(path string, v any) { setPids(c, path, v) },
	})
}

func (c *compiler) reservations(at string, v any) {
	c.object(at, v, map[string]func(string, any){
		"memory": func(path string, v any) { c.bp.host.MemoryReservation = c.whole(path, v) },
		"devices": func(path string, v any) {
			c.each(path, v, func(path string, v any) { c.deviceRequest(path, v, "") })
		},
	})
}

// getDeploy reads what of it was asked for here: everything else is read under
// its other name.
func getDeploy(s *side) any {
	out := map[string]any{}
	h := &s.bp.host
	if askedBelow(s.asked, "deploy", "restart_policy") != nil {
		setField(out, "restart_policy", policyOf(h.RestartPolicy))
	}
	resources := map[string]any{}
	one := func(part, name string, value any) {
		if askedBelow(s.asked, "deploy", "resources", part, name) == nil || value == nil {
			return
		}
		if resources[part] == nil {
			resources[part] = map[string]any{}
		}
		if m, ok := resources[part].(map[string]any); ok {
			m[name] = value
		}
	}
	one("limits", "cpus", cpusOf(h.NanoCPUs))
	one("limits", "memory", sizeOf(h.Memory))
	one("limits", "pids", numberAt(h.PidsLimit))
	one("reservations", "memory", sizeOf(h.MemoryReservation))
	one("reservations", "devices", deviceRequests(s.bp))
	setPart(out, "resources", resources)
	if len(out) == 0 {
		return nil
	}
	return out
}

func policyOf(p container.RestartPolicy) any {
	out := map[string]any{}
	switch {
	case p.IsNone():
		out["condition"] = "none"
	case p.IsOnFailure():
		out["condition"] = "on-failure"
		setField(out, "max_attempts", numberOf(int64(p.MaximumRetryCount)))
	case p.IsUnlessStopped():
		out["condition"] = "unless-stopped"
	default:
		out["condition"] = "any"
	}
	return out
}

// foreignAttributes are what an engine has and no field of ours asks for: a
// container that was made again by hand may have it.
func foreignAttributes() []attribute {
	only := func(field string, get func(s *side) any) attribute { return attribute{field: field, get: get} }
	return []attribute{
		only("links", func(s *side) any { return listOf(s.bp.host.Links) }),
		only("volumes_from", func(s *side) any { return listOf(s.bp.host.VolumesFrom) }),
		only("publish_all_ports", func(s *side) any { return orNone(s.bp.host.PublishAllPorts) }),
		only("auto_remove", func(s *side) any { return orNone(s.bp.host.AutoRemove) }),
		only("network_disabled", func(s *side) any { return orNone(s.bp.config.NetworkDisabled) }),
		only("cpuset_mems", func(s *side) any { return orNone(s.bp.host.CpusetMems) }),
		only("umask", func(s *side) any {
			if s.bp.host.Umask == nil {
				return nil
			}
			return float64(*s.bp.host.Umask)
		}),
	}
}
