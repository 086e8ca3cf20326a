package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/effect"
	"github.com/stella-ops/stella/internal/unpack"
)

// releaseName names the release that a service needs: the image's digest and,
// where there are any, a digest of the configs and mount points that are put
// into it, since a release never changes afterwards.
func releaseName(s service) (string, error) {
	name := s.image.Digest.Hex()
	if len(s.configs) == 0 && len(s.volumes) == 0 {
		return name, nil
	}
	type config struct {
		Path, Digest string
		Mode         uint32
		UID, GID     int
	}
	var shape struct {
		Configs []config
		Mounts  []string
	}
	for _, c := range s.configs {
		shape.Configs = append(shape.Configs, config{c.path, string(c.digest), c.mode, c.uid, c.gid})
	}
	for _, v := range s.volumes {
		shape.Mounts = append(shape.Mounts, v.Target)
	}
	d, err := drift.Digest(shape)
	if err != nil {
		return "", fmt.Errorf("name the release of %s: %w", s.resource.ID, err)
	}
	return name + "-" + d.Hex(), nil
}

const (
	scratchPrefix  = ".new-"
	tamperedSuffix = ".tampered-"
)

// ensureRelease makes sure that the release which a service needs is there,
// whole. It takes no lock of the target while it pulls: the rename at the end
// is done under it.
func (h *Host) ensureRelease(ctx context.Context, s service, fence int64) (releaseFile, string, error) {
	name, err := releaseName(s)
	if err != nil {
		return releaseFile{}, "", err
	}
	dir := h.lay.release(s.name, name)
	rel, err := checkRelease(ctx, dir)
	if err == nil {
		return rel, name, h.renewSeal(ctx, dir, fence)
	}
	if errors.Is(err, stella.ErrTampered) {
		h.log.WarnContext(ctx, "release was changed on disk", "service", s.name, "release", name, "err", err)
	} else if !errors.Is(err, errUnsealed) {
		return rel, name, err
	}
	rel, err = h.makeRelease(ctx, s, name, fence)
	if err != nil {
		return rel, name, fmt.Errorf("unpack %s: %w", s.image, err)
	}
	return rel, name, nil
}

// makeRelease builds a release in a scratch directory and renames it into
// place. A crash anywhere before the rename leaves a scratch directory that
// nobody starts from and the next one removes.
func (h *Host) makeRelease(ctx context.Context, s service, name string, fence int64) (rel releaseFile, err error) {
	var scratch string
	var lock *durable.Lock
	err = h.locked(ctx, fence, func() error {
		if err := h.lay.makeDirs(s.name); err != nil {
			return err
		}
		h.removeScratch(ctx, s.name)
		scratch, lock, err = h.scratch(s.name)
		return err
	})
	if err != nil {
		return rel, err
	}
	defer func() { err = errors.Join(err, removeTree(scratch), lock.Unlock()) }()
	built := filepath.Join(scratch, "release")
	err = h.effect("unpack", func() error {
		return effect.Do("unpack", s.name, func() error {
			rel, err = h.fill(ctx, s, scratch, built)
			return err
		})
	})
	if err != nil {
		return rel, err
	}
	err = h.effect("configs", func() error {
		return effect.Do("furnish", s.name, func() error { return furnish(built, s, &rel) })
	})
	if err != nil {
		return rel, fmt.Errorf("put configs and mount points in place: %w", err)
	}
	err = h.effect("seal", func() error { return sealRelease(ctx, built, rel) })
	if err != nil {
		return rel, err
	}
	return rel, h.locked(ctx, fence, func() error { return h.settle(ctx, s.name, name, built) })
}

// settle renames a sealed release into place. What is there already and is not
// whole is renamed away first; a crash between leaves no release, which is
// built again.
func (h *Host) settle(ctx context.Context, service, name, built string) error {
	dir := h.lay.release(service, name)
	if _, err := checkRelease(ctx, dir); err == nil {
		return nil // somebody else was faster, and may run from it by now
	}
	if _, err := os.Lstat(dir); err == nil {
		if err := h.effect("displace", func() error { return durable.Rename(dir, freeName(dir+tamperedSuffix)) }); err != nil {
			return err
		}
	}
	return h.effect("rename", func() error { return durable.Rename(built, dir) })
}

func isTampered(name string) bool { return strings.Contains(name, tamperedSuffix) }

func freeName(prefix string) string {
	for n := 1; ; n++ {
		name := prefix + strconv.Itoa(n)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
	}
}

// scratch makes a directory beside the releases, locked for as long as its
// maker lives. The caller holds the target's lock.
func (h *Host) scratch(service string) (string, *durable.Lock, error) {
	dir, err := os.MkdirTemp(h.lay.releases(service), scratchPrefix+"*")
	if err != nil {
		return "", nil, err
	}
	lock, err := durable.TryLock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, lock, nil
}

// removeScratch removes what died while it was built. It does what it can. The
// caller holds the target's lock: a scratch directory that is not locked yet is
// nobody's who lives.
func (h *Host) removeScratch(ctx context.Context, service string) {
	entries, _ := os.ReadDir(h.lay.releases(service))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), scratchPrefix) {
			continue
		}
		dir := filepath.Join(h.lay.releases(service), e.Name())
		lock, err := durable.TryLock(filepath.Join(dir, "lock"))
		if err != nil {
			continue // its maker lives
		}
		if err := errors.Join(removeTree(dir), lock.Unlock()); err != nil {
			h.log.WarnContext(ctx, "remove what was left half unpacked", "dir", dir, "err", err)
		}
	}
}

// fill puts the image's files below built/rootfs: from another release of the
// same digest where this target has one, else from the registry.
func (h *Host) fill(ctx context.Context, s service, scratch, built string) (releaseFile, error) {
	if err := os.MkdirAll(filepath.Join(built, "rootfs"), 0o755); err != nil {
		return releaseFile{}, err
	}
	if err := os.Mkdir(filepath.Join(built, "displaced"), 0o700); err != nil {
		return releaseFile{}, err
	}
	if from, ok := h.findRelease(ctx, s.image.Digest); ok {
		rel, err := copyRelease(ctx, from, built)
		if err == nil {
			return rel, nil
		}
		return rel, fmt.Errorf("copy release %s: %w", filepath.Base(from), err)
	}
	return h.pull(ctx, s.image, scratch, built)
}

func (h *Host) pull(ctx context.Context, a stella.Artifact, scratch, built string) (rel releaseFile, err error) {
	if h.images == nil {
		return rel, fmt.Errorf("%w: target %s does not have it, and there is nowhere to pull it from", stella.ErrNotFound, h.cfg.Name)
	}
	blobs := filepath.Join(scratch, "blobs")
	if err := os.Mkdir(blobs, 0o700); err != nil {
		return rel, err
	}
	img, err := h.images(ctx, a, blobs)
	if err != nil {
		return rel, err
	}
	files, err := img.files(ctx)
	if err != nil {
		return rel, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	root, err := os.OpenRoot(filepath.Join(built, "rootfs"))
	if err != nil {
		return rel, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	// Nothing is synced yet: one sync of the whole comes before the seal.
	if _, err := unpack.Tar(ctx, files, root, unpack.Limits{Sync: unpack.SyncNone}); err != nil {
		return rel, err
	}
	if err := os.RemoveAll(blobs); err != nil {
		return rel, err
	}
	return releaseFile{SchemaVersion: 1, Image: a.String(), Manifest: img.manifest, Config: img.config}, nil
}

// pulled is an image whose blobs lie in the directory it was pulled to.
type pulled struct {
	manifest stella.Digest
	config   imageConfig
	files    func(context.Context) (io.ReadCloser, error) // one tar stream; to be read to its end
}

// pullFrom pulls for this machine's platform.
func pullFrom(images Puller) func(context.Context, stella.Artifact, string) (pulled, error) {
	return func(ctx context.Context, a stella.Artifact, dir string) (pulled, error) {
		img, err := images.Pull(ctx, a, artifact.Host(), dir)
		if err != nil {
			return pulled{}, err
		}
		return pulled{img.Manifest, storedConfig(img.Config), img.Files}, nil
	}
}

// findRelease finds a whole release of a digest, of any service of the target.
func (h *Host) findRelease(ctx context.Context, digest stella.Digest) (dir string, ok bool) {
	services, _ := os.ReadDir(h.lay.services())
	for _, svc := range services {
		for _, name := range h.releaseNames(svc.Name()) {
			if hex, _, _ := strings.Cut(name, "-"); hex != digest.Hex() {
				continue
			}
			dir := h.lay.release(svc.Name(), name)
			rel, seal, err := readRelease(dir)
			if err == nil && checkTree(ctx, dir, rel, seal) == nil {
				return dir, true
			}
		}
	}
	return "", false
}

// releaseNames lists a service's releases, sorted; no scratch, nothing that was
// renamed away.
func (h *Host) releaseNames(service string) []string {
	entries, _ := os.ReadDir(h.lay.releases(service))
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.Contains(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// Has reports whether the image is unpacked, sealed and unchanged on the target,
// so that going back to it needs no registry. The artifact needs a digest.
func (h *Host) Has(ctx context.Context, a stella.Artifact) (bool, error) {
	if a.Digest == "" {
		return false, fmt.Errorf("%w: image %s has no digest", stella.ErrInvalid, a)
	}
	_, ok := h.findRelease(ctx, a.Digest)
	return ok, context.Cause(ctx)
}
