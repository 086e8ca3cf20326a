package docker

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// networkAttributes are who reaches a container, and where it is.
func networkAttributes() []attribute {
	return []attribute{
		{field: "ports", set: setPorts, get: getPorts, bag: true},
		{field: "expose", set: setExpose, get: getExpose, bag: true},
		{field: "networks", set: setNetworks, get: getNetworks},
		{field: "mac_address", set: func(c *compiler, path string, v any) { c.mac(path, v) }, get: getMAC},
	}
}

// portOf returns a port of a container, and false where there is none such.
func (c *compiler) port(path string, number int64, protocol string) (network.Port, bool) {
	protocol = cmp.Or(strings.ToLower(protocol), "tcp")
	p, ok := network.PortFrom(uint16(number), network.IPProtocol(protocol)) //nolint:gosec // within 65535
	if !ok || number < 1 || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		c.invalid(path, "is not a port")
		return network.Port{}, false
	}
	return p, true
}

func setPorts(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		var number int64
		var protocol string
		var b network.PortBinding
		c.object(at, v, map[string]func(string, any){
			"target":    func(path string, v any) { number = c.within(path, v, 1, 65535) },
			"protocol":  func(path string, v any) { protocol = c.text(path, v) },
			"published": func(path string, v any) { b.HostPort = c.published(path, c.text(path, v)) },
			"hostIP": func(path string, v any) {
				if v != "" {
					b.HostIP, _ = c.address(path, v)
				}
			},
			"mode": func(path string, v any) {
				if v != "host" && v != "ingress" {
					c.invalid(path, "is neither host nor ingress")
				}
			},
			"app_protocol": nil, "name": nil, // for people and for meshes
		})
		p, ok := c.port(at, number, protocol)
		if !ok {
			return
		}
		if c.bp.host.PortBindings == nil {
			c.bp.host.PortBindings = network.PortMap{}
		}
		c.bp.host.PortBindings[p] = append(c.bp.host.PortBindings[p], b)
		c.expose(p)
	})
}

// published checks a port of the machine, or a range of which the engine takes one.
func (c *compiler) published(path, text string) string {
	if text == "" || text == "0" {
		return ""
	}
	r, err := network.ParsePortRange(text)
	if err != nil || r.Start() == 0 || r.End() < r.Start() {
		c.invalid(path, "is not a port")
		return ""
	}
	return text
}

func (c *compiler) expose(p network.Port) {
	if c.bp.config.ExposedPorts == nil {
		c.bp.config.ExposedPorts = network.PortSet{}
	}
	c.bp.config.ExposedPorts[p] = struct{}{}
}

func getPorts(s *side) any {
	out := []any{}
	for p, bindings := range s.bp.host.PortBindings {
		for _, b := range bindings {
			hostIP := ""
			if b.HostIP.IsValid() {
				hostIP = b.HostIP.String()
			}
			published := b.HostPort
			if published == "0" {
				published = ""
			}
			out = append(out, map[string]any{
				"target": float64(p.Num()), "protocol": string(p.Proto()), "published": published, "hostIP": hostIP,
			})
		}
	}
	if len(out) == 0 {
		return nil
	}
	slices.SortFunc(out, func(a, b any) int { return strings.Compare(keyOf(a), keyOf(b)) })
	return out
}

func setExpose(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		r, ok := c.portRange(at, c.text(at, v))
		if !ok {
			return
		}
		for p := range r.All() {
			c.expose(p)
		}
	})
}

// maxPorts bounds what is exposed: all ports of two protocols.
const maxPorts = 2 * 65535

func (c *compiler) portRange(at, text string) (network.PortRange, bool) {
	r, err := network.ParsePortRange(text)
	if err != nil || r.Start() == 0 || r.End() < r.Start() {
		c.invalid(at, "is not a port or a range of ports")
		return r, false
	}
	if c.ports += int(r.End()-r.Start()) + 1; c.ports > maxPorts {
		c.invalid(at, "is of more ports than there are")
		return r, false
	}
	return r, true
}

// getExpose leaves out what is published or the image's, but where it is asked for.
func getExpose(s *side) any {
	asked := &compiler{scope: s.scope, bp: &blueprint{}}
	if v := s.asked["expose"]; v != nil {
		setExpose(asked, "expose", v)
	}
	ports := &compiler{scope: s.scope, bp: &blueprint{}}
	if v := s.asked["ports"]; v != nil {
		setPorts(ports, "ports", v)
	}
	out := []string{}
	for p := range s.bp.config.ExposedPorts {
		_, isAsked := asked.bp.config.ExposedPorts[p]
		_, published := s.bp.host.PortBindings[p]
		if _, ok := ports.bp.host.PortBindings[p]; ok {
			published = true // or was: the field ports says what became of it
		}
		_, ofImage := s.image.config.ExposedPorts[p.String()]
		if isAsked || !published && !ofImage {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return listOf(out)
}

// join puts the service on its networks: on the project's own where it says
// nothing.
func (c *compiler) join(fields map[string]any) {
	if fields["network_mode"] != nil {
		if fields["networks"] != nil {
			c.invalid("networks", "can not be had with network_mode")
		}
		clear(c.bp.networks)
		return
	}
	if len(c.bp.networks) == 0 {
		name := c.scope.network("default")
		c.bp.networks[name] = c.endpoint()
		c.bp.host.NetworkMode = container.NetworkMode(name)
	}
	if v := fields["mac_address"]; v != nil && c.needs("mac_address", "1.44") {
		c.bp.networks[string(c.bp.host.NetworkMode)].MacAddress = c.mac("mac_address", v)
	}
}

// endpoint is a connection by which the service is found under its name.
func (c *compiler) endpoint() *network.EndpointSettings {
	return &network.EndpointSettings{Aliases: []string{c.service}}
}

func (c *compiler) mac(path string, v any) network.HardwareAddr {
	addr, err := net.ParseMAC(c.text(path, v))
	if err != nil || len(addr) != 6 {
		c.invalid(path, "is not a hardware address")
		return nil
	}
	return network.HardwareAddr(addr)
}

// setNetworks connects to the networks that are named; the first by priority is
// the one that the container is made with.
func setNetworks(c *compiler, at string, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		c.invalid(at, "is not a mapping")
		return
	}
	first, best := "", int64(0)
	for _, name := range sortedNames(m) {
		e := c.endpoint()
		priority := int64(0)
		if m[name] != nil {
			priority = c.connection(at+"."+name, m[name], e)
		}
		c.bp.networks[c.scope.network(name)] = e
		if first == "" || priority > best {
			first, best = c.scope.network(name), priority
		}
	}
	c.bp.host.NetworkMode = container.NetworkMode(first)
}

func (c *compiler) connection(at string, v any, e *network.EndpointSettings) (priority int64) {
	ipam := network.EndpointIPAMConfig{}
	own := true
	c.object(at, v, map[string]func(string, any){
		"aliases":      func(path string, v any) { e.Aliases = append(e.Aliases, c.texts(path, v)...) },
		"ipv4_address": func(path string, v any) { ipam.IPv4Address, _ = c.address(path, v) },
		"ipv6_address": func(path string, v any) { ipam.IPv6Address, _ = c.address(path, v) },
		"link_local_ips": func(path string, v any) {
			c.each(path, v, func(path string, v any) {
				if addr, ok := c.address(path, v); ok {
					ipam.LinkLocalIPs = append(ipam.LinkLocalIPs, addr)
				}
			})
		},
		"mac_address": func(path string, v any) {
			if c.needs(path, "1.44") {
				e.MacAddress = c.mac(path, v)
			}
		},
		"driver_opts": func(path string, v any) { e.DriverOpts = c.pairs(path, v) },
		"interface_name": func(path string, v any) {
			if c.needs(path, "1.49") {
				e.DriverOpts = withPair(e.DriverOpts, interfaceName, c.text(path, v))
			}
		},
		"gw_priority": func(path string, v any) {
			if c.needs(path, "1.48") {
				e.GwPriority = int(c.within(path, v, -1<<31, 1<<31-1))
			}
		},
		"priority":               func(path string, v any) { priority = c.whole(path, v) },
		"use_service_name_alias": func(path string, v any) { own = c.flag(path, v) },
	})
	if !own {
		e.Aliases = e.Aliases[1:]
	}
	if ipam.IPv4Address.IsValid() || ipam.IPv6Address.IsValid() || len(ipam.LinkLocalIPs) > 0 {
		e.IPAMConfig = &ipam
	}
	return priority
}

// interfaceName is the option by which an endpoint's interface is named.
const interfaceName = "com.docker.network.endpoint.ifname"

func withPair(m map[string]string, name, value string) map[string]string {
	out := map[string]string{name: value}
	maps.Copy(out, m)
	return out
}

func getNetworks(s *side) any {
	out := map[string]any{}
	for name, e := range s.bp.networks {
		if name == string(s.bp.host.NetworkMode) && !s.bp.host.NetworkMode.IsUserDefined() || name == "bridge" && s.bp.host.NetworkMode.IsDefault() {
			continue // the mode says it
		}
		out[s.scope.networkField(name)] = s.connection(s.scope.networkField(name), e)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// connection reads one. What an engine chooses by itself is not in it: a
// hardware address is read where one was asked for and the container runs.
func (s *side) connection(name string, e *network.EndpointSettings) map[string]any {
	out := map[string]any{}
	aliases, own := s.aliases(e)
	setField(out, "aliases", listOf(aliases))
	if !own {
		out["use_service_name_alias"] = false
	}
	if i := e.IPAMConfig; i != nil {
		setField(out, "ipv4_address", addressOf(i.IPv4Address))
		setField(out, "ipv6_address", addressOf(i.IPv6Address))
		local := []string{}
		for _, a := range i.LinkLocalIPs {
			local = append(local, a.String())
		}
		setField(out, "link_local_ips", listOf(local))
	}
	if asked := askedBelow(s.asked, "networks", name, "mac_address"); asked != nil {
		c := &compiler{}
		mac := c.mac("", asked)
		if s.bp.running || len(e.MacAddress) > 0 {
			mac = e.MacAddress
		}
		setField(out, "mac_address", orNone(mac.String()))
	}
	setField(out, "driver_opts", pairsOf(e.DriverOpts))
	setField(out, "gw_priority", numberOf(int64(e.GwPriority)))
	setField(out, "links", listOf(e.Links))
	return out
}

func addressOf(a netip.Addr) any {
	if !a.IsValid() {
		return nil
	}
	return a.String()
}

// aliases returns the names that an endpoint has besides those that every
// container has: its own, its id's and the service's, for which own says so.
func (s *side) aliases(e *network.EndpointSettings) (names []string, own bool) {
	for _, one := range e.Aliases {
		switch {
		case one == s.service:
			own = true
		case s.bp.id != "" && len(one) >= 12 && strings.HasPrefix(s.bp.id, one), s.isContainerName(one), slices.Contains(names, one),
			one == s.bp.config.Hostname: // the engine gives it
		default:
			names = append(names, one)
		}
	}
	slices.Sort(names)
	return names, own
}

// isContainerName reports whether a name is that of the service's container, as
// Compose gives it to the endpoint too.
func (s *side) isContainerName(name string) bool {
	of := s.scope.project + "-" + s.service + "-1"
	written, _ := s.asked["container_name"].(string)
	return name == of || name == s.bp.name || written != "" && name == written
}

// getMAC reads the address of the first network, where it was asked for.
func getMAC(s *side) any {
	asked, _ := s.asked["mac_address"].(string)
	e := s.bp.networks[string(s.bp.host.NetworkMode)]
	switch {
	case asked == "":
		return nil
	case e == nil || len(e.MacAddress) == 0 && !s.bp.running:
		c := &compiler{}
		return c.mac("", asked).String()
	}
	return orNone(e.MacAddress.String())
}
