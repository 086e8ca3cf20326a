package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// publication are the ports that a service asks to publish on its engine's
// machine.
type publication struct {
	service string
	ports   network.PortMap // as in container.HostConfig.PortBindings
}

// hostPort is a port of the engine's machine.
type hostPort struct {
	number   uint16
	protocol network.IPProtocol
	ip       netip.Addr // the zero value: every address
}

func (p hostPort) String() string {
	text := fmt.Sprintf("%d/%s", p.number, p.protocol)
	if p.ip.IsValid() {
		return net.JoinHostPort(p.ip.String(), text)
	}
	return text
}

func (p hostPort) overlaps(o hostPort) bool {
	return p.number == o.number && p.protocol == o.protocol && (!p.ip.IsValid() || !o.ip.IsValid() || p.ip == o.ip)
}

// hostPorts are the fixed ports of a map: those that the engine chooses, and
// ranges that it chooses of, are not among them.
func hostPorts(ports network.PortMap) []hostPort {
	var all []hostPort
	for port, bindings := range ports {
		for _, b := range bindings {
			n, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil || n == 0 {
				continue
			}
			p := hostPort{number: uint16(n), protocol: port.Proto()}
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() {
				p.ip = b.HostIP.Unmap()
			}
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b hostPort) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// checkPorts finds published ports that somebody else has: a container of
// somebody else or of a service that is not in yields, and, where the engine is
// on this machine, any process. yields are the services of this target whose
// containers of now stop before the new ones start.
//
// What a process on another machine listens on can not be known before: there a
// start fails, and whoever rolls back starts the container that ran before again.
func (d *Docker) checkPorts(ctx context.Context, want []publication, yields map[string]bool) []error {
	list, err := d.list(ctx, make(client.Filters).Add("status", "running", "restarting", "paused"))
	if err != nil {
		return []error{fmt.Errorf("list containers: %w", err)}
	}
	inv, err := d.listOurs(ctx) // some have no label
	if err != nil {
		return []error{err}
	}
	local := d.sharesNetwork()
	var all []error
	for i, w := range want {
		for _, p := range hostPorts(w.ports) {
			by := twice(want[:i], p)
			held := false
			for _, c := range list {
				if !slices.ContainsFunc(listedPorts(c), p.overlaps) {
					continue
				}
				held = true
				if s := serviceOf(c); !inv.has(c.ID) || !yields[s] && s != w.service {
					by = "container " + safe.Clip(nameOf(c), 80)
				}
			}
			if by == "" && !held && local && isBusy(ctx, p) {
				by = "a process on the engine's machine"
			}
			if by != "" {
				all = append(all, stella.WithHint(
					fmt.Errorf("service/%s: ports: %w: %s is in use by %s", w.service, stella.ErrRefused, p, by), "stop what has the port, or publish another one"))
			}
		}
	}
	return all
}

// twice says which of the services publishes a port as well; empty for none.
func twice(before []publication, p hostPort) string {
	for _, w := range before {
		if slices.ContainsFunc(hostPorts(w.ports), p.overlaps) {
			return "service " + w.service
		}
	}
	return ""
}

func listedPorts(c container.Summary) []hostPort {
	all := map[hostPort]bool{}
	for _, p := range c.Ports {
		if p.PublicPort == 0 {
			continue
		}
		h := hostPort{number: p.PublicPort, protocol: network.IPProtocol(p.Type)}
		if p.IP.IsValid() && !p.IP.IsUnspecified() {
			h.ip = p.IP.Unmap()
		}
		all[h] = true
	}
	return slices.Collect(maps.Keys(all))
}

// sharesNetwork reports whether the engine is spoken to by a socket of this
// machine. Where it has a network namespace of its own all the same, an engine
// in a container, what is busy here may be free there: a socket's owner is not
// told. So only what is listened on here, in a namespace that has the engine's
// own bridge, counts.
func (d *Docker) sharesNetwork() bool {
	if !d.cfg.Local {
		return false
	}
	for _, name := range []string{"docker0", "podman0", "cni-podman0"} {
		if _, err := net.InterfaceByName(name); err == nil {
			return true
		}
	}
	return false
}

// isBusy tries to listen on a port, for a moment. What it may not try, such as a
// low port without root, counts as free: the engine will tell.
func isBusy(ctx context.Context, p hostPort) bool {
	var config net.ListenConfig
	address := net.JoinHostPort("", strconv.Itoa(int(p.number)))
	if p.ip.IsValid() {
		address = net.JoinHostPort(p.ip.String(), strconv.Itoa(int(p.number)))
	}
	var err error
	switch p.protocol {
	case network.TCP:
		var l net.Listener
		if l, err = config.Listen(ctx, "tcp", address); err == nil {
			_ = l.Close()
		}
	case network.UDP:
		var l net.PacketConn
		if l, err = config.ListenPacket(ctx, "udp", address); err == nil {
			_ = l.Close()
		}
	}
	return errors.Is(err, syscall.EADDRINUSE)
}
