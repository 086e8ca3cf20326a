package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
)

// What the shim mounts into every root. The image may have none of these
// places, and a sealed release takes no new ones: they are made beforehand.
const (
	resolvConf = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
	caBundle   = "/etc/ssl/certs/ca-certificates.crt"
)

// furnish puts into a release what is not the image's: mount points, then
// config files. What they replace is kept, so that another release can be made
// from this one.
func furnish(dir string, s service, rel *releaseFile) error {
	root, err := os.OpenRoot(filepath.Join(dir, "rootfs"))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	f := furnisher{root: root, dir: dir, rel: rel}
	rel.Displaced = map[string]string{}
	fi, err := root.Stat(inside(caBundle))
	rel.HasCABundle = err == nil && fi.Mode().IsRegular()
	for _, p := range []string{"/dev", "/tmp"} {
		if err := f.directory(p); err != nil {
			return err
		}
	}
	for _, v := range s.volumes {
		if err := f.directory(v.Target); err != nil {
			return fmt.Errorf("volume at %s: %w", v.Target, err)
		}
	}
	for _, p := range []string{resolvConf, hostsFile, caBundle} {
		if p == caBundle && rel.HasCABundle {
			continue
		}
		if err := f.file(p, nil, 0o644); err != nil {
			return err
		}
	}
	for _, c := range s.configs {
		if err := f.config(c); err != nil {
			return fmt.Errorf("config %s: %w", c.path, err)
		}
	}
	slices.Sort(rel.Added)
	return nil
}

// furnisher changes the root of a release that is not sealed yet.
type furnisher struct {
	root *os.Root
	dir  string
	rel  *releaseFile
}

// directory makes sure that there is a directory and no link at path.
func (f furnisher) directory(p string) error {
	name, err := f.place(p)
	if err != nil {
		return err
	}
	fi, err := f.root.Lstat(name)
	if err == nil && fi.IsDir() {
		return nil
	}
	if err == nil {
		if err := f.displace(name, fi); err != nil {
			return err
		}
	}
	f.rel.Added = append(f.rel.Added, name)
	return f.root.Mkdir(name, 0o755)
}

// file makes sure that there is a regular file with content and no link at
// path. Nil content keeps what is there.
func (f furnisher) file(p string, content []byte, mode fs.FileMode) error {
	name, err := f.place(p)
	if err != nil {
		return err
	}
	fi, err := f.root.Lstat(name)
	if err == nil && fi.Mode().IsRegular() && content == nil {
		return nil
	}
	if err == nil {
		if fi.IsDir() {
			return fmt.Errorf("%w: the image has a directory there", stella.ErrInvalid)
		}
		if err := f.displace(name, fi); err != nil {
			return err
		}
	}
	if !slices.Contains(f.rel.Added, name) {
		f.rel.Added = append(f.rel.Added, name)
	}
	w, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	// Chmod and not the mode of creation: the umask is not ours.
	return errors.Join(err, w.Chmod(mode), w.Close())
}

func (f furnisher) config(c configFile) error {
	if err := f.file(c.path, append([]byte{}, c.content...), fs.FileMode(c.mode&^0o222)); err != nil {
		return err
	}
	name, err := f.place(c.path)
	if err != nil {
		return err
	}
	if c.uid >= 0 || c.gid >= 0 {
		if err := f.root.Lchown(name, c.uid, c.gid); err != nil {
			return err
		}
	}
	fi, err := f.root.Lstat(name)
	if err != nil {
		return err
	}
	f.rel.Configs = append(f.rel.Configs, configRecord{
		Path: c.path, File: name, Digest: c.digest, Mode: c.mode &^ 0o222, Owner: ownership(fi),
	})
	return nil
}

// place makes the parents of a path and returns it with their links resolved,
// so that it is the same place whoever looks.
func (f furnisher) place(p string) (string, error) { return f.resolve(p, 0) }

// maxLinks is how many links Linux follows in one path, path_resolution(7).
const maxLinks = 40

func (f furnisher) resolve(p string, links int) (string, error) {
	parts := strings.Split(inside(p), "/")
	dir := "."
	for _, part := range parts[:len(parts)-1] {
		next := path.Join(dir, part)
		fi, err := f.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := f.root.Mkdir(next, 0o755); err != nil {
				return "", err
			}
			f.rel.Added = append(f.rel.Added, next)
		case err != nil:
			return "", err
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := f.root.Readlink(next)
			if err != nil {
				return "", err
			}
			if links++; links > maxLinks || path.IsAbs(target) || !filepath.IsLocal(path.Join(dir, target)) {
				return "", fmt.Errorf("%w: %s of the image leads outside or in circles", stella.ErrInvalid, next)
			}
			resolved, err := f.resolve("/"+path.Join(dir, target)+"/x", links)
			if err != nil {
				return "", err
			}
			next = path.Dir(resolved)
		case !fi.IsDir():
			return "", fmt.Errorf("%w: %s of the image is no directory", stella.ErrInvalid, next)
		}
		dir = next
	}
	return path.Join(dir, parts[len(parts)-1]), nil
}

// displace moves what the image has at a path out of the root, unless it was
// put there by us.
func (f furnisher) displace(name string, fi fs.FileInfo) error {
	if slices.Contains(f.rel.Added, name) {
		return f.root.Remove(name)
	}
	if fi.IsDir() {
		return fmt.Errorf("%w: the image has a directory there", stella.ErrInvalid)
	}
	to := strconv.Itoa(len(f.rel.Displaced) + 1)
	if err := os.Rename(filepath.Join(f.dir, "rootfs", name), filepath.Join(f.dir, "displaced", to)); err != nil {
		return err
	}
	f.rel.Displaced[name] = to
	return nil
}

// copyRelease copies the image's files of a release, without what was added to
// it, into built/rootfs. The source was proven whole by the caller.
func copyRelease(ctx context.Context, from, built string) (releaseFile, error) {
	rel, _, err := readRelease(from)
	if err != nil {
		return rel, err
	}
	source, to := filepath.Join(from, "rootfs"), filepath.Join(built, "rootfs")
	err = filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name, err := filepath.Rel(source, p)
		if err != nil || name == "." {
			return err
		}
		if slices.Contains(rel.Added, name) {
			if d.IsDir() {
				return filepath.SkipDir // all that is in it was added as well
			}
			return nil
		}
		return copyEntry(p, filepath.Join(to, name), d)
	})
	if err != nil {
		return rel, err
	}
	for name, file := range rel.Displaced {
		fi, err := os.Lstat(filepath.Join(from, "displaced", file))
		if err == nil {
			err = copyEntry(filepath.Join(from, "displaced", file), filepath.Join(to, name), fs.FileInfoToDirEntry(fi))
		}
		if err != nil {
			return rel, err
		}
	}
	return releaseFile{SchemaVersion: 1, Image: rel.Image, Manifest: rel.Manifest, Config: rel.Config}, nil
}

func copyEntry(from, to string, d fs.DirEntry) error {
	fi, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case fi.IsDir():
		return os.Mkdir(to, 0o755)
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(fi.Mode().Perm()), out.Close())
}
