package host

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
)

// restartPolicy is Compose's `restart`.
type restartPolicy struct {
	mode string // "no", "always", "on-failure", "unless-stopped"
	most int    // on-failure: how often; 0 for no limit
}

func parseRestart(where, s string) (restartPolicy, error) {
	mode, count, limited := strings.Cut(s, ":")
	switch {
	case s == "":
		return restartPolicy{mode: "no"}, nil
	case s == "no", s == "always", s == "unless-stopped", s == "on-failure":
		return restartPolicy{mode: s}, nil
	case limited && mode == "on-failure":
		if n, err := strconv.Atoi(count); err == nil && n >= 0 && n <= 1_000_000 {
			return restartPolicy{mode: mode, most: n}, nil
		}
	}
	return restartPolicy{}, invalid(where, "restart: want no, always, on-failure, on-failure:N or unless-stopped")
}

// again reports whether a process that ended is started again.
func (p restartPolicy) again(success bool, restarts int) bool {
	switch p.mode {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return !success && (p.most == 0 || restarts < p.most)
	}
	return false
}

func parseConfigs(where string, in map[string]configFields) ([]configFile, error) {
	var out []configFile
	for _, p := range slices.Sorted(maps.Keys(in)) {
		c, f := configFile{path: p, mode: 0o444, uid: -1, gid: -1}, in[p]
		if err := checkInside(p); err != nil {
			return nil, invalid(where, "configs: target %q: %v", p, err)
		}
		c.content = []byte(f.Content)
		if f.ContentBase64 != "" {
			var err error
			if c.content, err = base64.StdEncoding.DecodeString(f.ContentBase64); err != nil {
				return nil, invalid(where, "configs: %s: not base64", p)
			}
		}
		c.digest = digestOf(c.content)
		if f.Digest != "" && f.Digest != string(c.digest) {
			return nil, finding{fmt.Sprintf("%s: configs: %s: the content is not what its digest says", where, p), stella.ErrTampered}
		}
		if f.Mode != "" {
			m, err := strconv.ParseUint(f.Mode, 8, 32)
			if err != nil || m > 0o777 || m&0o022 != 0 {
				return nil, invalid(where, "configs: %s: mode: want octal permissions that only the owner can write with", p)
			}
			c.mode = uint32(m)
		}
		var err1, err2 error
		c.uid, err1 = parseID(f.UID)
		c.gid, err2 = parseID(f.GID)
		if err1 != nil || err2 != nil {
			return nil, invalid(where, "configs: %s: uid and gid: want numbers", p)
		}
		out = append(out, c)
	}
	return out, nil
}

// checkInside refuses paths that a file or mount of a service can not have:
// relative or unclean ones, the root itself, and what the kernel or the shim
// puts there.
func checkInside(p string) error {
	switch {
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return errors.New("want an absolute path without dots")
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(p) > 1024:
		return errors.New("has control characters or is too long")
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return fmt.Errorf("%s is not the image's", dir)
		}
	}
	return nil
}

func parseVolumes(where string, in []volumeFields) ([]volumeFields, error) {
	seen := map[string]bool{}
	for _, v := range in {
		if v.Type != "volume" {
			return nil, unsupported(where, "volumes: type "+strconv.Quote(v.Type), "use a named volume")
		}
		if v.Source == "" {
			return nil, unsupported(where, "volumes: an anonymous volume at "+strconv.Quote(v.Target), "give it a name")
		}
		if _, err := stella.ParseName(v.Source); err != nil {
			return nil, finding{fmt.Sprintf("%s: volumes: %v", where, err), stella.ErrInvalid}
		}
		if err := checkInside(v.Target); err != nil {
			return nil, invalid(where, "volumes: target %q: %v", v.Target, err)
		}
		if seen[v.Target] {
			return nil, invalid(where, "volumes: two at %s", v.Target)
		}
		seen[v.Target] = true
	}
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b volumeFields) int { return strings.Compare(a.Target, b.Target) })
	return out, nil
}
