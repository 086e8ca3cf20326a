package configrepo

import (
	"strings"
	"time"

	"github.com/stella-ops/stella/health"
	"github.com/stella-ops/stella/internal/strictyaml"
)

func verifyShape() strictyaml.Shape[Verify] {
	checks := strictyaml.List(checkShape(), 0, 200).Check(func(v strictyaml.Value, checks *[]health.Check) {
		names := make([]string, len(*checks))
		for i, c := range *checks {
			names[i] = c.Name
		}
		twice(v, names, func(item strictyaml.Value) strictyaml.Value { return item.At("name") })
	})
	return strictyaml.Object(Verify{Timeout: defaultVerifyTimeout},
		strictyaml.Optional("timeout", "How long everything may take to become healthy. Default: 2m.", strictyaml.Duration(time.Second, 24*time.Hour),
			func(f *Verify) *time.Duration { return &f.Timeout }),
		strictyaml.Optional("stableFor", "How long it must stay healthy before it counts. Default: not at all.", strictyaml.Duration(0, 24*time.Hour),
			func(f *Verify) *time.Duration { return &f.StableFor }),
		strictyaml.Optional("checks", "What is asked. A check that names the target runs for each target, others once for the environment.", checks,
			func(f *Verify) *[]health.Check { return &f.Checks }),
	).Check(func(v strictyaml.Value, f *Verify) {
		if f.StableFor >= f.Timeout {
			v.At("stableFor").Problem("is not shorter than the timeout", "shorten it, or raise verify.timeout")
		}
	})
}

func checkShape() strictyaml.Shape[health.Check] {
	const want = "want a few words that say what is asked"
	name := strictyaml.Text(strictyaml.TextRule{Want: want, Most: 100}).Check(func(v strictyaml.Value, s *string) {
		if strings.TrimSpace(*s) == "" {
			v.Problem("is blank", want)
		}
	})
	one := []strictyaml.Schema{{"required": []string{"http"}}, {"required": []string{"tcp"}}, {"required": []string{"exec"}}}
	return strictyaml.Object(health.Check{},
		strictyaml.Required("name", "What is asked, in a few words.", name, func(c *health.Check) *string { return &c.Name }),
		strictyaml.Optional("timeout", "How long one try may take. Default: 5s.", strictyaml.Duration(100*time.Millisecond, 10*time.Minute),
			func(c *health.Check) *time.Duration { return &c.Timeout }),
		strictyaml.Optional("http", "Asks a URL with GET.", httpShape(), func(c *health.Check) **health.HTTP { return &c.HTTP }),
		strictyaml.Optional("tcp", "Opens a connection.", tcpShape(), func(c *health.Check) **health.TCP { return &c.TCP }),
		strictyaml.Optional("exec", "Runs a command in a component.", execShape(), func(c *health.Check) **health.Exec { return &c.Exec }),
	).Describe(strictyaml.Schema{"oneOf": one}).Check(checkOneProbe)
}

func checkOneProbe(v strictyaml.Value, _ *health.Check) {
	found := 0
	for _, name := range []string{"http", "tcp", "exec"} {
		if v.Has(name) {
			if found++; found == 2 {
				v.At(name).Problem("is a second kind of check", "keep one of http, tcp and exec")
			}
		}
	}
	if found == 0 {
		v.Problem("asks nothing", "want one of http, tcp and exec")
	}
}

func httpShape() strictyaml.Shape[*health.HTTP] {
	shape := strictyaml.Object(health.HTTP{},
		strictyaml.Required("url", "An http or https URL; ${target.name} and ${target.address} may be used.", probeText(2000, badProbeURL, "want an http or https URL without a password"),
			func(h *health.HTTP) *string { return &h.URL }),
		strictyaml.Optional("status", "The status that is wanted. Default: 200.", strictyaml.Whole(100, 599), func(h *health.HTTP) *int { return &h.Status }),
		strictyaml.Optional("bodyContains", "Text that the body must contain. Default: any body.", probeText(4000, nil, ""),
			func(h *health.HTTP) *string { return &h.BodyContains }))
	return strictyaml.Convert(shape, pointer[health.HTTP])
}

func tcpShape() strictyaml.Shape[*health.TCP] {
	shape := strictyaml.Object(health.TCP{},
		strictyaml.Required("address", "host:port; ${target.name} and ${target.address} may be used.", probeText(300, badProbeAddress, "want host:port"),
			func(t *health.TCP) *string { return &t.Address }))
	return strictyaml.Convert(shape, pointer[health.TCP])
}

func execShape() strictyaml.Shape[*health.Exec] {
	shape := strictyaml.Object(health.Exec{},
		strictyaml.Required("component", "Where the command runs.", nameShape(), func(e *health.Exec) *string { return &e.Component }),
		strictyaml.Required("command", "The command and its arguments; no shell reads it.", strictyaml.List(probeText(4000, nil, ""), 1, 200),
			func(e *health.Exec) *[]string { return &e.Command }))
	return strictyaml.Convert(shape, pointer[health.Exec])
}

// sampleTarget stands in for a target where a check is looked at by itself.
func sampleTarget() *strings.Replacer {
	return strings.NewReplacer(targetNameVar, "x", "["+targetAddressVar+"]", "[2001:db8::1]", targetAddressVar, "x")
}

// probeText is text of a check: it may name the target, and nothing else.
func probeText(most int, bad func(string) string, want string) strictyaml.Shape[string] {
	return strictyaml.Text(strictyaml.TextRule{Want: want, Most: most}).Check(func(v strictyaml.Value, s *string) {
		sample := sampleTarget().Replace(*s)
		switch {
		case strings.Contains(sample, "${"):
			v.Problem("refers to something else than the target", "use ${target.name} and ${target.address} only")
		case bad != nil && bad(sample) != "":
			v.Problem(bad(sample), want)
		}
	})
}

func badProbeURL(s string) string {
	if what := checkURL(s, "http", "https"); what != "" {
		return what
	}
	_, rest, _ := strings.Cut(s, "://")
	if rest == "" || strings.ContainsAny(rest[:1], "/?#:@") {
		return "has no host"
	}
	return ""
}

func badProbeAddress(s string) string {
	if !isHostPort(s) {
		return "is not host:port"
	}
	return ""
}

// checkAddresses looks whether each check can be asked of each target. What
// matters of a target is only whether its address is empty or of IPv6, so that
// one target of each sort stands for all.
func checkAddresses(v strictyaml.Value, e *Environment) {
	sorts := map[string]Target{}
	for _, t := range e.Targets {
		sort := "name"
		switch {
		case t.Address == "":
			sort = "none"
		case strings.Contains(t.Address, ":"):
			sort = "ipv6"
		}
		if _, has := sorts[sort]; !has {
			sorts[sort] = t
		}
	}
	for i, c := range e.Verify.Checks {
		at := v.At("verify").At("checks").Index(i)
		for _, sort := range []string{"none", "name", "ipv6"} {
			if t, has := sorts[sort]; has && !checkAddress(at, c, t) {
				break
			}
		}
	}
}

// checkAddress reports why a check can not be asked of a target.
func checkAddress(at strictyaml.Value, c health.Check, t Target) bool {
	if t.Address == "" {
		for _, s := range checkStrings(&c) {
			if strings.Contains(*s, targetAddressVar) {
				at.Problem("needs an address that target "+orUnnamed(t.Name)+" does not have", "add its address, or use ${target.name}")
				return false
			}
		}
		return true
	}
	expanded := expandCheck(c, t)
	switch {
	case c.HTTP != nil && strings.Contains(c.HTTP.URL, targetAddressVar) && badProbeURL(expanded.HTTP.URL) != "":
	case c.TCP != nil && strings.Contains(c.TCP.Address, targetAddressVar) && badProbeAddress(expanded.TCP.Address) != "":
	default:
		return true
	}
	at.Problem("does not work with the address of target "+orUnnamed(t.Name), "write [${target.address}] where it is of IPv6")
	return false
}

func orUnnamed(name string) string {
	if name == "" {
		return "without a name"
	}
	return name
}
