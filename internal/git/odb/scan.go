package odb

import (
	"bufio"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxStack bounds what is held in memory while deltas are resolved.
const maxStack = 128 << 20

// maxObjects bounds the count that a pack's header claims. An object takes about
// fifty bytes while it is indexed, so that this is a gigabyte at worst, for a
// pack that really has as many.
const maxObjects = 20 << 20

// minEntry is the least that an object takes in a pack: a byte of header and
// what zlib makes of nothing.
const minEntry = 9

// kin says how an object of a pack that is being indexed is related to others,
// by their indexes; none is -1.
type kin struct {
	kind  Kind
	child int32 // the last delta against it by offset
	next  int32 // the next delta against the same base
}

const none = -1

// scanner indexes a pack. First it goes through the pack once, hashing whole
// objects as they stream by and noting deltas; then it resolves deltas from
// their bases towards the leaves, so that each base is unpacked once and no
// more than one chain is in memory.
type scanner struct {
	p       *pack
	objects []entry
	kin     []kin
	waiting map[Hash]int32 // id of a base → the last delta that names it
	done    int            // objects whose id is known
}

// scanPack indexes a pack of size bytes and returns its objects and checksum.
func scanPack(ctx context.Context, f readerAtCloser, size int64) ([]entry, []byte, error) {
	sum, err := checkTrailer(f, size)
	if err != nil {
		return nil, nil, err
	}
	s := &scanner{p: &pack{f: f, size: size}, waiting: map[Hash]int32{}}
	if err := s.scan(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.resolve(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.sumEntries(); err != nil {
		return nil, nil, err
	}
	return s.objects, sum, nil
}

// countingReader counts what is read. It is an io.ByteReader, so that inflating
// does not read beyond an object's end.
type countingReader struct {
	r   *bufio.Reader
	off int64
}

func (m *countingReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.off += int64(n)
	return n, err
}

func (m *countingReader) ReadByte() (byte, error) {
	b, err := m.r.ReadByte()
	if err == nil {
		m.off++
	}
	return b, err
}

// scan is the pass through the whole pack.
func (s *scanner) scan(ctx context.Context) error {
	body := io.NewSectionReader(s.p.f, 0, s.p.size-packTrailer)
	m := &countingReader{r: bufio.NewReaderSize(body, 1<<16)}
	count, err := readPackHeader(m)
	if err != nil {
		return err
	}
	if int64(count) > s.p.size/minEntry {
		return fmt.Errorf("%w: the pack claims %d objects in %d bytes", ErrDamaged, count, s.p.size)
	}
	s.objects, s.kin = make([]entry, 0, count), make([]kin, 0, count)
	var z io.ReadCloser
	for i := range count {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if z, err = s.one(m, z); err != nil {
			return fmt.Errorf("object %d of %d: %w", i+1, count, err)
		}
	}
	if m.off != s.p.size-packTrailer {
		return fmt.Errorf("%w: the pack has %d bytes after its last object", ErrDamaged, s.p.size-packTrailer-m.off)
	}
	return nil
}

func readPackHeader(r io.Reader) (int, error) {
	var head [packHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return 0, fmt.Errorf("%w: not a pack of version 2", ErrDamaged)
	}
	n := binary.BigEndian.Uint32(head[8:])
	if n > maxObjects {
		return 0, fmt.Errorf("%w: the pack claims %d objects, at most %d are read", ErrTooBig, n, maxObjects)
	}
	return int(n), nil
}

// one reads one object and leaves m at the next.
func (s *scanner) one(m *countingReader, z io.ReadCloser) (io.ReadCloser, error) {
	off := m.off
	peek, err := m.r.Peek(40)
	if err != nil && len(peek) == 0 {
		return z, fmt.Errorf("%w: the pack ends early", ErrDamaged)
	}
	h, used, ok := parseHeader(peek, off)
	if !ok {
		return z, fmt.Errorf("%w: malformed header", ErrDamaged)
	}
	if _, err := io.CopyN(io.Discard, m, int64(used)); err != nil {
		return z, err
	}
	if z, err = resetZlib(z, m); err != nil {
		return z, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	id, err := s.content(h, z)
	if err != nil {
		return z, err
	}
	s.objects = append(s.objects, entry{id: id, off: off})
	return z, nil
}

func resetZlib(z io.ReadCloser, r io.Reader) (io.ReadCloser, error) {
	if reset, ok := z.(zlib.Resetter); ok {
		return z, reset.Reset(r, nil)
	}
	return zlib.NewReader(r)
}

// content goes through an object's bytes. It hashes what is whole, and notes of
// deltas what they are against.
func (s *scanner) content(h header, z io.Reader) (id Hash, err error) {
	index := int32(len(s.objects))
	own := kin{kind: h.kind, child: none, next: none}
	w := io.Discard
	var sum plumbing.Hasher
	switch h.kind {
	case plumbing.OFSDeltaObject:
		base, ok := s.at(h.baseOff)
		if !ok {
			return id, fmt.Errorf("%w: base of a delta is no object", ErrDamaged)
		}
		own.next, s.kin[base].child = s.kin[base].child, index
	case plumbing.REFDeltaObject:
		if last, ok := s.waiting[h.base]; ok {
			own.next = last
		}
		s.waiting[h.base] = index
	default:
		sum = plumbing.NewHasher(h.kind, h.size)
		w = sum
		s.done++
	}
	s.kin = append(s.kin, own)
	// One byte more than announced is enough to see that it is too many.
	n, err := io.Copy(w, io.LimitReader(z, h.size+1))
	if err != nil || n != h.size {
		return id, errors.Join(fmt.Errorf("%w: object of %d bytes has %d or more", ErrDamaged, h.size, n), err)
	}
	if sum.Hash != nil {
		id = sum.Sum()
	}
	return id, nil
}

// sumEntries computes the CRCs that an index has for each entry's raw bytes: in
// a pass of its own, since inflating reads byte by byte.
func (s *scanner) sumEntries() error {
	r := bufio.NewReaderSize(io.NewSectionReader(s.p.f, packHeader, s.p.size-packHeader-packTrailer), 1<<16)
	buf := make([]byte, 32<<10)
	for i := range s.objects {
		end := s.p.size - packTrailer
		if i+1 < len(s.objects) {
			end = s.objects[i+1].off
		}
		sum := crc32.NewIEEE()
		if _, err := io.CopyBuffer(onlyWriter{sum}, io.LimitReader(r, end-s.objects[i].off), buf); err != nil {
			return err
		}
		s.objects[i].crc = sum.Sum32()
	}
	return nil
}

// onlyWriter hides everything but Write, so that io.CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// at finds an earlier object by its offset.
func (s *scanner) at(off int64) (int32, bool) {
	i := sort.Search(len(s.objects), func(i int) bool { return s.objects[i].off >= off })
	if i == len(s.objects) || s.objects[i].off != off {
		return 0, false
	}
	return int32(i), true
}

// frame is a base whose deltas are being resolved.
type frame struct {
	data          []byte
	byOff, byName int32 // the next delta of either sort; none when there is no more
}

func (f *frame) empty() bool { return f.byOff == none && f.byName == none }

// pop takes the next delta.
func (s *scanner) pop(f *frame) (i int32) {
	if f.byOff != none {
		i, f.byOff = f.byOff, s.kin[f.byOff].next
		return i
	}
	i, f.byName = f.byName, s.kin[f.byName].next
	return i
}

// resolve finds the ids of all deltas.
func (s *scanner) resolve(ctx context.Context) error {
	for i := range s.objects {
		if s.kin[i].kind.IsDelta() {
			continue
		}
		root := s.against(int32(i))
		if root.empty() {
			continue
		}
		h, err := s.p.headerAt(s.objects[i].off)
		if err != nil {
			return err
		}
		if root.data, err = s.p.data(h, maxObject); err != nil {
			return err
		}
		if err := s.family(ctx, s.kin[i].kind, root); err != nil {
			return err
		}
	}
	if s.done != len(s.objects) {
		return fmt.Errorf("%w: %d deltas have no base in the pack", ErrDamaged, len(s.objects)-s.done)
	}
	return nil
}

// against takes the deltas against an object whose id is known.
func (s *scanner) against(i int32) frame {
	f := frame{byOff: s.kin[i].child, byName: none}
	if named, ok := s.waiting[s.objects[i].id]; ok {
		f.byName = named
		delete(s.waiting, s.objects[i].id)
	}
	return f
}

// family resolves all that descends from one base, depth first. A base is let
// go when its last delta is taken up.
func (s *scanner) family(ctx context.Context, kind Kind, root frame) error {
	stack, held := []frame{root}, len(root.data)
	for len(stack) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		top := &stack[len(stack)-1]
		base, i := top.data, s.pop(top)
		if top.empty() {
			held -= len(base)
			stack = stack[:len(stack)-1]
		}
		data, err := s.apply(i, kind, base)
		if err != nil {
			return err
		}
		if f := s.against(i); !f.empty() {
			f.data = data
			stack, held = append(stack, f), held+len(data)
		}
		if held > maxStack || len(stack) > maxChain {
			return fmt.Errorf("%w: resolving deltas takes more than %d bytes", ErrTooBig, maxStack)
		}
	}
	return nil
}

func (s *scanner) apply(i int32, kind Kind, base []byte) ([]byte, error) {
	h, err := s.p.headerAt(s.objects[i].off)
	if err != nil {
		return nil, err
	}
	delta, err := s.p.data(h, maxObject)
	if err != nil {
		return nil, err
	}
	data, err := patch(base, delta, maxObject)
	if err != nil {
		return nil, err
	}
	s.objects[i].id = plumbing.ComputeHash(kind, data)
	s.done++
	return data, nil
}
