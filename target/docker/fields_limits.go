package docker

import (
	"math"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// limitAttributes are how much a container may have.
func limitAttributes() []attribute {
	return []attribute{
		sizeField("mem_limit", func(bp *blueprint) *int64 { return &bp.host.Memory }).unless("deploy", "resources", "limits", "memory"),
		sizeField("memswap_limit", func(bp *blueprint) *int64 { return &bp.host.MemorySwap }),
		sizeField("mem_reservation", func(bp *blueprint) *int64 { return &bp.host.MemoryReservation }).
			unless("deploy", "resources", "reservations", "memory"),
		{
			field: "mem_swappiness",
			set: func(c *compiler, path string, v any) {
				n := c.within(path, v, -1, 100)
				c.bp.host.MemorySwappiness = &n
			},
			get: func(s *side) any { return sizeAt(s.bp.host.MemorySwappiness) },
		},
		attribute{field: "cpus", set: setCPUs, get: func(s *side) any { return cpusOf(s.bp.host.NanoCPUs) }}.
			unless("deploy", "resources", "limits", "cpus"),
		wholeField("cpu_shares", func(bp *blueprint) *int64 { return &bp.host.CPUShares }),
		wholeField("cpu_quota", func(bp *blueprint) *int64 { return &bp.host.CPUQuota }),
		wholeField("cpu_period", func(bp *blueprint) *int64 { return &bp.host.CPUPeriod }),
		wholeField("cpu_rt_period", func(bp *blueprint) *int64 { return &bp.host.CPURealtimePeriod }),
		wholeField("cpu_rt_runtime", func(bp *blueprint) *int64 { return &bp.host.CPURealtimeRuntime }),
		textField("cpuset", func(bp *blueprint) *string { return &bp.host.CpusetCpus }),
		attribute{field: "pids_limit", set: setPids, get: func(s *side) any { return numberAt(s.bp.host.PidsLimit) }}.
			unless("deploy", "resources", "limits", "pids"),
		{field: "oom_score_adj", set: setOOMScore, get: func(s *side) any { return numberOf(int64(s.bp.host.OomScoreAdj)) }},
		{
			field: "oom_kill_disable",
			set:   func(c *compiler, path string, v any) { off := c.flag(path, v); c.bp.host.OomKillDisable = &off },
			get:   func(s *side) any { return flagOf(s.bp.host.OomKillDisable) },
		},
		sizeField("shm_size", func(bp *blueprint) *int64 { return &bp.host.ShmSize }),
		{field: "ulimits", set: setUlimits, get: getUlimits},
		{field: "blkio_config", set: setBlkio, get: getBlkio},
		{field: "gpus", set: setGPUs, get: getGPUs, bag: true},
		{field: "deploy", set: setDeploy, get: getDeploy},
		{field: "scale", set: setScale, get: func(*side) any { return nil }},
	}
}

// unless is an attribute that is read under another field where it was asked
// there and not here.
func (a attribute) unless(keys ...string) attribute {
	get := a.get
	a.get = func(s *side) any {
		if !s.has(a.field) && askedBelow(s.asked, keys...) != nil {
			return nil
		}
		return get(s)
	}
	return a
}

func sizeAt(n *int64) any {
	if n == nil {
		return nil
	}
	return canonicalSize(*n)
}

func numberAt(n *int64) any {
	if n == nil {
		return nil
	}
	return float64(*n)
}

func setCPUs(c *compiler, path string, v any) {
	c.bp.host.NanoCPUs = int64(math.Round(c.fraction(path, v) * 1e9))
}

func setPids(c *compiler, path string, v any) {
	n := c.whole(path, v)
	c.bp.host.PidsLimit = &n
}

func setOOMScore(c *compiler, path string, v any) {
	c.bp.host.OomScoreAdj = int(c.within(path, v, -1000, 1000))
}

func setScale(c *compiler, path string, v any) {
	if c.whole(path, v) != 1 {
		c.unsupported(path, "is not supported: a service is one container; write one service for each")
	}
}

// setUlimits takes a number for both, or {soft, hard}.
func setUlimits(c *compiler, at string, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		c.invalid(at, "is not a mapping")
		return
	}
	for _, name := range sortedNames(m) {
		u := &container.Ulimit{Name: name}
		if _, both := m[name].(map[string]any); both {
			c.object(at+"."+name, m[name], map[string]func(string, any){
				"soft": func(path string, v any) { u.Soft = c.whole(path, v) },
				"hard": func(path string, v any) { u.Hard = c.whole(path, v) },
			})
		} else {
			u.Soft = c.whole(at+"."+name, m[name])
			u.Hard = u.Soft
		}
		c.bp.host.Ulimits = append(c.bp.host.Ulimits, u)
	}
}

func getUlimits(s *side) any {
	out := map[string]any{}
	for _, u := range s.bp.host.Ulimits {
		if _, both := askedBelow(s.asked, "ulimits", u.Name).(map[string]any); u.Soft == u.Hard && !both {
			out[u.Name] = float64(u.Soft)
		} else {
			out[u.Name] = map[string]any{"soft": float64(u.Soft), "hard": float64(u.Hard)}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// throttles are the lists of blkio_config, by their Compose names.
func throttles(r *container.Resources) map[string]*[]*blkiodev.ThrottleDevice {
	return map[string]*[]*blkiodev.ThrottleDevice{
		"device_read_bps": &r.BlkioDeviceReadBps, "device_read_iops": &r.BlkioDeviceReadIOps,
		"device_write_bps": &r.BlkioDeviceWriteBps, "device_write_iops": &r.BlkioDeviceWriteIOps,
	}
}

func setBlkio(c *compiler, at string, v any) {
	keys := map[string]func(string, any){
		"weight": func(path string, v any) { c.bp.host.BlkioWeight = uint16(c.within(path, v, 0, 1000)) }, //nolint:gosec // within
		"weight_device": func(path string, v any) {
			c.each(path, v, func(path string, v any) {
				d := &blkiodev.WeightDevice{}
				c.device(path, v, "weight", &d.Path, func(path string, v any) {
					d.Weight = uint16(c.within(path, v, 0, 1000)) //nolint:gosec // within
				})
				c.bp.host.BlkioWeightDevice = append(c.bp.host.BlkioWeightDevice, d)
			})
		},
	}
	for name, list := range throttles(&c.bp.host.Resources) {
		keys[name] = func(path string, v any) {
			c.each(path, v, func(path string, v any) {
				d := &blkiodev.ThrottleDevice{}
				c.device(path, v, "rate", &d.Path, func(path string, v any) {
					d.Rate = uint64(c.within(path, v, 0, math.MaxInt64)) //nolint:gosec // within
				})
				*list = append(*list, d)
			})
		}
	}
	c.object(at, v, keys)
}

// device reads {path, what}: Compose renders the keys with capitals.
func (c *compiler) device(at string, v any, what string, path *string, set func(string, any)) {
	name := func(at string, v any) { *path = c.text(at, v) }
	title := strings.ToUpper(what[:1]) + what[1:]
	c.object(at, v, map[string]func(string, any){"path": name, "Path": name, what: set, title: set})
}

func getBlkio(s *side) any {
	r := &s.bp.host.Resources
	out := map[string]any{}
	setField(out, "weight", numberOf(int64(r.BlkioWeight)))
	weights := []any{}
	for _, d := range r.BlkioWeightDevice {
		weights = append(weights, map[string]any{"Path": d.Path, "Weight": float64(d.Weight)})
	}
	setList(out, "weight_device", weights)
	for name, list := range throttles(r) {
		rates := []any{}
		for _, d := range *list {
			rates = append(rates, map[string]any{"Path": d.Path, "Rate": canonicalSize(int64(d.Rate))}) //nolint:gosec // for people
		}
		setList(out, name, rates)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func setList(out map[string]any, name string, list []any) {
	if len(list) > 0 {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(keyOf(a), keyOf(b)) })
		out[name] = list
	}
}

func setGPUs(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) { c.deviceRequest(at, v, "gpu") })
}

// deviceRequest takes a device by what it can do; always is added to that.
func (c *compiler) deviceRequest(at string, v any, always string) {
	d := container.DeviceRequest{}
	var can []string
	c.object(at, v, map[string]func(string, any){
		"capabilities": func(path string, v any) { can = c.texts(path, v) },
		"driver":       func(path string, v any) { d.Driver = c.text(path, v) },
		"count":        func(path string, v any) { d.Count = int(c.within(path, v, -1, 1<<16)) },
		"device_ids":   func(path string, v any) { d.DeviceIDs = c.texts(path, v) },
		"options":      func(path string, v any) { d.Options = c.pairs(path, v) },
	})
	if always != "" && !slices.Contains(can, always) {
		can = append(can, always)
	}
	if len(can) == 0 {
		c.invalid(at, "does not say which capabilities")
	}
	if d.Count == 0 && len(d.DeviceIDs) == 0 {
		d.Count = -1
	}
	d.Capabilities = [][]string{can}
	c.bp.host.DeviceRequests = append(c.bp.host.DeviceRequests, d)
}

func getGPUs(s *side) any {
	if !s.has("gpus") && askedBelow(s.asked, "deploy", "resources", "reservations", "devices") != nil {
		return nil
	}
	return deviceRequests(s.bp)
}

func deviceRequests(bp *blueprint) any {
	out := []any{}
	for _, d := range bp.host.DeviceRequests {
		one := map[string]any{}
		can := slices.Concat(d.Capabilities...)
		slices.Sort(can)
		setField(one, "capabilities", listOf(can))
		setField(one, "driver", orNone(d.Driver))
		setField(one, "count", numberOf(int64(d.Count)))
		setField(one, "device_ids", listOf(d.DeviceIDs))
		setField(one, "options", pairsOf(d.Options))
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
