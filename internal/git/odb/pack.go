package odb

import (
	"bufio"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/hash"
)

const (
	// maxObject is the biggest object that is held in memory: a file of a
	// configuration is a thousand times smaller. A bigger blob may lie in a pack
	// as long as nothing is a delta against it.
	maxObject = 64 << 20
	// maxChain is the longest chain of deltas, as in git's pack-objects.
	maxChain = 4095

	packHeader  = 12
	packTrailer = hash.Size
)

// pack is one pack with its index, both open for reading at any offset.
type pack struct {
	name string // without suffix
	f    readerAtCloser
	size int64
	info fs.FileInfo
	idx  *index
}

// current reports whether the file is still the one that has its name: a
// damaged pack is replaced by a sound one of the same name.
func (p *pack) current(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, p.name+".pack"))
	return err == nil && os.SameFile(info, p.info)
}

type readerAtCloser interface {
	io.ReaderAt
	io.Closer
}

func openPack(dir, name string) (*pack, error) {
	idx, err := openIndex(filepath.Join(dir, name+".idx"))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, name+".pack"))
	if err != nil {
		return nil, errors.Join(err, idx.f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close(), idx.f.Close())
	}
	return &pack{name: name, f: f, size: info.Size(), info: info, idx: idx}, nil
}

func (p *pack) close() error { return errors.Join(p.f.Close(), p.idx.f.Close()) }

// header is what precedes the compressed bytes of an object.
type header struct {
	kind  Kind
	size  int64 // of the object, or of the delta
	entry int64 // offset of the header
	data  int64 // offset of the compressed bytes
	// The base, for deltas.
	baseOff int64
	base    Hash
}

// headerAt reads the header of the object at an offset.
func (p *pack) headerAt(off int64) (header, error) {
	var buf [64]byte
	if off < packHeader || off >= p.size-packTrailer {
		return header{}, fmt.Errorf("%w: offset outside the pack", ErrDamaged)
	}
	n, err := p.f.ReadAt(buf[:], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return header{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	h, used, ok := parseHeader(buf[:n], off)
	if !ok {
		return header{}, fmt.Errorf("%w: malformed header", ErrDamaged)
	}
	h.entry, h.data = off, off+int64(used)
	return h, nil
}

// parseHeader parses the type, size and base of a pack's entry
// (gitformat-pack(5)).
func parseHeader(b []byte, off int64) (h header, used int, ok bool) {
	if len(b) == 0 {
		return h, 0, false
	}
	h.kind, h.size = Kind(b[0]>>4&7), int64(b[0]&15)
	i := 1
	for shift := 4; b[i-1]&0x80 != 0; shift += 7 {
		if i >= len(b) || shift > 60-7 {
			return h, 0, false
		}
		h.size |= int64(b[i]&0x7f) << shift
		i++
	}
	switch h.kind {
	case Commit, Tree, Blob, Tag:
		return h, i, true
	case plumbing.REFDeltaObject:
		if len(b) < i+len(h.base) {
			return h, 0, false
		}
		copy(h.base[:], b[i:])
		return h, i + len(h.base), true
	case plumbing.OFSDeltaObject:
		back, n := backOffset(b[i:])
		h.baseOff = off - back
		return h, i + n, n > 0 && back > 0 && h.baseOff >= packHeader
	}
	return h, 0, false
}

func backOffset(b []byte) (v int64, n int) {
	for i, c := range b {
		v |= int64(c & 0x7f)
		switch {
		case c&0x80 == 0:
			return v, i + 1
		case i >= 8:
			return 0, 0
		}
		v = (v + 1) << 7
	}
	return 0, 0
}

//nolint:gochecknoglobals // inflaters are 40 KiB each and are needed for every object
var inflaters = sync.Pool{New: func() any { return &inflater{in: bufio.NewReaderSize(nil, 4096)} }}

type inflater struct {
	in *bufio.Reader
	z  io.ReadCloser
}

// inflate fills dst with the first bytes that are compressed at an offset. With
// whole, there must be no more.
func (p *pack) inflate(off int64, dst []byte, whole bool) (int, error) {
	f, ok := inflaters.Get().(*inflater)
	if !ok {
		return 0, errors.New("inflaters holds something else")
	}
	defer inflaters.Put(f)
	f.in.Reset(io.NewSectionReader(p.f, off, p.size-packTrailer-off))
	if err := f.reset(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	n, err := io.ReadFull(f.z, dst)
	if !whole && errors.Is(err, io.ErrUnexpectedEOF) {
		return n, nil
	}
	if err != nil && len(dst) > 0 {
		return n, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if whole {
		// The end must be where it was said to be; reading it checks the sum.
		var more [1]byte
		if m, err := f.z.Read(more[:]); m != 0 || !errors.Is(err, io.EOF) {
			return n, fmt.Errorf("%w: object does not end where it should", ErrDamaged)
		}
	}
	return n, nil
}

func (f *inflater) reset() (err error) {
	if r, ok := f.z.(zlib.Resetter); ok {
		return r.Reset(f.in, nil)
	}
	f.z, err = zlib.NewReader(f.in)
	return err
}

// data unpacks the bytes of an entry as they are: an object's or a delta's.
func (p *pack) data(h header, most int64) ([]byte, error) {
	if h.size > most {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooBig, h.size, most)
	}
	buf := make([]byte, h.size)
	if _, err := p.inflate(h.data, buf, true); err != nil {
		return nil, err
	}
	return buf, nil
}

// sizeAt returns the size of the object at an offset.
func (p *pack) sizeAt(off int64) (int64, error) {
	h, err := p.headerAt(off)
	if err != nil {
		return 0, err
	}
	if !h.kind.IsDelta() {
		return h.size, nil
	}
	var start [20]byte
	n, err := p.inflate(h.data, start[:], false)
	if err != nil {
		return 0, err
	}
	_, target, err := deltaSizes(start[:n])
	return target, err
}

// deltaSizes returns the sizes of base and result that a delta starts with.
func deltaSizes(delta []byte) (base, target int64, err error) {
	b, n := binary.Uvarint(delta)
	if n <= 0 || b > maxDeltaSize {
		return 0, 0, fmt.Errorf("%w: malformed delta", ErrDamaged)
	}
	t, m := binary.Uvarint(delta[n:])
	if m <= 0 || t > maxDeltaSize {
		return 0, 0, fmt.Errorf("%w: malformed delta", ErrDamaged)
	}
	return int64(b), int64(t), nil
}

// maxDeltaSize keeps sizes that a delta claims from overflowing.
const maxDeltaSize = 1 << 60

// patch applies a delta; the result has at most most bytes.
func patch(base, delta []byte, most int64) ([]byte, error) {
	from, to, err := deltaSizes(delta)
	if err != nil {
		return nil, err
	}
	if to > most {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooBig, to, most)
	}
	if from != int64(len(base)) {
		return nil, fmt.Errorf("%w: delta of another base", ErrDamaged)
	}
	out, err := packfile.PatchDelta(base, delta)
	if err != nil || int64(len(out)) != to {
		return nil, fmt.Errorf("%w: delta does not apply: %w", ErrDamaged, err)
	}
	return out, nil
}
