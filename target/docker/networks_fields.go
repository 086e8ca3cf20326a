package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// enableIPv4Since is the first version of the API that has networks without
// IPv4 and says which ones those are.
const enableIPv4Since = "1.48"

func (d *Docker) knowsIPv4() bool {
	return versions.GreaterThanOrEqualTo(d.api.ClientVersion(), enableIPv4Since)
}

// The labels of our own and of Compose, which are no fields.
func isFurniture(label string) bool {
	return strings.HasPrefix(label, "stella.") || strings.HasPrefix(label, "com.docker.compose.")
}

// decodeSpec reads a label of what was asked for.
func decodeSpec(label string, to *map[string]any) error {
	const mostBytes = 1 << 20
	if label == "" || len(label) > mostBytes {
		return stella.ErrInvalid
	}
	return json.Unmarshal([]byte(label), to)
}

// resourceLabels are the labels of a network or volume: those that its file
// says, ours, and Compose's.
func (d *Docker) resourceLabels(r stella.Resource, ours, asked map[string]string, compose string) (map[string]string, error) {
	value, err := drift.Value(r.Fields)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.ID, err)
	}
	spec, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.ID, err)
	}
	sum, err := drift.Digest(r.Fields)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.ID, err)
	}
	_, name, _ := strings.Cut(string(r.ID), "/")
	all := maps.Clone(asked)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, ours)
	maps.Copy(all, d.identity())
	all[labelResource], all[labelSpec], all[labelSpecDigest] = string(r.ID), string(spec), string(sum)
	all[composeProject], all[compose] = d.cfg.Project, name
	return all, nil
}

// asker reads the fields of a resource and collects what is wrong with them.
type asker struct {
	id   stella.ResourceID
	errs []error
}

func (a *asker) wrong(class error, where, what string) {
	a.errs = append(a.errs, fmt.Errorf("%s: %s: %w: %s", a.id, safe.Clip(where, 80), class, what))
}

func (a *asker) text(where string, v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool, float64:
		return scalar(v)
	}
	a.wrong(stella.ErrInvalid, where, "want a text")
	return ""
}

// scalar is a value as Compose writes it where an engine wants a text.
func scalar(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

// yes reads a boolean; written tells whether it is there.
func (a *asker) yes(where string, v any) (value, written bool) {
	switch v := v.(type) {
	case nil:
		return false, false
	case bool:
		return v, true
	}
	a.wrong(stella.ErrInvalid, where, "want true or false")
	return false, false
}

// texts reads a mapping of texts, or a list of KEY=VALUE.
func (a *asker) texts(where string, v any) map[string]string {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		all := make(map[string]string, len(v))
		for k, value := range v {
			all[k] = a.text(where+"."+k, value)
		}
		return all
	case []any:
		all := make(map[string]string, len(v))
		for _, entry := range v {
			k, value, _ := strings.Cut(a.text(where, entry), "=")
			all[k] = value
		}
		return all
	}
	a.wrong(stella.ErrInvalid, where, "want a mapping")
	return nil
}

func (a *asker) labels(v any) map[string]string {
	all := a.texts("labels", v)
	for k := range all {
		if isFurniture(k) {
			a.wrong(stella.ErrInvalid, "labels", safe.Clip(k, 80)+" is a label that stella or Compose sets")
		}
	}
	return all
}

// compileNetwork returns the network that a resource asks for, or every reason
// why it can not be had.
func (d *Docker) compileNetwork(r stella.Resource) (client.NetworkCreateOptions, []error) {
	a := &asker{id: r.ID}
	var o client.NetworkCreateOptions
	for _, name := range slices.Sorted(maps.Keys(r.Fields)) {
		v := r.Fields[name]
		switch name {
		case "name", "named", "external":
		case "driver":
			o.Driver = a.text(name, v)
		case "driver_opts":
			o.Options = a.texts(name, v)
		case "internal":
			o.Internal, _ = a.yes(name, v)
		case "attachable":
			o.Attachable, _ = a.yes(name, v)
		case "enable_ipv4":
			if yes, written := a.yes(name, v); written && d.knowsIPv4() {
				o.EnableIPv4 = &yes
			} else if written && !yes {
				a.wrong(stella.ErrUnsupported, name, "this engine has no networks without IPv4")
			}
		case "enable_ipv6":
			if yes, written := a.yes(name, v); written {
				o.EnableIPv6 = &yes
			}
		case "ipam":
			o.IPAM = a.ipam(v)
		case "labels":
			o.Labels = a.labels(v)
		default:
			a.wrong(stella.ErrUnsupported, name, "this field of a network is not known")
		}
	}
	return o, a.errs
}

func (a *asker) ipam(v any) *network.IPAM {
	fields, ok := v.(map[string]any)
	if !ok {
		a.wrong(stella.ErrInvalid, "ipam", "want a mapping")
		return nil
	}
	out := &network.IPAM{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch v := fields[name]; name {
		case "driver":
			out.Driver = a.text("ipam.driver", v)
		case "options":
			out.Options = a.texts("ipam.options", v)
		case "config":
			list, ok := v.([]any)
			if !ok {
				a.wrong(stella.ErrInvalid, "ipam.config", "want a list")
			}
			for i, pool := range list {
				out.Config = append(out.Config, a.pool(fmt.Sprintf("ipam.config[%d]", i), pool))
			}
		default:
			a.wrong(stella.ErrUnsupported, "ipam."+name, "this field is not known")
		}
	}
	return out
}

func (a *asker) pool(where string, v any) network.IPAMConfig {
	fields, ok := v.(map[string]any)
	if !ok {
		a.wrong(stella.ErrInvalid, where, "want a mapping")
	}
	var out network.IPAMConfig
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v, where := fields[name], where+"."+name
		switch name {
		case "subnet":
			out.Subnet = a.prefix(where, v)
		case "ip_range":
			out.IPRange = a.prefix(where, v)
		case "gateway":
			out.Gateway = a.address(where, v)
		case "aux_addresses":
			for host, address := range a.texts(where, v) {
				if out.AuxAddress == nil {
					out.AuxAddress = map[string]netip.Addr{}
				}
				out.AuxAddress[host] = a.address(where+"."+host, address)
			}
		default:
			a.wrong(stella.ErrUnsupported, where, "this field is not known")
		}
	}
	return out
}

func (a *asker) prefix(where string, v any) netip.Prefix {
	p, err := netip.ParsePrefix(a.text(where, v))
	if err != nil {
		a.wrong(stella.ErrInvalid, where, "want an address with the length of its prefix, 172.28.0.0/16")
		return netip.Prefix{}
	}
	return p.Masked()
}

func (a *asker) address(where string, v any) netip.Addr {
	p, err := netip.ParseAddr(a.text(where, v))
	if err != nil {
		a.wrong(stella.ErrInvalid, where, "want an address")
	}
	return p
}
