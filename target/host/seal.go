package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/effect"
)

// sealFile is seal.json, written last: a release that has none is not complete
// and never started. It is a stored format.
type sealFile struct {
	SchemaVersion int `json:"schemaVersion"` // 1
	// Tree is the digest of the listing of everything in the release but its
	// config files: path, kind, permissions, size, content.
	Tree stella.Digest `json:"tree"`
	// Stat is the digest of a listing of what stat(2) says. While it is the
	// same nothing was written to: nobody can set a file's change time. When
	// it is not, only Tree decides.
	Stat stella.Digest `json:"stat"`
}

const sealName = "seal.json"

// listing digests a release: deep reads every file, else stat(2) is asked.
// Config files are left out; they are compared with their own digests.
func listing(ctx context.Context, dir string, rel releaseFile, deep bool) (stella.Digest, error) {
	skip := map[string]bool{filepath.Join(dir, sealName): true}
	for _, c := range rel.Configs {
		skip[configPath(dir, c)] = true
	}
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || skip[path] {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		line, err := entryLine(path, fi, deep)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%q %s\n", path[len(dir):], line)
		return err
	})
	if err != nil {
		return "", err
	}
	return stella.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}

func entryLine(path string, fi fs.FileInfo, deep bool) (string, error) {
	if !deep {
		return statLine(fi), nil
	}
	switch {
	case fi.Mode().IsRegular():
		sum, err := digestFile(path)
		return fmt.Sprintf("file %o %d %s", fi.Mode().Perm(), fi.Size(), sum), err
	case fi.IsDir():
		return fmt.Sprintf("dir %o", fi.Mode().Perm()), nil
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return fmt.Sprintf("link %q", target), err
	}
	return fmt.Sprintf("other %o", fi.Mode()), nil
}

func digestFile(path string) (stella.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return stella.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}

func digestOf(data []byte) stella.Digest {
	sum := sha256.Sum256(data)
	return stella.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// configPath is where a config file lies in a release.
func configPath(dir string, c configRecord) string { return filepath.Join(dir, "rootfs", c.File) }

// errUnsealed: the release is not complete.
var errUnsealed = errors.New("not sealed")

// readRelease reads what a release holds. One that has no seal is errUnsealed.
func readRelease(dir string) (releaseFile, sealFile, error) {
	var rel releaseFile
	var seal sealFile
	if err := readJSON(filepath.Join(dir, sealName), &seal); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return rel, seal, errUnsealed
		}
		return rel, seal, err
	}
	err := readJSON(filepath.Join(dir, "release.json"), &rel)
	return rel, seal, err
}

// checkTree proves that the image's part of a release is what was sealed. The
// error is of class stella.ErrTampered where it is not.
func checkTree(ctx context.Context, dir string, rel releaseFile, seal sealFile) error {
	stat, err := listing(ctx, dir, rel, false)
	if err == nil && stat == seal.Stat {
		return nil
	}
	tree, err := listing(ctx, dir, rel, true)
	if err != nil {
		return fmt.Errorf("read release %s: %w", filepath.Base(dir), err)
	}
	if tree != seal.Tree {
		return fmt.Errorf("%w: release %s was changed on disk", stella.ErrTampered, filepath.Base(dir))
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
	stat, err := listing(ctx, dir, rel, false)
	if err != nil || stat == seal.Stat {
		return err
	}
	if err := checkTree(ctx, dir, rel, seal); err != nil {
		return err
	}
	seal.Stat = stat
	return h.locked(ctx, fence, func() error {
		return h.effect("seal", func() error { return writeJSON(filepath.Join(dir, sealName), seal) })
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
		fi, err := os.Lstat(configPath(dir, c))
		if err != nil || !fi.Mode().IsRegular() || uint32(fi.Mode().Perm()) != c.Mode {
			return rel, fmt.Errorf("%w: config %s of release %s was changed on disk", stella.ErrTampered, c.Path, filepath.Base(dir))
		}
		got, err := digestFile(configPath(dir, c))
		if err != nil || got != c.Digest {
			return rel, fmt.Errorf("%w: config %s of release %s was changed on disk", stella.ErrTampered, c.Path, filepath.Base(dir))
		}
	}
	return rel, nil
}

// sealRelease makes a release durable and seals it. A crash before the seal
// is written leaves an unsealed directory, which is removed; everything that
// the seal vouches for is on disk before it is.
func sealRelease(ctx context.Context, dir string, rel releaseFile) error {
	if err := writeJSON(filepath.Join(dir, "release.json"), rel); err != nil {
		return err
	}
	err := effect.Do("sync", "release", func() error {
		return errors.Join(makeReadOnly(filepath.Join(dir, "rootfs")), syncAll(dir))
	})
	if err != nil {
		return fmt.Errorf("sync release: %w", err)
	}
	tree, err := listing(ctx, dir, rel, true)
	if err != nil {
		return err
	}
	stat, err := listing(ctx, dir, rel, false)
	if err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, sealName), sealFile{SchemaVersion: 1, Tree: tree, Stat: stat})
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
