package docker

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
)

// mountAttributes are where a container's data and files are.
func mountAttributes() []attribute {
	return []attribute{
		{field: "volumes", set: setVolumes, get: getVolumes, bag: true},
		{field: "tmpfs", set: setTmpfs, get: getTmpfs, bag: true},
		{field: "configs", set: setFiles(false), get: getFiles(false)},
		{field: "secrets", set: setFiles(true), get: getFiles(true)},
	}
}

func setVolumes(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		var m mount.Mount
		relabel := ""
		c.object(at, v, map[string]func(string, any){
			"type":        func(path string, v any) { m.Type = mount.Type(c.text(path, v)) },
			"source":      func(path string, v any) { m.Source = c.text(path, v) },
			"target":      func(p string, v any) { m.Target = path.Clean(c.text(p, v)) },
			"readOnly":    func(path string, v any) { m.ReadOnly = c.flag(path, v) },
			"consistency": nil, // of Docker Desktop: nothing on Linux
			"bind":        func(path string, v any) { m.BindOptions, relabel = c.bindOptions(path, v) },
			"volume":      func(path string, v any) { m.VolumeOptions = c.volumeOptions(path, v) },
			"tmpfs":       func(path string, v any) { m.TmpfsOptions = c.tmpfsOptions(path, v) },
			"image":       func(path string, v any) { m.ImageOptions = c.imageOptions(path, v) },
		})
		if !strings.HasPrefix(m.Target, "/") {
			c.invalid(at, "mounts at a target that is not an absolute path")
		}
		c.mount(at, m, relabel)
	})
}

func (c *compiler) mount(at string, m mount.Mount, relabel string) {
	switch m.Type {
	case mount.TypeVolume:
		if m.Source != "" {
			m.Source = c.scope.volume(m.Source)
		}
	case mount.TypeBind:
		if !strings.HasPrefix(m.Source, "/") {
			c.unsupported(at, "mounts a path of the app: the engine may be on another machine; use configs for files of the app")
			return
		}
		m.Source = path.Clean(m.Source)
		if m.BindOptions == nil || relabel != "" || m.BindOptions.CreateMountpoint && !c.since("1.42") {
			c.bind(at, m, relabel)
			return
		}
	case mount.TypeTmpfs:
		m.Source = ""
	case mount.TypeImage:
		if !c.needs(at, "1.48") {
			return
		}
	default:
		c.unsupported(at, "is of a type that is not supported: use volume, bind, tmpfs or image")
		return
	}
	c.bp.host.Mounts = append(c.bp.host.Mounts, m)
}

// bind asks in the older form, which makes the directory where it is missing
// and sets labels.
func (c *compiler) bind(at string, m mount.Mount, relabel string) {
	if strings.ContainsAny(m.Source+m.Target, ":") {
		c.unsupported(at, "has a path with a colon")
		return
	}
	options := "rw"
	if m.ReadOnly {
		options = "ro"
	}
	if relabel != "" {
		options += "," + relabel
	}
	if b := m.BindOptions; b != nil {
		if b.Propagation != "" {
			options += "," + string(b.Propagation)
		}
		if b.NonRecursive || b.ReadOnlyNonRecursive || b.ReadOnlyForceRecursive {
			c.unsupported(at, "has options that can not be had together")
		}
	}
	c.bp.host.Binds = append(c.bp.host.Binds, m.Source+":"+m.Target+":"+options)
}

func (c *compiler) bindOptions(at string, v any) (*mount.BindOptions, string) {
	o := &mount.BindOptions{CreateMountpoint: true}
	relabel := ""
	c.object(at, v, map[string]func(string, any){
		"create_host_path": func(path string, v any) { o.CreateMountpoint = c.flag(path, v) },
		"selinux": func(path string, v any) {
			if relabel = c.text(path, v); relabel != "z" && relabel != "Z" {
				c.invalid(path, "is neither z nor Z")
			}
		},
		"propagation": func(path string, v any) {
			if o.Propagation = mount.Propagation(c.text(path, v)); !slices.Contains(mount.Propagations, o.Propagation) {
				c.invalid(path, "is not known")
			}
		},
		"recursive": func(path string, v any) {
			switch c.text(path, v) {
			case "enabled":
			case "disabled":
				o.NonRecursive = true
			case "writable":
				o.ReadOnlyNonRecursive = c.needs(path, "1.44")
			case "readonly":
				o.ReadOnlyForceRecursive = c.needs(path, "1.44")
			default:
				c.invalid(path, "is not known")
			}
		},
	})
	return o, relabel
}

func (c *compiler) volumeOptions(at string, v any) *mount.VolumeOptions {
	o := &mount.VolumeOptions{}
	c.object(at, v, map[string]func(string, any){
		"nocopy": func(path string, v any) { o.NoCopy = c.flag(path, v) },
		"subpath": func(path string, v any) {
			if c.needs(path, "1.45") {
				o.Subpath = c.text(path, v)
			}
		},
		"labels": func(path string, v any) { o.Labels = c.pairs(path, v) },
	})
	return o
}

func (c *compiler) tmpfsOptions(at string, v any) *mount.TmpfsOptions {
	o := &mount.TmpfsOptions{}
	c.object(at, v, map[string]func(string, any){
		"size": func(path string, v any) { o.SizeBytes = c.whole(path, v) },
		"mode": func(path string, v any) { o.Mode = fs.FileMode(c.within(path, v, 0, 0o7777)) }, //nolint:gosec // within
	})
	return o
}

func (c *compiler) imageOptions(at string, v any) *mount.ImageOptions {
	o := &mount.ImageOptions{}
	c.object(at, v, map[string]func(string, any){
		"subpath": func(path string, v any) { o.Subpath = c.text(path, v) },
	})
	return o
}

// getVolumes reads mounts in whichever of three forms they were asked for.
func getVolumes(s *side) any {
	out := []any{}
	for _, m := range s.bp.host.Mounts {
		if s.bp.id != "" && m.Type == mount.TypeVolume && slices.Contains(s.fileDirs, path.Clean(m.Target)) {
			continue
		}
		out = append(out, s.mountField(m, ""))
	}
	for _, text := range s.bp.host.Binds {
		m, relabel := bindOf(text)
		out = append(out, s.mountField(m, relabel))
	}
	for target := range s.bp.config.Volumes {
		if _, ofImage := s.image.config.Volumes[target]; !ofImage {
			out = append(out, s.mountField(mount.Mount{Type: mount.TypeVolume, Target: target}, ""))
		}
	}
	if len(out) == 0 {
		return nil
	}
	slices.SortFunc(out, func(a, b any) int { return strings.Compare(keyOf(a), keyOf(b)) })
	return out
}

// bindOf reads the older form: SOURCE:TARGET[:OPTIONS], or TARGET alone.
func bindOf(text string) (m mount.Mount, relabel string) {
	parts := strings.Split(text, ":")
	if len(parts) == 1 {
		return mount.Mount{Type: mount.TypeVolume, Target: text}, ""
	}
	m = mount.Mount{Type: mount.TypeVolume, Source: parts[0], Target: parts[1]}
	if strings.HasPrefix(m.Source, "/") {
		m.Type = mount.TypeBind
	}
	if len(parts) < 3 {
		return m, ""
	}
	for option := range strings.SplitSeq(parts[2], ",") {
		switch {
		case option == "ro":
			m.ReadOnly = true
		case option == "z" || option == "Z":
			relabel = option
		case option == "nocopy":
			m.VolumeOptions = &mount.VolumeOptions{NoCopy: true}
		case slices.Contains(mount.Propagations, mount.Propagation(option)):
			m.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(option)}
		}
	}
	return m, relabel
}

// mountField reads one. Whether a directory may be made is nothing that is
// there, and volumes are called as in the app.
func (s *side) mountField(m mount.Mount, relabel string) map[string]any {
	out := map[string]any{"type": string(m.Type), "source": m.Source, "target": path.Clean(m.Target), "readOnly": m.ReadOnly}
	if m.Type == mount.TypeVolume && m.Source != "" {
		out["source"] = s.scope.volumeField(m.Source)
	}
	sub := map[string]any{}
	setField(sub, "selinux", orNone(relabel))
	if b := m.BindOptions; b != nil {
		if b.Propagation != mount.PropagationRPrivate {
			setField(sub, "propagation", orNone(string(b.Propagation)))
		}
		setField(sub, "recursive", orNone(recursiveOf(*b)))
	}
	setPart(out, "bind", sub)
	if v := m.VolumeOptions; v != nil {
		sub := map[string]any{}
		setField(sub, "nocopy", orNone(v.NoCopy))
		setField(sub, "subpath", orNone(v.Subpath))
		setField(sub, "labels", pairsOf(v.Labels))
		setPart(out, "volume", sub)
	}
	if t := m.TmpfsOptions; t != nil {
		sub := map[string]any{}
		setField(sub, "size", sizeOf(t.SizeBytes))
		setField(sub, "mode", numberOf(int64(t.Mode)))
		setPart(out, "tmpfs", sub)
	}
	if i := m.ImageOptions; i != nil && i.Subpath != "" {
		out["image"] = map[string]any{"subpath": i.Subpath}
	}
	return out
}

func setPart(out map[string]any, name string, part map[string]any) {
	if len(part) > 0 {
		out[name] = part
	}
}

func recursiveOf(b mount.BindOptions) string {
	switch {
	case b.NonRecursive:
		return "disabled"
	case b.ReadOnlyNonRecursive:
		return "writable"
	case b.ReadOnlyForceRecursive:
		return "readonly"
	}
	return ""
}

// setTmpfs takes "PATH[:OPTIONS]".
func setTmpfs(c *compiler, at string, v any) {
	c.each(at, v, func(at string, v any) {
		to, options, _ := strings.Cut(c.text(at, v), ":")
		if !strings.HasPrefix(to, "/") {
			c.invalid(at, "is not an absolute path")
		}
		if c.bp.host.Tmpfs == nil {
			c.bp.host.Tmpfs = map[string]string{}
		}
		c.bp.host.Tmpfs[to] = options
	})
}

func getTmpfs(s *side) any {
	out := []string{}
	for _, to := range sortedNames(s.bp.host.Tmpfs) {
		one := to
		if options := s.bp.host.Tmpfs[to]; options != "" {
			one += ":" + options
		}
		out = append(out, one)
	}
	return listOf(out)
}

// defaultFileMode is that of configs and secrets where none is said; see
// https://github.com/compose-spec/compose-spec/blob/main/05-services.md#configs.
const defaultFileMode = 0o444
