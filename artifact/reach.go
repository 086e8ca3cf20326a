package artifact

import (
	"net/netip"
	"slices"
)

// reach says from where an address can be reached, which is what a registry
// must not get around with a redirect.
type reach int

const (
	unknown  reach = iota // not looked yet
	public                // from everywhere
	private               // from some network
	loopback              // from this machine
	never                 // nothing that is a registry: metadata services, multicast
)

func (r reach) String() string {
	return [...]string{"unknown", "public", "private", "loopback", "forbidden"}[r]
}

// reachOf classifies an address by the IANA special-purpose registries (RFC
// 6890). An IPv4 address in IPv6 clothes (mapped; NAT64, RFC 6052; 6to4, RFC
// 3056) is what it is without them.
func reachOf(ip netip.Addr) reach {
	ip = plainIPv4(ip.WithZone("").Unmap())
	switch {
	case ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast(), isMetadata(ip):
		return never
	case ip.IsLoopback():
		return loopback
	case ip.IsPrivate(), inAny(ip, "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "fec0::/10"):
		return private
	case inAny(ip, "0.0.0.0/8", "240.0.0.0/4"):
		return never
	}
	return public
}

// isMetadata knows the metadata services of clouds that are not link-local: of
// Amazon over IPv6, of Alibaba, and Azure's host.
func isMetadata(ip netip.Addr) bool {
	return inAny(ip, "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32")
}

func inAny(ip netip.Addr, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return netip.MustParsePrefix(p).Contains(ip) })
}

func plainIPv4(ip netip.Addr) netip.Addr {
	b := ip.As16()
	switch {
	case inAny(ip, "64:ff9b::/96"):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case inAny(ip, "2002::/16"):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}
