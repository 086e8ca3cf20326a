package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/effect"
)

// sealFile is seal.json, written last: a release that has none is not complete
// and never started. It is a stored format.
type sealFile struct {
	SchemaVersion int `json:"schemaVersion"` // 1
	// Tree is the digest of the listing of everything in the release but its
	// config files: path, kind, permissions, size, content; see Rights.
	Tree stella.Digest `json:"tree"`
	// Stat is the digest of a listing of what stat(2) says. While it is the
	// same nothing was written to: nobody can set a file's change time. When
	// it is not, only Tree decides.
	Stat stella.Digest `json:"stat"`
	// Configs is what stat(2) says of each config file, by its path in the
	// service. Absent in releases that were made before it was kept.
	Configs map[string]string `json:"configs,omitempty"`
	// Rights says that the listing has owners, setuid bits and file capabilities,
	// too. Absent in releases that were made before it had: nobody can tell what
	// those were, so that a seal is never renewed with them.
	Rights bool `json:"rights,omitempty"`
}

const sealName = "seal.json"

func digestOf(data []byte) stella.Digest {
	sum := sha256.Sum256(data)
	return sumOf(sum[:])
}

// configPath is where a config file lies in a release.
func configPath(dir string, c configRecord) string { return filepath.Join(dir, "rootfs", c.File) }

// errUnsealed: the release is not complete.
var errUnsealed = errors.New("not sealed")

// readRelease reads what a release holds. One that has no seal that can be read
// is errUnsealed.
func readRelease(dir string) (releaseFile, sealFile, error) {
	var rel releaseFile
	var seal sealFile
	if err := readJSON(filepath.Join(dir, sealName), &seal); err != nil {
		if isLost(err) {
			err = fmt.Errorf("%w: %w", errUnsealed, err)
		}
		return releaseFile{}, sealFile{}, err
	}
	if err := readJSON(filepath.Join(dir, "release.json"), &rel); isLost(err) {
		return releaseFile{}, sealFile{}, fmt.Errorf("%w: %w", stella.ErrTampered, err) // it was there before the seal was
	} else if err != nil {
		return releaseFile{}, sealFile{}, err
	}
	for _, c := range rel.Configs {
		if !filepath.IsLocal(filepath.FromSlash(c.File)) {
			return releaseFile{}, sealFile{}, fmt.Errorf("%w: release %s names a config outside of itself", stella.ErrTampered, filepath.Base(dir))
		}
	}
	return rel, seal, nil
}

// checkTree proves that the image's part of a release is what was sealed. The
// error is of class stella.ErrTampered where it is not.
func checkTree(ctx context.Context, dir string, rel releaseFile, seal sealFile) error {
	found, err := treeChanges(ctx, dir, rel, seal)
	if err != nil {
		return fmt.Errorf("read release %s: %w", filepath.Base(dir), err)
	}
	if found.total > 0 {
		return fmt.Errorf("%w: release %s was changed on disk: %s", stella.ErrTampered, filepath.Base(dir), strings.Join(found.lines(), ", "))
	}
	return nil
}

// renewSeal makes a seal cheap to check again, after its release was proven
// whole the long way: say, since it was restored from a backup.
func (h *Host) renewSeal(ctx context.Context, dir string, fence int64) error {
	rel, seal, err := readRelease(dir)
	if err != nil {
		return err
	}
	stat, err := statListing(ctx, dir, rel)
	if err != nil || stat == seal.Stat {
		return err
	}
	if err := checkTree(ctx, dir, rel, seal); err != nil {
		return err
	}
	list, err := listRelease(ctx, dir, rel, seal.Rights)
	if err != nil {
		return err
	}
	// A crash between the two leaves a list that the seal does not vouch for:
	// nobody believes it, and the next one makes it anew.
	return h.locked(ctx, fence, func() error {
		return h.effect("seal", func() error {
			if err := writeFile(filepath.Join(dir, listName), list.text, 0o600); err != nil {
				return err
			}
			return writeJSON(filepath.Join(dir, sealName), list.seal(dir, rel))
		})
	})
}

// checkRelease proves that a whole release, config files included, is what was
// sealed.
func checkRelease(ctx context.Context, dir string) (releaseFile, error) {
	rel, seal, err := readRelease(dir)
	if err != nil {
		return rel, err
	}
	if err := checkTree(ctx, dir, rel, seal); err != nil {
		return rel, err
	}
	for _, c := range rel.Configs {
		if !c.holds(ctx, dir, seal) {
			return rel, fmt.Errorf("%w: config %s of release %s was changed on disk", stella.ErrTampered, c.Path, filepath.Base(dir))
		}
	}
	return rel, nil
}

// holds reports whether a config file is what was put there.
func (c configRecord) holds(ctx context.Context, dir string, seal sealFile) bool {
	fi, err := statConfig(dir, c)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	if seal.untouched(c, fi) {
		return true
	}
	if uint32(fi.Mode().Perm()) != c.Mode || c.Owner != "" && c.Owner != ownership(fi) || fi.Size() > maxConfigBytes {
		return false
	}
	f, fi, err := openConfig(dir, c)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	got, err := digestOpen(ctx, f, fi.Size())
	return err == nil && got == c.Digest
}

// untouched reports whether a config file is as it was when it was sealed: then
// it need not be read.
func (s sealFile) untouched(c configRecord, fi fs.FileInfo) bool {
	sealed, ok := s.Configs[c.Path]
	return ok && sealed == statLine(fi)
}

// sealRelease makes a release durable and seals it. A crash before the seal
// is written leaves an unsealed directory, which is removed; everything that
// the seal vouches for is on disk before it is.
func sealRelease(ctx context.Context, dir string, rel releaseFile) error {
	if err := writeJSON(filepath.Join(dir, "release.json"), rel); err != nil {
		return err
	}
	if err := makeReadOnly(filepath.Join(dir, "rootfs")); err != nil {
		return err
	}
	list, err := listRelease(ctx, dir, rel, true)
	if err != nil {
		return err
	}
	err = effect.Do("sync", "release", func() error {
		return errors.Join(os.WriteFile(filepath.Join(dir, listName), list.text, 0o600), syncAll(dir))
	})
	if err != nil {
		return fmt.Errorf("sync release: %w", err)
	}
	return writeJSON(filepath.Join(dir, sealName), list.seal(dir, rel))
}

// makeReadOnly takes the right to write from everything below dir. It keeps a
// process that runs in place, as the owner, from changing its own release by
// accident.
func makeReadOnly(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		fi, err := d.Info()
		if err != nil || fi.Mode().Perm()&0o222 == 0 {
			return err
		}
		return os.Chmod(path, fi.Mode().Perm()&^0o222)
	})
}

// removeTree removes a directory that makeReadOnly may have been at.
func removeTree(dir string) error {
	return effect.Do("remove", dir, func() error { return removeAll(dir) })
}

func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // what can not be removed then, RemoveAll reports
		}
		return nil
	})
	return os.RemoveAll(dir)
}
