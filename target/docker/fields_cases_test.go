package docker

import (
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// composeCase is one Compose file, what somebody does to its container by hand,
// and the differences that this makes.
type composeCase struct {
	name    string
	service string // the file's service web, besides its image
	by      func(b *blueprint)
	want    []string // paths that differ then
	// update is what is done by the engine's own means instead.
	update *container.UpdateConfig
	// model is why this can not be had of every engine that tests run on: it is
	// compared with a model of what an engine answers.
	model string
	more  map[string]any // fields besides
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func port(s string) network.Port { return network.MustParsePort(s) }

func bind(of string, hostPort string) network.PortMap {
	return network.PortMap{port(of): {{HostIP: addr("127.0.0.1"), HostPort: hostPort}}}
}

func (b *blueprint) endpoint(name string) *network.EndpointSettings { return b.networks["shop_"+name] }

func composeCases() []composeCase {
	var all []composeCase
	for _, part := range [][]composeCase{processCases(), limitCases(), rightsCases(), networkCases(), mountCases(), modelCases()} {
		all = append(all, part...)
	}
	return all
}

func processCases() []composeCase {
	return []composeCase{
		{name: "nothing", service: "", by: func(b *blueprint) { b.config.User = "1000" }, want: []string{"/user"}},
		{name: "entrypoint", service: "entrypoint: [/app, one]", by: func(b *blueprint) { b.config.Entrypoint = []string{"/app", "two"} }, want: []string{"/entrypoint/1"}},
		{name: "entrypoint as text", service: "entrypoint: /app 'one two'", by: func(b *blueprint) { b.config.Entrypoint = []string{"/app"} }, want: []string{"/entrypoint"}},
		{name: "command", service: "command: [a, b]", by: func(b *blueprint) { b.config.Cmd = []string{"a", "c"} }, want: []string{"/command/1"}},
		{name: "command taken away", service: "command: [a, b]", by: func(b *blueprint) { b.config.Cmd = nil }, want: []string{"/command"}},
		{name: "environment", service: "environment: {A: one, B: '', C: 'x=y'}", by: func(b *blueprint) { b.config.Env = []string{"A=two", "B=", "C=x=y"} }, want: []string{"/environment/A"}},
		{name: "environment added to", service: "environment: {A: one}", by: func(b *blueprint) { b.config.Env = append(b.config.Env, "D=1") }, want: []string{"/environment/D"}},
		{name: "environment of the image", service: "environment: {APP_VERSION: mine}", by: func(b *blueprint) { b.config.Env = nil }, want: []string{"/environment/APP_VERSION"}},
		{name: "labels", service: "labels: {a.b: c, empty: ''}", by: func(b *blueprint) { b.config.Labels["a.b"] = "d" }, want: []string{"/labels/a.b"}},
		{name: "labels added to", service: "labels: {a.b: c}", by: func(b *blueprint) { b.config.Labels["new"] = "d" }, want: []string{"/labels/new"}},
		{name: "user", service: "user: '1000:1000'", by: func(b *blueprint) { b.config.User = "0" }, want: []string{"/user"}},
		{name: "working_dir", service: "working_dir: /tmp/", by: func(b *blueprint) { b.config.WorkingDir = "/www" }, want: []string{"/workingDir"}},
		{name: "stop_signal", service: "stop_signal: SIGINT", by: func(b *blueprint) { b.config.StopSignal = "SIGQUIT" }, want: []string{"/stopSignal"}},
		{name: "stop_grace_period", service: "stop_grace_period: 1m30s", by: func(b *blueprint) { b.config.StopTimeout = new(5) }, want: []string{"/stopGracePeriodSeconds"}},
		{name: "restart", service: "restart: unless-stopped", update: &container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}, want: []string{"/restart"}},
		{name: "restart with a count", service: "restart: on-failure:3", update: &container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 4}}, want: []string{"/restart"}},
		{name: "restart not asked for", service: "", update: &container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}, want: []string{"/restart"}},
		{name: "healthcheck", service: "healthcheck: {test: [CMD, /healthy], interval: 2s, timeout: 1s, start_period: 3s, retries: 4}", by: func(b *blueprint) { b.config.Healthcheck.Interval = 5 * time.Second }, want: []string{"/healthcheck/intervalSeconds"}},
		{name: "healthcheck as text", service: "healthcheck: {test: /healthy, interval: 1m}", by: func(b *blueprint) { b.config.Healthcheck.Test = []string{"NONE"} }, want: []string{"/healthcheck/test"}},
		{name: "healthcheck disabled", service: "healthcheck: {disable: true}", by: func(b *blueprint) {
			b.config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/healthy"}}
		}, want: []string{"/healthcheck/test"}},
		{name: "tty", service: "tty: true", by: func(b *blueprint) { b.config.Tty = false }, want: []string{"/tty"}},
		{name: "stdin_open", service: "stdin_open: true", by: func(b *blueprint) { b.config.OpenStdin = false }, want: []string{"/stdin_open"}},
		{name: "logging", service: "logging: {driver: json-file, options: {max-size: 1m, max-file: '2'}}", by: func(b *blueprint) { b.host.LogConfig.Config["max-size"] = "2m" }, want: []string{"/logging/options/max-size"}},
		{name: "logging driver", service: "logging: {driver: local}", by: func(b *blueprint) { b.host.LogConfig.Type = "none" }, want: []string{"/logging/driver"}},
	}
}

func limitCases() []composeCase {
	update := func(r container.Resources) *container.UpdateConfig { return &container.UpdateConfig{Resources: r} }
	return []composeCase{
		{name: "mem_limit", service: "mem_limit: 64m", update: update(container.Resources{Memory: 128 << 20, MemorySwap: 256 << 20}), want: []string{"/mem_limit"}},
		{name: "mem_limit not asked for", service: "", update: update(container.Resources{Memory: 128 << 20, MemorySwap: 256 << 20}), want: []string{"/mem_limit"}},
		{name: "memswap_limit", service: "{mem_limit: 64m, memswap_limit: 96m}", by: func(b *blueprint) { b.host.MemorySwap = 100 << 20 }, want: []string{"/memswap_limit"}},
		{name: "mem_reservation", service: "{mem_reservation: 32m}", update: update(container.Resources{MemoryReservation: 48 << 20}), want: []string{"/mem_reservation"}},
		{name: "cpus", service: "cpus: 0.7", update: update(container.Resources{NanoCPUs: 3e8}), want: []string{"/cpus"}},
		{name: "cpu_shares", service: "cpu_shares: 512", update: update(container.Resources{CPUShares: 256}), want: []string{"/cpu_shares"}},
		{name: "cpu_quota and cpu_period", service: "{cpu_quota: 50000, cpu_period: 100000}", update: update(container.Resources{CPUQuota: 25000}), want: []string{"/cpu_quota"}},
		{name: "cpu_period", service: "cpu_period: 100000", by: func(b *blueprint) { b.host.CPUPeriod = 50000 }, want: []string{"/cpu_period"}},
		{name: "cpuset", service: "cpuset: '0'", update: update(container.Resources{CpusetCpus: "0-1"}), want: []string{"/cpuset"}},
		{name: "pids_limit", service: "pids_limit: 50", update: update(container.Resources{PidsLimit: new(int64(60))}), want: []string{"/pids_limit"}},
		{name: "oom_score_adj", service: "oom_score_adj: 500", by: func(b *blueprint) { b.host.OomScoreAdj = 600 }, want: []string{"/oom_score_adj"}},
		{name: "shm_size", service: "shm_size: 32m", by: func(b *blueprint) { b.host.ShmSize = 48 << 20 }, want: []string{"/shm_size"}},
		{name: "ulimits", service: "ulimits: {nofile: {soft: 1000, hard: 2000}, core: 0}", by: func(b *blueprint) {
			for _, u := range b.host.Ulimits {
				if u.Name == "nofile" {
					u.Soft = 900
				}
			}
		}, want: []string{"/ulimits/nofile/soft"}},
		{name: "deploy limits", service: "deploy: {resources: {limits: {cpus: '0.5', memory: 64M, pids: 40}, reservations: {memory: 32M}}}", update: update(container.Resources{NanoCPUs: 4e8}), want: []string{"/deploy/resources/limits/cpus"}},
		{name: "deploy restart_policy", service: "deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}", update: &container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 5}}, want: []string{"/deploy/restart_policy/max_attempts"}},
	}
}

func rightsCases() []composeCase {
	return []composeCase{
		{name: "cap_add", service: "cap_add: [NET_ADMIN, SYS_TIME]", by: func(b *blueprint) { b.host.CapAdd = []string{"NET_ADMIN"} }, want: []string{"/cap_add"}},
		{name: "cap_drop", service: "cap_drop: [MKNOD]", by: func(b *blueprint) { b.host.CapDrop = []string{"ALL"} }, want: []string{"/cap_drop/0"}},
		{name: "security_opt", service: "security_opt: ['no-new-privileges:true']", by: func(b *blueprint) { b.host.SecurityOpt = nil }, want: []string{"/security_opt"}},
		{name: "security_opt added", service: "", by: func(b *blueprint) { b.host.SecurityOpt = []string{"seccomp=unconfined"} }, want: []string{"/security_opt"}},
		{name: "system paths", service: "security_opt: ['systempaths=unconfined']", by: func(b *blueprint) { b.host.MaskedPaths, b.host.ReadonlyPaths = nil, nil }, want: []string{"/security_opt"}},
		{name: "group_add", service: "group_add: ['1000', '5']", by: func(b *blueprint) { b.host.GroupAdd = []string{"1000", "6"} }, want: []string{"/group_add/1"}},
		{name: "init", service: "init: true", by: func(b *blueprint) { b.host.Init = nil }, want: []string{"/init"}, model: "an engine needs its init program"},
		{name: "read_only", service: "read_only: true", by: func(b *blueprint) { b.host.ReadonlyRootfs = false }, want: []string{"/read_only"}},
		{name: "devices", service: "devices: ['/dev/null:/dev/mine', '/dev/zero:/dev/zero:r']", by: func(b *blueprint) { b.host.Devices = b.host.Devices[:1] }, want: []string{"/devices"}},
		{name: "device_cgroup_rules", service: "device_cgroup_rules: ['c 1:3 mr']", by: func(b *blueprint) { b.host.DeviceCgroupRules = []string{"c 1:3 rmw"} }, want: []string{"/device_cgroup_rules/0"}},
		{name: "pid", service: "pid: host", by: func(b *blueprint) { b.host.PidMode = "" }, want: []string{"/pid"}},
		{name: "ipc", service: "ipc: shareable", by: func(b *blueprint) { b.host.IpcMode = "none" }, want: []string{"/ipc"}},
		{name: "uts", service: "uts: host", by: func(b *blueprint) { b.host.UTSMode = "" }, want: []string{"/uts"}},
		{name: "userns_mode", service: "userns_mode: host", by: func(b *blueprint) { b.host.UsernsMode = "" }, want: []string{"/userns_mode"}},
		{name: "cgroup", service: "cgroup: host", by: func(b *blueprint) { b.host.CgroupnsMode = "" }, want: []string{"/cgroup"}, model: "it depends on the version of control groups"},
		{name: "cgroup_parent", service: "cgroup_parent: /shop", by: func(b *blueprint) { b.host.CgroupParent = "/other" }, want: []string{"/cgroup_parent"}},
		{name: "sysctls", service: "sysctls: {net.core.somaxconn: 512}", by: func(b *blueprint) { b.host.Sysctls = map[string]string{"net.core.somaxconn": "256"} }, want: []string{"/sysctls/net.core.somaxconn"}},
		{name: "runtime", service: "runtime: io.containerd.runc.v2", by: func(b *blueprint) { b.host.Runtime = "runc" }, want: []string{"/runtime"}},
	}
}

func networkCases() []composeCase {
	return []composeCase{
		{name: "ports", service: "ports: ['127.0.0.1:18080:80', '127.0.0.1:18053:53/udp']", by: func(b *blueprint) { b.host.PortBindings = bind("80/tcp", "18081") }, want: []string{"/ports"}},
		{name: "ports of a range", service: "ports: ['127.0.0.1:18100-18102:100-102']", by: func(b *blueprint) { b.host.PortBindings = bind("100/tcp", "18100") }, want: []string{"/ports"}},
		{name: "ports that the engine chooses", service: "ports: ['80', '127.0.0.1::81']", by: func(b *blueprint) { delete(b.host.PortBindings, port("80/tcp")) }, want: []string{"/ports"}},
		{name: "ports added", service: "", by: func(b *blueprint) {
			b.host.PortBindings = bind("80/tcp", "18200")
			b.config.ExposedPorts = network.PortSet{port("80/tcp"): {}}
		}, want: []string{"/ports"}},
		{name: "expose", service: "expose: ['8080', '9000-9001/udp']", by: func(b *blueprint) { delete(b.config.ExposedPorts, port("8080/tcp")) }, want: []string{"/expose"}},
		{name: "hostname", service: "hostname: one", by: func(b *blueprint) { b.config.Hostname = "two" }, want: []string{"/hostname"}},
		{name: "domainname", service: "{hostname: one, domainname: example.com}", by: func(b *blueprint) { b.config.Domainname = "example.org" }, want: []string{"/domainname"}},
		{name: "dns", service: "dns: [10.0.0.1, 10.0.0.2]", by: func(b *blueprint) { b.host.DNS = []netip.Addr{addr("10.0.0.1"), addr("10.0.0.3")} }, want: []string{"/dns/1"}},
		{name: "dns_search", service: "dns_search: example.com", by: func(b *blueprint) { b.host.DNSSearch = []string{"example.org"} }, want: []string{"/dns_search/0"}},
		{name: "dns_opt", service: "dns_opt: ['ndots:2']", by: func(b *blueprint) { b.host.DNSOptions = []string{"ndots:3"} }, want: []string{"/dns_opt/0"}},
		{name: "extra_hosts", service: "extra_hosts: ['db:10.0.0.9', 'v6=::1']", by: func(b *blueprint) { b.host.ExtraHosts = []string{"db:10.0.0.8", "v6:::1"} }, want: []string{"/extra_hosts/0"}},
		{name: "networks", service: "networks: [front]", by: func(b *blueprint) { b.networks = map[string]*network.EndpointSettings{"shop_front": {}} }, want: []string{"/networks/front"}},
		{name: "aliases", service: "networks: {front: {aliases: [shop, www]}}", by: func(b *blueprint) { b.endpoint("front").Aliases = []string{"web", "shop"} }, want: []string{"/networks/front/aliases"}},
		{name: "ipv4_address", service: "networks: {front: {ipv4_address: 172.30.200.7}}", by: func(b *blueprint) { b.endpoint("front").IPAMConfig.IPv4Address = addr("172.30.200.8") }, want: []string{"/networks/front/ipv4_address"}},
		{name: "ipv6_address", service: "networks: {front: {ipv6_address: 'fd00:30::77'}}", by: func(b *blueprint) { b.endpoint("front").IPAMConfig.IPv6Address = addr("fd00:30::78") }, want: []string{"/networks/front/ipv6_address"}},
		{name: "link_local_ips", service: "networks: {front: {link_local_ips: [169.254.8.8]}}", by: func(b *blueprint) { b.endpoint("front").IPAMConfig = nil }, want: []string{"/networks/front/link_local_ips"}},
		{name: "driver_opts", service: "networks: {front: {driver_opts: {a: b}, priority: 10}}", by: func(b *blueprint) { b.endpoint("front").DriverOpts["a"] = "c" }, want: []string{"/networks/front/driver_opts/a"}},
		{name: "network_mode none", service: "network_mode: none", by: func(b *blueprint) { b.host.NetworkMode = "host" }, want: []string{"/network_mode"}},
		{name: "network_mode host", service: "network_mode: host", by: func(b *blueprint) { b.host.NetworkMode = "none" }, want: []string{"/network_mode"}},
		{name: "network_mode bridge", service: "network_mode: bridge", by: func(b *blueprint) { b.host.NetworkMode = "none" }, want: []string{"/network_mode"}},
		{name: "network_mode not asked for", service: "", by: func(b *blueprint) { b.host.NetworkMode = "default"; b.networks = nil }, want: []string{"/network_mode"}},
	}
}

func mountCases() []composeCase {
	return []composeCase{
		{name: "volumes", service: "volumes: ['data:/data']", by: func(b *blueprint) { b.host.Mounts[0].Source = "shop_other" }, want: []string{"/volumes/0/source"}},
		{name: "volumes read only", service: "volumes: ['data:/data:ro']", by: func(b *blueprint) { b.host.Mounts[0].ReadOnly = false }, want: []string{"/volumes/0/readOnly"}},
		{name: "volumes without a name", service: "volumes: [/data, {type: volume, source: data, target: /b, volume: {nocopy: true}}]", by: func(b *blueprint) { b.host.Mounts[0].Target = "/d" }, want: []string{"/volumes/0/target"}},
		{name: "volumes in the older form", service: "volumes: ['data:/data']", by: func(b *blueprint) { b.host.Mounts, b.host.Binds = nil, []string{"shop_data:/data:ro"} }, want: []string{"/volumes/0/readOnly"}},
		{name: "volumes added", service: "", by: func(b *blueprint) { b.host.Binds = []string{"/usr:/host"} }, want: []string{"/volumes"}},
		{name: "bind", service: "", more: map[string]any{"volumes": []any{map[string]any{"type": "bind", "source": "/usr", "target": "/x", "readOnly": true}}}, by: func(b *blueprint) { b.host.Binds = []string{"/usr:/x:rw"} }, want: []string{"/volumes/0/readOnly"}},
		{name: "bind with propagation", service: "", more: map[string]any{"volumes": []any{map[string]any{"type": "bind", "source": "/usr", "target": "/x", "readOnly": false, "bind": map[string]any{"propagation": "rprivate", "create_host_path": false}}}}, by: func(b *blueprint) { b.host.Mounts[0].BindOptions.Propagation = mount.PropagationPrivate }, want: []string{"/volumes/0/bind/propagation", "/volumes/0/bind/create_host_path"}},
		{name: "tmpfs of volumes", service: "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o1777}}]", by: func(b *blueprint) { b.host.Mounts[0].TmpfsOptions.SizeBytes = 2 << 20 }, want: []string{"/volumes/0/tmpfs/size"}},
		{name: "tmpfs", service: "tmpfs: ['/run:size=1m,mode=0755', /var/tmp]", by: func(b *blueprint) { b.host.Tmpfs["/run"] = "size=2m" }, want: []string{"/tmpfs/0"}},
	}
}

// modelCases are attributes that need what not every machine has.
func modelCases() []composeCase {
	const kernel = "not every kernel can do it"
	return []composeCase{
		{name: "privileged", service: "privileged: true", model: kernel, by: func(b *blueprint) { b.host.Privileged = false }, want: []string{"/privileged"}},
		{name: "mem_swappiness", service: "mem_swappiness: 10", model: kernel, by: func(b *blueprint) { b.host.MemorySwappiness = new(int64(20)) }, want: []string{"/mem_swappiness"}},
		{name: "oom_kill_disable", service: "oom_kill_disable: true", model: kernel, by: func(b *blueprint) { b.host.OomKillDisable = new(false) }, want: []string{"/oom_kill_disable"}},
		{name: "cpu_rt_runtime", service: "cpu_rt_runtime: 95000", model: kernel, by: func(b *blueprint) { b.host.CPURealtimeRuntime = 90000 }, want: []string{"/cpu_rt_runtime"}},
		{name: "cpu_rt_period", service: "cpu_rt_period: 95000", model: kernel, by: func(b *blueprint) { b.host.CPURealtimePeriod = 90000 }, want: []string{"/cpu_rt_period"}},
		{name: "storage_opt", service: "storage_opt: {size: 1G}", model: kernel, by: func(b *blueprint) { b.host.StorageOpt = map[string]string{"size": "2G"} }, want: []string{"/storage_opt/size"}},
		{name: "ulimits beyond the machine's", service: "ulimits: {nofile: 100000}", model: kernel, by: func(b *blueprint) { b.host.Ulimits[0].Hard = 200000 }, want: []string{"/ulimits/nofile"}},
		{name: "oom_score_adj below zero", service: "oom_score_adj: -500", model: kernel, by: func(b *blueprint) { b.host.OomScoreAdj = 0 }, want: []string{"/oom_score_adj"}},
		{name: "blkio_config", service: "blkio_config: {weight: 300, weight_device: [{path: /dev/sda, weight: 400}], device_read_bps: [{path: /dev/sda, rate: 1mb}], device_write_iops: [{path: /dev/sda, rate: 100}]}", model: kernel, by: func(b *blueprint) {
			b.host.BlkioWeightDevice = []*blkiodev.WeightDevice{{Path: "/dev/sda", Weight: 500}}
		}, want: []string{"/blkio_config/weight_device/0/Weight"}},
		{name: "gpus", service: "gpus: all", model: kernel, by: func(b *blueprint) { b.host.DeviceRequests = nil }, want: []string{"/gpus"}},
		{name: "deploy devices", service: "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 1}]}}}", model: kernel, by: func(b *blueprint) { b.host.DeviceRequests[0].Count = 2 }, want: []string{"/deploy/resources/reservations/devices/0/count"}},
		{name: "annotations", service: "annotations: {a: b}", model: "older engines have none", by: func(b *blueprint) { b.host.Annotations = map[string]string{"a": "c"} }, want: []string{"/annotations/a"}},
		{name: "mac_address", service: "mac_address: '02:42:ac:11:00:07'", model: "older engines have none of an endpoint", by: func(b *blueprint) { b.endpoint("default").MacAddress = []byte{2, 2, 2, 2, 2, 2} }, want: []string{"/mac_address"}},
		{name: "mac_address of a network", service: "networks: {front: {mac_address: '02:42:ac:11:00:07'}}", model: "older engines have none of an endpoint", by: func(b *blueprint) { b.endpoint("front").MacAddress = []byte{2, 2, 2, 2, 2, 2} }, want: []string{"/networks/front/mac_address"}},
		{name: "gw_priority", service: "networks: {front: {gw_priority: 3}}", model: "older engines have none", by: func(b *blueprint) { b.endpoint("front").GwPriority = 4 }, want: []string{"/networks/front/gw_priority"}},
		{name: "subpath of a volume", service: "volumes: [{type: volume, source: data, target: /d, volume: {subpath: a}}]", model: "older engines have none", by: func(b *blueprint) { b.host.Mounts[0].VolumeOptions.Subpath = "b" }, want: []string{"/volumes/0/volume/subpath"}},
		{name: "platform", service: "platform: linux/amd64", model: "images are of the machine's own", by: func(b *blueprint) { b.config.User = "5" }, want: []string{"/user"}},
	}
}
