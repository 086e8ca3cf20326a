package odb

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing/hash"

	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/effect"
)

// tmpPrefix starts the names of files that are not complete.
const tmpPrefix = "tmp_"

// Incoming is a pack that is on disk and indexed, and not yet part of the
// database. Install or Discard it.
type Incoming struct {
	db        *DB
	pack, idx string // paths of the temporary files
	name      string // of the pack once installed; empty when it has no objects
	objects   int
}

// Objects returns how many objects the pack has.
func (in *Incoming) Objects() int { return in.objects }

// Receive writes a pack of at most most bytes to disk, checks it and indexes
// it. It needs no lock: nothing is visible before Install. Errors: ErrTooBig,
// ErrDamaged (the stream is not a sound pack) and those of r.
func (db *DB) Receive(ctx context.Context, r io.Reader, most int64) (_ *Incoming, err error) {
	// Somebody may have removed the whole cache.
	if err := db.layout(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(db.packDir(), tmpPrefix+"pack_*")
	if err != nil {
		return nil, err
	}
	in := &Incoming{db: db, pack: f.Name()}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			in.Discard()
		}
	}()
	n, err := io.Copy(f, io.LimitReader(&withContext{ctx, r}, most+1))
	switch {
	case err != nil:
		return nil, err
	case n > most:
		return nil, fmt.Errorf("%w: the pack has more than %d bytes", ErrTooBig, most)
	case n == 0:
		return in, nil
	}
	entries, sum, err := scanPack(ctx, f, n)
	if err != nil {
		return nil, fmt.Errorf("index the pack: %w", err)
	}
	in.objects = len(entries)
	if len(entries) == 0 {
		return in, nil
	}
	in.name = "pack-" + hex.EncodeToString(sum)
	return in, errors.Join(f.Sync(), in.writeIndex(entries, sum))
}

func (in *Incoming) writeIndex(entries []entry, sum []byte) error {
	f, err := os.CreateTemp(in.db.packDir(), tmpPrefix+"idx_*")
	if err != nil {
		return err
	}
	in.idx = f.Name()
	return errors.Join(writeIndex(f, entries, sum), f.Close())
}

// Discard removes the temporary files. It may follow Install.
func (in *Incoming) Discard() {
	for _, f := range []string{in.pack, in.idx} {
		if f != "" {
			_ = os.Remove(f)
		}
	}
}

// Install makes the pack part of the database. The caller holds the lock.
func (in *Incoming) Install() error {
	defer in.Discard()
	if in.name == "" {
		return nil
	}
	// Who sees an index expects its pack: the pack comes first.
	path := filepath.Join(in.db.packDir(), in.name)
	if err := effect.Do("rename", path+".pack", func() error { return os.Rename(in.pack, path+".pack") }); err != nil {
		return err
	}
	if err := durable.Rename(in.idx, path+".idx"); err != nil {
		return err
	}
	_, err := in.db.Reload()
	return err
}

// Replace installs the pack and drops all others, and history is cut where
// shallow says and nowhere else. The caller holds the lock.
func (in *Incoming) Replace(shallow []Hash) error {
	old, err := in.db.list()
	if err != nil {
		return err
	}
	// A crash on the way leaves too many commits said to be cut, which costs a
	// fetch and is never wrong: the file first gains what is new, then the packs
	// go, then what is old goes from the file.
	before, err := in.db.Shallow()
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if err := in.db.SetShallow(append(before, shallow...)); err != nil {
		return err
	}
	if err := in.Install(); err != nil {
		return err
	}
	delete(old, in.name)
	if err := in.db.remove(old); err != nil {
		return err
	}
	return in.db.SetShallow(shallow)
}

// remove deletes packs, index first: nobody opens a pack without one.
func (db *DB) remove(names map[string]bool) error {
	var errs []error
	for name := range names {
		for _, suffix := range []string{".idx", ".pack"} {
			errs = append(errs, durable.Remove(filepath.Join(db.packDir(), name+suffix)))
		}
	}
	_, err := db.Reload()
	return errors.Join(append(errs, err)...)
}

// withContext ends reading when ctx ends, between two reads.
type withContext struct {
	ctx context.Context
	r   io.Reader
}

func (w *withContext) Read(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// checkTrailer compares a pack's checksum with its content.
func checkTrailer(f io.ReaderAt, size int64) ([]byte, error) {
	if size < packHeader+packTrailer {
		return nil, fmt.Errorf("%w: pack of %d bytes", ErrDamaged, size)
	}
	sum := hash.New(crypto.SHA1)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size-packTrailer)); err != nil {
		return nil, err
	}
	want := make([]byte, packTrailer)
	if _, err := f.ReadAt(want, size-packTrailer); err != nil {
		return nil, err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return nil, fmt.Errorf("%w: the pack has the wrong checksum", ErrDamaged)
	}
	return want, nil
}
