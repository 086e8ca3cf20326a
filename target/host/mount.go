package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// furnishing says what is mounted into the root of a service.
type furnishing struct {
	rootfs  string
	volumes []volumeMount
	files   map[string]string // place inside the root → file of this machine
}

type volumeMount struct {
	source   string // directory of this machine
	target   string // inside the root
	readOnly bool
}

// furnishingOf lists what a service's root gets.
func furnishingOf(lay layout, s service, rel releaseFile, rootfs string) furnishing {
	f := furnishing{rootfs: rootfs, files: map[string]string{}}
	for _, v := range s.volumes {
		f.volumes = append(f.volumes, volumeMount{lay.volume(v.Source), v.Target, v.ReadOnly})
	}
	for place, candidates := range map[string][]string{
		resolvConf: {resolvConf},
		hostsFile:  {hostsFile},
		caBundle:   {caBundle, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"},
	} {
		own := slices.ContainsFunc(s.configs, func(c configFile) bool { return c.path == place })
		if own || place == caBundle && rel.HasCABundle {
			continue
		}
		for _, c := range candidates {
			real, err := filepath.EvalSymlinks(c)
			if err != nil {
				continue
			}
			f.files[place] = real
			break
		}
	}
	return f
}

// giveVolumes makes volumes that nobody has written to yet the property of the
// user who runs the service. Where two share one, the first has it.
func giveVolumes(volumes []volumeMount, u user) error {
	for _, v := range volumes {
		fi, err := os.Lstat(v.source)
		if err != nil {
			return fmt.Errorf("volume at %s: %w", v.target, err)
		}
		entries, err := os.ReadDir(v.source)
		if err != nil {
			return fmt.Errorf("volume at %s: %w", v.target, err)
		}
		if owner, ok := ownerOf(fi); !ok || owner != 0 || u.uid == 0 || len(entries) > 0 {
			continue
		}
		if err := os.Lchown(v.source, int(u.uid), int(u.gid)); err != nil {
			return fmt.Errorf("volume at %s: %w", v.target, err)
		}
	}
	return nil
}
