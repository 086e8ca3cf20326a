package docker

import (
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// systemPaths is the security option that shows all of /proc and /sys: the
// engine knows it as empty lists of paths to mask.
const systemPaths = "systempaths=unconfined"

// namespaceAttributes are what a process shares with the machine, and what it
// may do there.
func namespaceAttributes() []attribute {
	return []attribute{
		textField("hostname", func(bp *blueprint) *string { return &bp.config.Hostname }),
		textField("domainname", func(bp *blueprint) *string { return &bp.config.Domainname }),
		flagField("privileged", func(bp *blueprint) *bool { return &bp.host.Privileged }),
		flagField("read_only", func(bp *blueprint) *bool { return &bp.host.ReadonlyRootfs }),
		capabilities("cap_add", func(bp *blueprint) *[]string { return &bp.host.CapAdd }),
		capabilities("cap_drop", func(bp *blueprint) *[]string { return &bp.host.CapDrop }),
		{field: "security_opt", set: setSecurity, get: getSecurity, bag: true},
		bagField("group_add", func(bp *blueprint) *[]string { return &bp.host.GroupAdd }),
		joinedMode("pid", func(bp *blueprint) *string { return (*string)(&bp.host.PidMode) }),
		joinedMode("ipc", func(bp *blueprint) *string { return (*string)(&bp.host.IpcMode) }),
		joinedMode("network_mode", func(bp *blueprint) *string { return (*string)(&bp.host.NetworkMode) }).reading(getNetworkMode),
		textField("uts", func(bp *blueprint) *string { return (*string)(&bp.host.UTSMode) }),
		textField("userns_mode", func(bp *blueprint) *string { return (*string)(&bp.host.UsernsMode) }),
		textField("cgroup", func(bp *blueprint) *string { return (*string)(&bp.host.CgroupnsMode) }),
		textField("cgroup_parent", func(bp *blueprint) *string { return &bp.host.CgroupParent }),
		textField("runtime", func(bp *blueprint) *string { return &bp.host.Runtime }),
		pairsField("sysctls", func(bp *blueprint) *map[string]string { return &bp.host.Sysctls }),
		pairsField("storage_opt", func(bp *blueprint) *map[string]string { return &bp.host.StorageOpt }),
		{field: "dns", set: setDNS, get: getDNS},
		listField("dns_search", func(bp *blueprint) *[]string { return &bp.host.DNSSearch }),
		listField("dns_opt", func(bp *blueprint) *[]string { return &bp.host.DNSOptions }),
		{field: "extra_hosts", set: setExtraHosts, get: getExtraHosts, bag: true},
		{field: "devices", set: setDevices, get: getDevices, bag: true},
		bagField("device_cgroup_rules", func(bp *blueprint) *[]string { return &bp.host.DeviceCgroupRules }),
	}
}

func (a attribute) reading(get func(*side) any) attribute { a.get = get; return a }

// capabilities are compared without their prefix: engines add it or not.
func capabilities(field string, at func(bp *blueprint) *[]string) attribute {
	a := bagField(field, at)
	a.get = func(s *side) any {
		out := []string{}
		for _, one := range *at(s.bp) {
			out = append(out, strings.TrimPrefix(strings.ToUpper(one), "CAP_"))
		}
		return listOf(out)
	}
	return a
}

// joinedMode is a namespace that may be another container's.
func joinedMode(field string, at func(bp *blueprint) *string) attribute {
	return attribute{
		field: field,
		set: func(c *compiler, path string, v any) {
			mode, ok := c.scope.joined(c.text(path, v))
			if !ok {
				c.invalid(path, "is of a service that has no container on this target")
			}
			*at(c.bp) = mode
		},
		get: func(s *side) any { return orNone(s.scope.joinedField(*at(s.bp))) },
	}
}

// getNetworkMode reads modes only: a network by its name is under networks.
func getNetworkMode(s *side) any {
	switch mode := s.bp.host.NetworkMode; {
	case mode.IsNone(), mode.IsHost(), mode.IsContainer():
		return s.scope.joinedField(string(mode))
	case mode == "bridge", mode == "default":
		return "bridge"
	}
	return nil
}

func setSecurity(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		one := c.text(at, v)
		kind, value, ok := strings.Cut(one, "=")
		if !ok {
			kind, value, ok = strings.Cut(one, ":")
		}
		switch {
		case one == systemPaths:
			c.bp.host.MaskedPaths, c.bp.host.ReadonlyPaths = []string{}, []string{}
			return
		case !ok && kind != "no-new-privileges":
			c.invalid(at, "is not an option")
		case kind == "seccomp" && value != "unconfined" && value != "builtin":
			c.unsupported(at, "names a seccomp profile: a file of it does not travel to the engine")
		}
		c.bp.host.SecurityOpt = append(c.bp.host.SecurityOpt, one)
	})
}

func getSecurity(s *side) any {
	out := []string{}
	for _, one := range s.bp.host.SecurityOpt {
		kind, value, ok := strings.Cut(one, ":")
		if ok && !strings.Contains(kind, "=") {
			one = kind + "=" + value
		}
		if one == "no-new-privileges=true" {
			one = "no-new-privileges"
		}
		out = append(out, one)
	}
	if p := s.bp.host.MaskedPaths; p != nil && len(p) == 0 {
		out = append(out, systemPaths)
	}
	return listOf(out)
}

func setDNS(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		if addr, ok := c.address(at, v); ok {
			c.bp.host.DNS = append(c.bp.host.DNS, addr)
		}
	})
}

func (c *compiler) address(path string, v any) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(c.text(path, v))
	if err != nil {
		c.invalid(path, "is not an IP address")
	}
	return addr, err == nil
}

func getDNS(s *side) any {
	out := []string{}
	for _, addr := range s.bp.host.DNS {
		out = append(out, addr.String())
	}
	return listOf(out)
}

// setExtraHosts takes "host=address", as Compose renders it.
func setExtraHosts(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		one := c.text(at, v)
		host, addr, ok := strings.Cut(one, "=")
		if !ok {
			host, addr, ok = strings.Cut(one, ":")
		}
		if !ok || host == "" || addr == "" {
			c.invalid(at, "is not a host and its address")
		}
		c.bp.host.ExtraHosts = append(c.bp.host.ExtraHosts, host+":"+addr)
	})
}

func getExtraHosts(s *side) any {
	out := []string{}
	for _, one := range s.bp.host.ExtraHosts {
		host, addr, _ := strings.Cut(one, ":")
		out = append(out, host+"="+addr)
	}
	return listOf(out)
}

func setDevices(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		var d container.DeviceMapping
		c.object(at, v, map[string]func(string, any){
			"source":      func(path string, v any) { d.PathOnHost = c.text(path, v) },
			"target":      func(path string, v any) { d.PathInContainer = c.text(path, v) },
			"permissions": func(path string, v any) { d.CgroupPermissions = c.text(path, v) },
		})
		if !strings.HasPrefix(d.PathOnHost, "/") {
			c.unsupported(at, "is not a device by its path")
		}
		if d.PathInContainer == "" {
			d.PathInContainer = d.PathOnHost
		}
		if d.CgroupPermissions == "" {
			d.CgroupPermissions = "rwm"
		}
		c.bp.host.Devices = append(c.bp.host.Devices, d)
	})
}

func getDevices(s *side) any {
	out := []any{}
	for _, d := range s.bp.host.Devices {
		out = append(out, map[string]any{"source": d.PathOnHost, "target": d.PathInContainer, "permissions": d.CgroupPermissions})
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
