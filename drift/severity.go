package drift

import (
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// severityRule says how much a difference matters. Empty parts match anything.
type severityRule struct {
	name     string // stable: documents print it
	kind     string // of the resource, before the slash of its id
	class    stella.Class
	fields   []string // first segment of the path; wholeResource for a whole resource
	severity stella.Severity
	because  string // in words, for a person

	only    func(d, l any) bool // what else the values must be; nil for anything
	ignored bool                // it does not count, whatever environment.yaml says
}

// wholeResource stands for the empty path where a rule names fields: no segment
// of a pointer is written so.
const wholeResource = "/"

// severityRules are tried in order; the first that matches decides. What
// program runs and what it may do is critical; how it runs is a warning; what
// nobody executes is information. The fields of a service are those that
// configrepo renders: what it has no name of its own for is named as in Compose.
func severityRules() []severityRule {
	whole := []string{wholeResource}
	return []severityRule{
		{"same digest", "service", stella.Modified, []string{"image"}, stella.SeverityInfo, "what runs is the same digest by another name", sameDigest, true},
		{"missing resource", "", stella.Missing, whole, stella.SeverityCritical, "what was asked for is not there", nil, false},
		{"hidden resource", "", stella.Modified, whole, stella.SeverityCritical, "nobody can tell which field it is: it may be the program", nil, false},
		{"sticker", "sticker", "", nil, stella.SeverityWarning, "who looks at the target is told what is not so", nil, false},
		{"extra resource", "", stella.Extra, whole, stella.SeverityWarning, "nobody asked for it", nil, false},
		{"image", "service", "", []string{"image"}, stella.SeverityCritical, "the image is the program that runs", nil, false},
		{"files", "service", "", []string{"files"}, stella.SeverityCritical, "the files of a release are the program that runs", nil, false},
		{"command", "service", "", []string{"command", "entrypoint", "post_start", "pre_stop"}, stella.SeverityCritical, "the command is the program that runs", nil, false},
		{"rights", "service", "", rights(), stella.SeverityCritical, "it decides what the program may do on the machine", nil, false},
		{"labels", "", "", []string{"labels", "annotations"}, stella.SeverityInfo, "nothing that runs is made of it", nil, false},
		{"environment", "service", "", []string{"environment"}, stella.SeverityWarning, "the program reads it when it starts", nil, false},
		{"configuration", "service", "", []string{"configs", "secrets"}, stella.SeverityWarning, "the program reads it", nil, false},
		{"storage", "service", "", []string{"volumes", "volumes_from", "tmpfs", "shm_size", "storage_opt"}, stella.SeverityWarning, "it decides where the program's data is", nil, false},
		{"network", "service", "", network(), stella.SeverityWarning, "it decides who reaches the program", nil, false},
		{"records", "service", "", []string{"current", "spec.json", "status.json"}, stella.SeverityWarning, "what is started and stopped next goes by it", nil, false},
		{"operation", "service", "", operation(), stella.SeverityWarning, "it decides how the program is kept running", nil, false},
		{"field", "", "", nil, stella.SeverityWarning, "it is part of how the resource was asked for", nil, false},
	}
}

// rights are the fields that decide what a process may do outside itself.
func rights() []string {
	return []string{
		"user", "group_add", "privileged", "cap_add", "cap_drop", "security_opt", "devices", "device_cgroup_rules", "network_mode",
		"pid", "ipc", "uts", "userns_mode", "cgroup", "cgroup_parent", "sysctls", "runtime", "credential_spec", "gpus",
	}
}

func operation() []string {
	return []string{
		"restart", "healthcheck", "stopSignal", "stopGracePeriodSeconds", "workingDir", "dependsOn", "deploy", "scale", "init",
		"mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "cpus", "cpu_shares", "cpu_quota", "cpu_period",
		"cpu_rt_period", "cpu_rt_runtime", "cpuset", "pids_limit", "ulimits", "blkio_config", "oom_score_adj", "oom_kill_disable",
		"read_only", "logging", "tty", "stdin_open", "auto_remove", "x-stella",
	}
}

func network() []string {
	return []string{
		"ports", "publish_all_ports", "expose", "networks", "mac_address", "hostname", "domainname", "dns", "dns_search", "dns_opt",
		"extra_hosts", "links",
	}
}

// severityOf returns the rule that decides about a change.
func severityOf(rules []severityRule, c *stella.Change) *severityRule {
	kind, _, _ := strings.Cut(string(c.Resource), "/")
	field, nested := wholeResource, false
	if strings.HasPrefix(c.Path, "/") {
		var rest string
		field, rest = cutSegment(c.Path)
		nested = rest != ""
	}
	for i := range rules {
		r := &rules[i]
		if r.matches(kind, c.Class, field) && (r.only == nil || !nested && r.only(c.Desired, c.Live)) {
			return r
		}
	}
	return &rules[len(rules)-1] // it matches anything
}

func (r *severityRule) matches(kind string, class stella.Class, field string) bool {
	return (r.kind == "" || r.kind == kind) && (r.class == "" || r.class == class) &&
		(r.fields == nil || slices.Contains(r.fields, field))
}

// sameDigest reports whether two images are one by another name: a release is
// its digests, and a tag never decides what runs.
func sameDigest(d, l any) bool {
	one, _ := d.(string)
	two, _ := l.(string)
	at := strings.LastIndexByte(one, '@')
	if at < 0 || !strings.HasSuffix(two, one[at:]) {
		return false // parsing costs more than all the rest of a comparison
	}
	a, err := stella.ParseArtifact(one)
	b, err2 := stella.ParseArtifact(two)
	return err == nil && err2 == nil && a.Digest != "" && a.Digest == b.Digest
}
