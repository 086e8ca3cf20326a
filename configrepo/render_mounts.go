package configrepo

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/types"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// maxContentBytes bounds the contents of configs of an environment, each as
// often as it is mounted. Targets with the same variables count once.
const maxContentBytes = 64 << 20

// The mode that a config has unless its service says another; see
// https://github.com/compose-spec/compose-spec/blob/main/05-services.md#configs.
const defaultConfigMode = "0444"

func (s *service) ports() {
	if !s.has("ports") {
		return
	}
	ports := []any{}
	for _, p := range s.typed.Ports {
		port := map[string]any{
			"target": float64(p.Target), "published": p.Published, "protocol": p.Protocol, "hostIP": p.HostIP,
		}
		if p.Protocol == "" {
			port["protocol"] = "tcp"
		}
		if p.Mode != "" && p.Mode != "ingress" {
			port["mode"] = p.Mode
		}
		if p.AppProtocol != "" {
			port["app_protocol"] = p.AppProtocol
		}
		ports = append(ports, port)
	}
	s.fields["ports"] = ports
}

func (s *service) volumes() {
	if !s.has("volumes") {
		return
	}
	volumes := []any{}
	for _, v := range s.typed.Volumes {
		mount := map[string]any{"type": v.Type, "source": v.Source, "target": v.Target, "readOnly": v.ReadOnly}
		s.mountOptions(mount, v)
		switch {
		case !strings.HasPrefix(v.Target, "/"):
			s.fail("mounts at a target that is not an absolute path", "", "volumes")
		case v.Type == types.VolumeTypeBind:
			from, ok := s.r.scratch.rel(v.Source)
			if !ok && s.r.engine && path.IsAbs(v.Source) {
				mount["source"] = path.Clean(v.Source) // judged by the policy
				break
			}
			if !ok {
				s.fail("mounts a path outside the app", "use a named volume, or configs for files of the app", "volumes")
				continue
			}
			mount["source"] = s.r.fromApp(from)
		case v.Type == types.VolumeTypeVolume && v.Source != "":
			if _, err := stella.ParseName(v.Source); err != nil {
				s.fail(named("volume", v.Source)+" is not named as a DNS label", "use a-z, 0-9 and -", "volumes")
			}
		}
		volumes = append(volumes, mount)
	}
	s.fields["volumes"] = volumes
}

// mountOptions adds what else is written of a mount, under its Compose name.
func (s *service) mountOptions(mount map[string]any, v types.ServiceVolumeConfig) {
	value, err := drift.Value(v)
	all, ok := value.(map[string]any)
	if err != nil || !ok {
		return
	}
	if bind, ok := all["bind"].(map[string]any); ok && bind["create_host_path"] == true {
		delete(bind, "create_host_path") // every short bind mount has it
	}
	for _, name := range []string{"bind", "volume", "tmpfs", "image", "consistency"} {
		if !isUnset(all[name]) {
			mount[name] = all[name]
		}
	}
}

// configs renders the contents of configs by where they are mounted.
func (s *service) configs() {
	if !s.has("configs") {
		return
	}
	all := map[string]any{}
	for _, c := range s.typed.Configs {
		to := path.Join("/", c.Target)
		if c.Target == "" {
			to = path.Join("/", c.Source)
		}
		content, ok := s.content(c.Source)
		if !ok {
			continue
		}
		if _, twice := all[to]; twice {
			s.fail("mounts two configs at one path", "give them targets of their own", "configs")
		}
		entry := map[string]any{
			"digest": contentDigest([]byte(content)),
			"mode":   defaultConfigMode, "uid": c.UID, "gid": c.GID,
		}
		if c.Mode != nil {
			entry["mode"] = fmt.Sprintf("%04o", int64(*c.Mode))
		}
		if utf8.ValidString(content) {
			entry["content"] = content
		} else {
			entry["contentBase64"] = base64.StdEncoding.EncodeToString([]byte(content))
		}
		all[to] = entry
	}
	s.fields["configs"] = all
}

func contentDigest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// content returns what a config of the app holds.
func (s *service) content(name string) (string, bool) {
	c := s.m.project.Configs[name]
	at := joinField("configs", name)
	fail := func(what, fix string) (string, bool) {
		n, _ := find(s.m.sources[0].doc.root, "configs", name)
		s.r.problems = append(s.r.problems, problemAt(s.m.sources[0].doc.path, n, at, what, fix))
		return "", false
	}
	text := c.Content
	switch {
	case bool(c.External):
		return fail("is external, which is not supported", "keep the file in the app and name it with file:")
	case c.TemplateDriver != "" || c.Driver != "":
		return fail("has a driver, which is not supported", "remove it")
	case c.Environment != "":
		text = s.m.vars[c.Environment]
	case c.File != "":
		file, ok := s.r.scratch.rel(c.File)
		content, exists := s.r.read(file)
		if !ok || !exists {
			return fail("is not a file of the app", "")
		}
		text = string(content)
	}
	if s.r.content += len(text); s.r.content > maxContentBytes {
		return fail(fmt.Sprintf("brings the contents of configs to more than %d bytes", maxContentBytes), "keep large files in the image")
	}
	return text, true
}

// fromApp returns a path of the repository as the app refers to it: "./x".
func (r *renderer) fromApp(to string) string {
	rel, err := filepath.Rel("/"+r.app, "/"+to)
	if err != nil {
		return to
	}
	rel = filepath.ToSlash(rel)
	if rel == "." || strings.HasPrefix(rel, "../") {
		return rel
	}
	return "./" + rel
}
