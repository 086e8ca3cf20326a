package host

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// port is a published port. A service shares the machine's network: what it
// publishes is what its process listens on.
type port struct {
	number   uint16
	protocol string     // "tcp" or "udp"
	ip       netip.Addr // the zero value: every address
}

func (p port) String() string {
	s := fmt.Sprintf("%d/%s", p.number, p.protocol)
	if p.ip.IsValid() {
		return p.ip.String() + ":" + s
	}
	return s
}

// overlaps reports whether two processes can not listen on both.
func (p port) overlaps(o port) bool {
	return p.number == o.number && p.protocol == o.protocol && (!p.ip.IsValid() || !o.ip.IsValid() || p.ip == o.ip)
}

// elsewhere reports whether got is the port on another address than the one that
// was asked for.
func (p port) elsewhere(got port) bool {
	return p.ip.IsValid() && got.number == p.number && got.protocol == p.protocol && got.ip != p.ip
}

func parsePorts(where string, in []portFields) ([]port, error) {
	var out []port
	for _, f := range in {
		n := uint16(f.Target)
		if float64(n) != f.Target || n == 0 {
			return nil, invalid(where, "ports: target: want 1 to 65535")
		}
		what := strconv.Itoa(int(n))
		if f.Published != what {
			return nil, unsupported(where, fmt.Sprintf("ports: %s published as %q", what, safe.Clip(f.Published, 20)),
				"the process listens on the machine's own port: publish "+what+":"+what)
		}
		p := port{number: n, protocol: f.Protocol}
		switch f.Protocol {
		case "":
			p.protocol = "tcp"
		case "tcp", "udp":
		default:
			return nil, unsupported(where, "ports: protocol "+strconv.Quote(safe.Clip(f.Protocol, 20)), "use tcp or udp")
		}
		if f.HostIP != "" {
			ip, err := netip.ParseAddr(f.HostIP)
			if err != nil {
				return nil, invalid(where, "ports: host_ip: not an address")
			}
			if !ip.IsUnspecified() {
				p.ip = ip.Unmap()
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// collide returns a port that is in both lists.
func collide(a, b []port) (port, bool) {
	for _, p := range a {
		if slices.ContainsFunc(b, p.overlaps) {
			return p, true
		}
	}
	return port{}, false
}

// listener is a socket that waits for connections or datagrams, as
// /proc/net/{tcp,tcp6,udp,udp6} lists it, proc_net(5).
type listener struct {
	port  port
	inode string
}

// listeners reads every listening socket of this network namespace.
func listeners() ([]listener, error) {
	var all []listener
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile("/proc/net/" + table)
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("read listening sockets: %w", err)
		}
		all = append(all, parseListeners(string(data), strings.TrimSuffix(table, "6"))...)
	}
	return all, nil
}

// parseListeners reads one table; lines that it can not read are passed over.
func parseListeners(table, protocol string) []listener {
	const tcpListen, udpUnconnected = "0A", "07"
	var out []listener
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || protocol == "tcp" && f[3] != tcpListen || protocol == "udp" && f[3] != udpUnconnected {
			continue
		}
		host, number, _ := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(number, 16, 16)
		ip, ok := parseHexAddr(host)
		if err != nil || !ok {
			continue
		}
		p := port{number: uint16(n), protocol: protocol}
		if !ip.IsUnspecified() {
			p.ip = ip
		}
		out = append(out, listener{p, f[9]})
	}
	return out
}

// parseHexAddr reads an address as /proc/net writes it: words of 32 bits, each
// in the machine's byte order. All machines that stella runs on are
// little-endian.
func parseHexAddr(s string) (netip.Addr, bool) {
	raw := make([]byte, 0, 16)
	for i := 0; i+8 <= len(s); i += 8 {
		w, err := strconv.ParseUint(s[i:i+8], 16, 32)
		if err != nil {
			return netip.Addr{}, false
		}
		raw = append(raw, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return ip.Unmap(), ok && len(raw)*2 == len(s)
}

// holder is a process that listens on a port which a service wants.
type holder struct {
	of      service // that wants it
	port    port
	pid     int    // 0 where this user may not look into the process
	service string // of this target that the process belongs to; empty for none
}

// portHolders finds who, besides the services themselves, listens on their
// ports.
func (h *Host) portHolders(services []service) ([]holder, error) {
	if !slices.ContainsFunc(services, func(s service) bool { return len(s.ports) > 0 }) {
		return nil, nil
	}
	all, err := listeners()
	if err != nil {
		return nil, err
	}
	owners := socketOwners(all)
	var found []holder
	for _, s := range services {
		for _, p := range s.ports {
			for _, l := range all {
				if !p.overlaps(l.port) {
					continue
				}
				pid := owners[l.inode]
				if mine := h.serviceOf(pid); mine != s.name {
					found = append(found, holder{s, p, pid, mine})
				}
			}
		}
	}
	return found, nil
}

// checkPorts refuses ports that somebody else listens on: any process but those
// of the same service, and those of services of this target that are about to
// give the port up (yielding).
func (h *Host) checkPorts(services []service, yielding func(service string) bool) error {
	found, err := h.portHolders(services)
	if err != nil {
		return err
	}
	var all []error
	for _, f := range found {
		if f.service == "" || !yielding(f.service) {
			all = append(all, f.refusal())
		}
	}
	return stella.WithHint(errors.Join(all...), "stop what listens there, or publish another port")
}

// refusal words a taken port.
func (f holder) refusal() error {
	by := "another process"
	if f.pid > 0 {
		by = fmt.Sprintf("process %d (%s)", f.pid, safe.Clip(commandName(f.pid), 40))
	}
	if f.service != "" {
		by = "service " + f.service
	}
	return finding{fmt.Sprintf("%s: ports: %s is in use by %s", f.of.resource.ID, f.port, by), stella.ErrRefused}
}

// socketOwners finds a process for each of the sockets, where this user may
// look into it.
func socketOwners(of []listener) map[string]int {
	wanted := map[string]string{}
	for _, l := range of {
		wanted["socket:["+l.inode+"]"] = l.inode
	}
	owners := map[string]int{}
	for _, pid := range allProcesses() {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // gone, or another user's
		}
		for _, fd := range fds {
			link, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if err != nil {
				continue
			}
			if inode, ok := wanted[link]; ok {
				owners[inode] = pid
			}
		}
	}
	return owners
}

func commandName(pid int) string {
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(name))
}
