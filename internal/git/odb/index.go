package odb

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/hash"
)

// The index of a pack, version 2 (gitformat-pack(5)): magic, version, 256
// cumulative counts, then for n objects sorted by id: ids, CRCs, offsets of 4
// bytes with the top bit saying that it is an index into offsets of 8 bytes,
// those offsets, the pack's and the index's own checksum.
const (
	idxMagic   = "\xfftOc\x00\x00\x00\x02"
	idxHeader  = 8 + 256*4
	idxTrailer = 2 * hash.Size
	farOffset  = 1 << 31
)

// index looks up offsets in an index file. Ids are read 1/256 at a time when
// they are first asked for: opening a big index costs nothing.
type index struct {
	f      *os.File
	fanout [256]uint32
	far    int64 // how many offsets have 8 bytes

	mu  sync.Mutex // guards ids
	ids [256][]byte
}

func openIndex(path string) (*index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &index{f: f}
	if err := x.readHeader(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return x, nil
}

func (x *index) readHeader() error {
	info, err := x.f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, idxHeader)
	if _, err := x.f.ReadAt(head, 0); err != nil || !bytes.HasPrefix(head, []byte(idxMagic)) {
		return fmt.Errorf("%w: index %s has no header", ErrDamaged, x.f.Name())
	}
	var last uint32
	for i := range x.fanout {
		x.fanout[i] = binary.BigEndian.Uint32(head[8+4*i:])
		if x.fanout[i] < last {
			return fmt.Errorf("%w: index %s counts backwards", ErrDamaged, x.f.Name())
		}
		last = x.fanout[i]
	}
	rest := info.Size() - idxHeader - idxTrailer - int64(x.count())*(hash.Size+4+4)
	if rest < 0 || rest%8 != 0 {
		return fmt.Errorf("%w: index %s has the wrong size", ErrDamaged, x.f.Name())
	}
	x.far = rest / 8
	return nil
}

func (x *index) count() int { return int(x.fanout[255]) }

// bucket returns the ids that start with a byte, and the position of the first.
func (x *index) bucket(b byte) (ids []byte, first int, err error) {
	if b > 0 {
		first = int(x.fanout[b-1])
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ids[b] == nil {
		ids := make([]byte, (int(x.fanout[b])-first)*hash.Size)
		if _, err := x.f.ReadAt(ids, idxHeader+int64(first)*hash.Size); err != nil {
			return nil, 0, fmt.Errorf("%w: index: %w", ErrDamaged, err)
		}
		x.ids[b] = ids
	}
	return x.ids[b], first, nil
}

func (x *index) find(h Hash) (offset int64, ok bool, err error) {
	ids, first, err := x.bucket(h[0])
	if err != nil {
		return 0, false, err
	}
	lo, hi := 0, len(ids)/hash.Size
	for lo < hi {
		mid := (lo + hi) / 2
		switch bytes.Compare(ids[mid*hash.Size:(mid+1)*hash.Size], h[:]) {
		case 0:
			offset, err := x.offset(first + mid)
			return offset, err == nil, err
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false, nil
}

// offset returns the offset of the i-th object by id.
func (x *index) offset(i int) (int64, error) {
	var buf [8]byte
	if _, err := x.f.ReadAt(buf[:4], idxHeader+int64(x.count())*(hash.Size+4)+int64(i)*4); err != nil {
		return 0, fmt.Errorf("%w: index: %w", ErrDamaged, err)
	}
	near := binary.BigEndian.Uint32(buf[:4])
	if near < farOffset {
		return int64(near), nil
	}
	at := int64(near - farOffset)
	if at >= x.far {
		return 0, fmt.Errorf("%w: index points outside itself", ErrDamaged)
	}
	if _, err := x.f.ReadAt(buf[:], idxHeader+int64(x.count())*(hash.Size+4+4)+at*8); err != nil {
		return 0, fmt.Errorf("%w: index: %w", ErrDamaged, err)
	}
	return int64(binary.BigEndian.Uint64(buf[:]) & (1<<63 - 1)), nil
}

// entry is one object of a pack as its index has it.
type entry struct {
	id  Hash
	crc uint32
	off int64
}

// entries reads the whole index, sorted by id, and checks its checksum.
func (x *index) entries() ([]entry, error) {
	info, err := x.f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, info.Size())
	if _, err := x.f.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("%w: index: %w", ErrDamaged, err)
	}
	sum := hash.New(crypto.SHA1)
	_, _ = sum.Write(data[:len(data)-hash.Size])
	if !bytes.Equal(sum.Sum(nil), data[len(data)-hash.Size:]) {
		return nil, fmt.Errorf("%w: index has the wrong checksum", ErrDamaged)
	}
	n := x.count()
	out := make([]entry, n)
	for i := range out {
		copy(out[i].id[:], data[idxHeader+i*hash.Size:])
		out[i].crc = binary.BigEndian.Uint32(data[idxHeader+n*hash.Size+i*4:])
		if out[i].off, err = x.offset(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// writeIndex writes the index of a pack with that checksum. It sorts entries.
// An id that is in the pack twice is in the index twice: git wants as many.
func writeIndex(f *os.File, entries []entry, packSum []byte) error {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.off, b.off))
	})
	sum := hash.New(crypto.SHA1)
	buf := bufio.NewWriterSize(f, 1<<16)
	w := io.MultiWriter(buf, sum)
	put := func(b []byte) { _, _ = w.Write(b) }
	put([]byte(idxMagic))
	putFanout(put, entries)
	for i := range entries {
		put(entries[i].id[:])
	}
	var b [8]byte
	for i := range entries {
		binary.BigEndian.PutUint32(b[:4], entries[i].crc)
		put(b[:4])
	}
	var far []int64
	for i := range entries {
		near := uint32(entries[i].off)
		if entries[i].off >= farOffset {
			near = farOffset + uint32(len(far))
			far = append(far, entries[i].off)
		}
		binary.BigEndian.PutUint32(b[:4], near)
		put(b[:4])
	}
	for _, off := range far {
		binary.BigEndian.PutUint64(b[:], uint64(off))
		put(b[:])
	}
	put(packSum)
	_, _ = buf.Write(sum.Sum(nil))
	// A bufio.Writer keeps its first error for Flush.
	return errors.Join(buf.Flush(), f.Sync())
}

func putFanout(put func([]byte), sorted []entry) {
	var b [4]byte
	n := 0
	for first := range 256 {
		for n < len(sorted) && int(sorted[n].id[0]) <= first {
			n++
		}
		binary.BigEndian.PutUint32(b[:], uint32(n))
		put(b[:])
	}
}
