package odb

import (
	"bufio"
	"cmp"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/go-git/go-git/v5/plumbing/hash"
)

// maxPacks is how many packs there may be: every fetch and every push adds a
// small one, every read asks each of them, and each has two open files.
const maxPacks = 20

// Tidy merges small packs when there are many. The caller holds the lock.
func (db *DB) Tidy() error {
	packs := slices.Clone(db.snapshot())
	if len(packs) <= maxPacks {
		return nil
	}
	slices.SortFunc(packs, func(a, b *pack) int { return cmp.Compare(a.size, b.size) })
	return db.merge(packs[:smallOnes(packs)])
}

// smallOnes returns how many packs, sorted by size, to merge: as long as the
// next one is not much bigger than all before it together. So every byte is
// copied a logarithmic number of times, and the big pack of a clone never.
func smallOnes(packs []*pack) int {
	n, sum := 2, packs[0].size+packs[1].size
	for n < len(packs) && (n < maxPacks/2 || packs[n].size < 2*sum) {
		sum += packs[n].size
		n++
	}
	return n
}

// merge makes one pack of several. As no delta points outside its own pack and
// offsets are relative, their bodies are copied one after the other as they are.
func (db *DB) merge(packs []*pack) (err error) {
	f, err := os.CreateTemp(db.packDir(), tmpPrefix+"pack_*")
	if err != nil {
		return err
	}
	in := &Incoming{db: db, pack: f.Name()}
	defer in.Discard()
	entries, sum, err := concatenate(f, packs)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("merge %d packs: %w", len(packs), err)
	}
	in.name, in.objects = "pack-"+hex.EncodeToString(sum), len(entries)
	if err := in.writeIndex(entries, sum); err != nil {
		return err
	}
	old := map[string]bool{}
	for _, p := range packs {
		old[p.name] = p.name != in.name
	}
	delete(old, in.name)
	// A crash in between leaves objects twice, which is harmless.
	if err := in.Install(); err != nil {
		return err
	}
	return db.remove(old)
}

func concatenate(f *os.File, packs []*pack) ([]entry, []byte, error) {
	sum := hash.New(crypto.SHA1)
	buf := bufio.NewWriterSize(f, 1<<16)
	w := io.MultiWriter(buf, sum)
	head := [packHeader]byte{'P', 'A', 'C', 'K', 0, 0, 0, 2}
	count := 0
	for _, p := range packs {
		count += p.idx.count()
	}
	binary.BigEndian.PutUint32(head[8:], uint32(count))
	if _, err := w.Write(head[:]); err != nil {
		return nil, nil, err
	}
	var all []entry
	at := int64(packHeader)
	for _, p := range packs {
		if _, err := checkTrailer(p.f, p.size); err != nil {
			return nil, nil, err
		}
		entries, err := p.idx.entries()
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			e.off += at - packHeader
			all = append(all, e)
		}
		n, err := io.Copy(w, io.NewSectionReader(p.f, packHeader, p.size-packHeader-packTrailer))
		if err != nil {
			return nil, nil, err
		}
		at += n
	}
	total := sum.Sum(nil)
	_, _ = buf.Write(total)
	return all, total, errors.Join(buf.Flush(), f.Sync())
}
