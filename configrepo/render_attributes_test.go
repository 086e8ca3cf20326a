package configrepo

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// attribute is a field of a service, what it is written as and what is rendered
// of it.
type attribute struct {
	written string
	field   string
	want    any
}

func attributes() map[string]attribute {
	list := func(v ...any) []any { return v }
	type m = map[string]any
	return map[string]attribute{
		"umask":               {"umask: \"0027\"", "umask", 23.0},
		"pull_refresh_after":  {"pull_refresh_after: 1h", "pull_refresh_after", "1h"},
		"annotations":         {"annotations: {a: b}", "annotations", m{"a": "b"}},
		"attach":              {"attach: true", "attach", true},
		"blkio_config":        {"blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda, rate: 1k}]}", "blkio_config", m{"weight": 300.0, "device_read_bps": list(m{"Path": "/dev/sda", "Rate": "1024"})}},
		"cap_add":             {"cap_add: [CHOWN]", "cap_add", list("CHOWN")},
		"cap_drop":            {"cap_drop: [ALL]", "cap_drop", list("ALL")},
		"cgroup_parent":       {"cgroup_parent: x", "cgroup_parent", "x"},
		"cgroup":              {"cgroup: private", "cgroup", "private"},
		"command":             {"command: a b", "command", list("a", "b")},
		"container_name":      {"container_name: xy", "container_name", "xy"},
		"cpu_count":           {"cpu_count: 2", "cpu_count", 2.0},
		"cpu_percent":         {"cpu_percent: 50", "cpu_percent", 50.0},
		"cpu_period":          {"cpu_period: 1000", "cpu_period", 1000.0},
		"cpu_quota":           {"cpu_quota: 500", "cpu_quota", 500.0},
		"cpu_rt_period":       {"cpu_rt_period: 1000", "cpu_rt_period", 1000.0},
		"cpu_rt_runtime":      {"cpu_rt_runtime: 500", "cpu_rt_runtime", 500.0},
		"cpus":                {"cpus: 0.5", "cpus", 0.5},
		"cpuset":              {"cpuset: \"0\"", "cpuset", "0"},
		"cpu_shares":          {"cpu_shares: 512", "cpu_shares", 512.0},
		"deploy":              {"deploy: {resources: {limits: {cpus: \"0.5\", memory: 64m, pids: 5}}}", "deploy", m{"resources": m{"limits": m{"cpus": 0.5, "memory": "67108864", "pids": 5.0}}}},
		"device_cgroup_rules": {"device_cgroup_rules: [\"c 1:3 mr\"]", "device_cgroup_rules", list("c 1:3 mr")},
		"devices":             {"devices: [\"/dev/null:/dev/x:r\"]", "devices", list(m{"source": "/dev/null", "target": "/dev/x", "permissions": "r"})},
		"dns":                 {"dns: 192.0.2.1", "dns", list("192.0.2.1")},
		"dns_opt":             {"dns_opt: [use-vc]", "dns_opt", list("use-vc")},
		"dns_search":          {"dns_search: example.com", "dns_search", list("example.com")},
		"domainname":          {"domainname: example.com", "domainname", "example.com"},
		"entrypoint":          {"entrypoint: [a, \"b c\"]", "entrypoint", list("a", "b c")},
		"environment":         {"environment: [A=b]", "environment", m{"A": "b"}},
		"expose":              {"expose: [80]", "expose", list("80")},
		"extra_hosts":         {"extra_hosts: [\"a=192.0.2.1\"]", "extra_hosts", list("a=192.0.2.1")},
		"group_add":           {"group_add: [5]", "group_add", list("5")},
		"gpus":                {"gpus: all", "gpus", list(m{"count": -1.0})},
		"hostname":            {"hostname: x", "hostname", "x"},
		"healthcheck":         {"healthcheck: {test: x}", "healthcheck", m{"test": list("CMD-SHELL", "x")}},
		"init":                {"init: true", "init", true},
		"ipc":                 {"ipc: none", "ipc", "none"},
		"isolation":           {"isolation: default", "isolation", "default"},
		"labels":              {"labels: [a=b]", "labels", m{"a": "b"}},
		"links":               {"links: [db]", "links", list("db")},
		"logging":             {"logging: {driver: local, options: {max-size: 1m}}", "logging", m{"driver": "local", "options": m{"max-size": "1m"}}},
		"mem_limit":           {"mem_limit: 64m", "mem_limit", "67108864"},
		"mem_reservation":     {"mem_reservation: 1k", "mem_reservation", "1024"},
		"memswap_limit":       {"memswap_limit: -1", "memswap_limit", "-1"},
		"mem_swappiness":      {"mem_swappiness: 10", "mem_swappiness", "10"},
		"mac_address":         {"mac_address: 02:42:ac:11:00:02", "mac_address", "02:42:ac:11:00:02"},
		"network_mode":        {"network_mode: none", "network_mode", "none"},
		"networks":            {"networks: {n: null}", "networks", m{"n": nil}},
		"oom_kill_disable":    {"oom_kill_disable: true", "oom_kill_disable", true},
		"oom_score_adj":       {"oom_score_adj: 100", "oom_score_adj", 100.0},
		"pid":                 {"pid: \"service:db\"", "pid", "service:db"},
		"pids_limit":          {"pids_limit: 10", "pids_limit", 10.0},
		"platform":            {"platform: linux/amd64", "platform", "linux/amd64"},
		"privileged":          {"privileged: true", "privileged", true},
		"pull_policy":         {"pull_policy: always", "pull_policy", "always"},
		"read_only":           {"read_only: true", "read_only", true},
		"restart":             {"restart: \"no\"", "restart", "no"},
		"runtime":             {"runtime: runc", "runtime", "runc"},
		"scale":               {"scale: 2", "scale", 2.0},
		"security_opt":        {"security_opt: [no-new-privileges]", "security_opt", list("no-new-privileges")},
		"shm_size":            {"shm_size: 1m", "shm_size", "1048576"},
		"stdin_open":          {"stdin_open: true", "stdin_open", true},
		"stop_grace_period":   {"stop_grace_period: 1m30s", "stopGracePeriodSeconds", 90.0},
		"stop_signal":         {"stop_signal: SIGINT", "stopSignal", "SIGINT"},
		"storage_opt":         {"storage_opt: {size: 1G}", "storage_opt", m{"size": "1G"}},
		"sysctls":             {"sysctls: [net.core.somaxconn=1024]", "sysctls", m{"net.core.somaxconn": "1024"}},
		"tmpfs":               {"tmpfs: /run", "tmpfs", list("/run")},
		"tty":                 {"tty: true", "tty", true},
		"ulimits":             {"ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}", "ulimits", m{"nproc": 5.0, "nofile": m{"soft": 1.0, "hard": 2.0}}},
		"user":                {"user: \"5:5\"", "user", "5:5"},
		"userns_mode":         {"userns_mode: host", "userns_mode", "host"},
		"uts":                 {"uts: host", "uts", "host"},
		"volumes_from":        {"volumes_from: [db]", "volumes_from", list("db")},
		"use_api_socket":      {"use_api_socket: true", "use_api_socket", true},
		"working_dir":         {"working_dir: /x", "workingDir", "/x"},
		"post_start":          {"post_start: [{command: a b, user: x}]", "post_start", list(m{"command": list("a", "b"), "user": "x"})},
		"pre_stop":            {"pre_stop: [{command: a b}]", "pre_stop", list(m{"command": list("a", "b")})},
		"models":              {"models: [m]", "models", m{"m": nil}},
		"volumes":             {"volumes: [\"/data\"]", "volumes", list(m{"type": "volume", "source": "", "target": "/data", "readOnly": false})},
		"ports":               {"ports: [\"8080:80\"]", "ports", list(m{"target": 80.0, "published": "8080", "protocol": "tcp", "hostIP": ""})},
		"depends_on":          {"depends_on: [db]", "dependsOn", m{"db": m{"condition": "service_started"}}},
	}
}

// elsewhere are the attributes that have tests of their own, no part in what runs
// or are refused.
func elsewhere() []string {
	return []string{
		"name", "profiles", "build", "develop", "configs", "secrets", "credential_spec", "dependson", "env_file", "extends",
		"external_links", "image", "label_file", "logopt", "net", "provider", "pre_start", "volume_driver", "log_driver", "log_opt", "uid", "dockerfile",
	}
}

// known are the names of all attributes of a structure, those of the structures
// that it embeds included.
func known(of reflect.Type) []string {
	var all []string
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous:
			all = append(all, known(f.Type)...)
		case name != "-" && !strings.HasPrefix(name, "#"):
			all = append(all, name)
		}
	}
	return all
}

// TestEveryAttributeIsRendered goes over the attributes that the loader knows:
// none is lost in silence, and each has one form however it is written.
func TestEveryAttributeIsRendered(t *testing.T) {
	table := attributes()
	for _, name := range known(reflect.TypeFor[types.ServiceConfig]()) {
		if _, ok := table[name]; !ok && !slices.Contains(elsewhere(), name) {
			t.Errorf("nothing is known of %s", name)
		}
	}
	for name, a := range table {
		files := engineApp("allow: [privileged, hostNetwork, devices, unconfined, runtime, engineSocket]\n", "services:\n  web:\n    "+a.written+
			"\n  db:\n    image: registry.example.com/db:1@"+someDigest+"\nnetworks: {n: {}}\nmodels: {m: {model: x}}\n")
		d, err := renderFiles(t.Context(), files)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r, _ := d.Targets[0].State.Resource("service/web")
		got, ok := r.Fields[a.field]
		if !ok {
			t.Errorf("%s is lost: %v", name, r.Fields)
		}
		if diff := cmp.Diff(a.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
