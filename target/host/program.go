package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// program is how to run something of a release: its main process, a health
// probe, a command beside it.
type program struct {
	rootfs string   // on this machine
	chroot bool     // run in rootfs; else in place
	path   string   // of the file to execute, inside rootfs when chroot, else on this machine
	argv   []string // argv[0] as the service calls it
	env    []string // "NAME=value", complete
	dir    string   // inside rootfs when chroot, else on this machine
	user   user     // only when chroot; in place it is who runs the shim
	bind   bool     // may listen on ports below 1024 without being root
}

// defaultPath is what Docker gives an image that sets none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// newProgram works out how the service's main process is run from an unpacked
// release. It reads the release and nothing else; what it refuses is of class
// stella.ErrInvalid, or stella.ErrRefused for a root that is not allowed.
func newProgram(s service, img imageConfig, rootfs string, chroot, allowRoot bool) (program, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return program{}, err
	}
	defer func() { _ = root.Close() }()
	p := program{rootfs: rootfs, chroot: chroot, user: user{home: "/"}}
	if chroot {
		spec := s.fields.User
		if spec == "" {
			spec = img.User
		}
		if p.user, err = resolveUser(spec, root, allowRoot); err != nil {
			return program{}, err
		}
	}
	for _, port := range s.ports {
		p.bind = p.bind || port.number < 1024
	}
	if p.env, err = environment(s, img, p.user.home); err != nil {
		return program{}, err
	}
	if p.dir, err = p.workingDir(root, s, img); err != nil {
		return program{}, err
	}
	return p.withCommand(root, arguments(s, img))
}

// arguments is the command line, as Compose and the image make it together.
func arguments(s service, img imageConfig) []string {
	switch f := s.fields; {
	case f.Entrypoint != nil:
		return slices.Concat(f.Entrypoint, f.Command)
	case f.Command != nil:
		return slices.Concat(img.Entrypoint, f.Command)
	}
	return slices.Concat(img.Entrypoint, img.Cmd)
}

// environment is made from nothing: the image's, then the service's own, then
// PATH and HOME where neither sets them.
func environment(s service, img imageConfig, home string) ([]string, error) {
	vars := map[string]string{"PATH": defaultPath, "HOME": home}
	for _, line := range img.Env {
		k, v, ok := strings.Cut(line, "=")
		if !ok || k == "" || strings.ContainsRune(line, 0) {
			return nil, fmt.Errorf("%w: the image's environment has an entry that is not NAME=value", stella.ErrInvalid)
		}
		vars[k] = v
	}
	maps.Copy(vars, s.fields.Environment)
	env := make([]string, 0, len(vars))
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env, nil
}

// workingDir resolves the working directory, which must be a directory of the
// release itself: an image may name /proc/self/fd/7 (CVE-2024-21626). Volumes
// may be mounted over it.
func (p program) workingDir(root *os.Root, s service, img imageConfig) (string, error) {
	dir := s.fields.WorkingDir
	if dir == "" {
		dir = img.WorkingDir
	}
	if dir == "" {
		dir = "/"
	}
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%w: working directory %q: %s", stella.ErrInvalid, safe.Clip(dir, 200), why)
	}
	if dir != "/" {
		dir = path.Clean("/" + dir)
	}
	if dir != "/" {
		if err := checkInside(dir); err != nil {
			return bad(err.Error())
		}
	}
	fi, err := root.Stat(inside(dir))
	if err != nil {
		return bad("not in the image")
	}
	if !fi.IsDir() {
		return bad("not a directory of the image")
	}
	if p.chroot {
		return dir, nil
	}
	return filepath.Join(p.rootfs, dir), nil
}

// inside turns an absolute path inside a root into one that os.Root takes.
func inside(p string) string {
	if rel := strings.TrimPrefix(path.Clean("/"+p), "/"); rel != "" {
		return rel
	}
	return "."
}

// withCommand returns the program with another command line: same user, same
// directory, same environment. The file is looked for in the release only.
func (p program) withCommand(root *os.Root, argv []string) (program, error) {
	if len(argv) == 0 || argv[0] == "" {
		return p, fmt.Errorf("%w: neither the service nor its image says what to run", stella.ErrInvalid)
	}
	if slices.ContainsFunc(argv, func(a string) bool { return strings.ContainsRune(a, 0) }) {
		return p, fmt.Errorf("%w: an argument has a NUL byte", stella.ErrInvalid)
	}
	p.argv = slices.Clone(argv)
	var tried error
	for _, file := range p.candidates(argv[0]) {
		fi, err := root.Stat(inside(file))
		switch {
		case err != nil:
			tried = err
		case !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 == 0:
			tried = errors.New("not executable")
		default:
			if p.path = file; !p.chroot {
				p.path = filepath.Join(p.rootfs, file)
			}
			return p, nil
		}
	}
	if errors.Is(tried, fs.ErrNotExist) || tried == nil {
		tried = errors.New("not in the image")
	}
	return p, fmt.Errorf("%w: command %q: %w", stella.ErrInvalid, safe.Clip(argv[0], 200), tried)
}

// candidates lists the files, absolute inside the root, that a command may
// mean.
func (p program) candidates(command string) []string {
	dir := p.dir
	if !p.chroot {
		dir = "/" + strings.TrimPrefix(strings.TrimPrefix(p.dir, p.rootfs), "/")
	}
	if path.IsAbs(command) {
		return []string{path.Clean(command)}
	}
	if strings.Contains(command, "/") {
		return []string{path.Join(dir, command)}
	}
	var files []string
	for _, line := range p.env {
		list, ok := strings.CutPrefix(line, "PATH=")
		if !ok {
			continue
		}
		for d := range strings.SplitSeq(list, ":") {
			if path.IsAbs(d) {
				files = append(files, path.Join(d, command))
			}
		}
	}
	return files
}

// shell is the command line of a CMD-SHELL healthcheck.
func shell(script string) []string { return []string{"/bin/sh", "-c", script} }
