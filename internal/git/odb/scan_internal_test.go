package odb

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/memory"
)

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// seal makes the checksum right, or no mutation would get past it.
func seal(pack []byte) []byte {
	body := bytes.Clone(pack[:max(0, len(pack)-packTrailer)])
	sum := sha1.Sum(body)
	return append(body, sum[:]...)
}

// samplePack is a pack with deltas of both kinds, made by go-git.
func samplePack(t testing.TB, refDeltas bool) []byte {
	t.Helper()
	store := memory.NewStorage()
	var ids []plumbing.Hash
	for i := range 4 {
		o := &plumbing.MemoryObject{}
		o.SetType(plumbing.BlobObject)
		if _, err := o.Write(append(bytes.Repeat([]byte("a line of text\n"), 30), byte('0'+i))); err != nil {
			t.Fatal(err)
		}
		h, err := store.SetEncodedObject(o)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, h)
	}
	var b bytes.Buffer
	if _, err := packfile.NewEncoder(&b, store, refDeltas).Encode(ids, 10); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDeltasOfBothKindsAreIndexed(t *testing.T) {
	for _, refDeltas := range []bool{false, true} {
		pack := samplePack(t, refDeltas)
		entries, _, err := scanPack(t.Context(), inMemory{bytes.NewReader(pack)}, int64(len(pack)))
		if err != nil || len(entries) != 4 {
			t.Errorf("by id %v: %d objects, %v", refDeltas, len(entries), err)
		}
	}
}

// FuzzScan gives anything to the indexer: it refuses, and it never panics or
// takes memory that the input does not pay for.
func FuzzScan(f *testing.F) {
	f.Add(samplePack(f, false))
	f.Add(samplePack(f, true))
	f.Add([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff........................"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = seal(data)
		entries, _, err := scanPack(t.Context(), inMemory{bytes.NewReader(data)}, int64(len(data)))
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTooBig) {
			t.Fatalf("unclassified: %v", err)
		}
		if err != nil {
			return
		}
		p := &pack{f: inMemory{bytes.NewReader(data)}, size: int64(len(data))}
		for _, e := range entries {
			if _, err := p.headerAt(e.off); err != nil {
				t.Fatalf("accepted, but %v", err)
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{0xb0, 0x01, 0x80, 0x80, 0x01}, int64(5000))
	f.Fuzz(func(t *testing.T, b []byte, off int64) {
		h, used, ok := parseHeader(b, off)
		if ok && (used > len(b) || h.size < 0 || h.baseOff >= off && h.kind == plumbing.OFSDeltaObject) {
			t.Fatalf("%+v of %x at %d, %d used", h, b, off, used)
		}
	})
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte("base"), []byte("\x04\x05\x90\x04\x01x"))
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		out, err := patch(base, delta, 1<<16)
		if err == nil && len(out) > 1<<16 {
			t.Fatal("longer than allowed")
		}
	})
}

// entryBytes encodes one entry of a pack.
func entryBytes(t *testing.T, kind Kind, base int64, size int, deflated []byte) []byte {
	t.Helper()
	out := []byte{byte(kind)<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		out[len(out)-1] |= 0x80
		out = append(out, byte(size&0x7f))
	}
	if kind == plumbing.OFSDeltaObject {
		tail := []byte{byte(base & 0x7f)}
		for base >>= 7; base > 0; base >>= 7 {
			base--
			tail = append([]byte{byte(base&0x7f) | 0x80}, tail...)
		}
		out = append(out, tail...)
	}
	return append(out, deflated...)
}

// TestABombDoesNotTakeMemory: a few kilobytes that unpack to a gigabyte, once as
// a plain object (which is fine, and streams by) and once through a delta.
func TestABombDoesNotTakeMemory(t *testing.T) {
	const mib = 1 << 20
	zeros := deflate(t, io.LimitReader(zeroReader{}, 32*mib))
	bomb := packOf(t, entryBytes(t, Blob, 0, 32*mib, zeros))
	if _, _, err := scanPack(t.Context(), inMemory{bytes.NewReader(bomb)}, int64(len(bomb))); err != nil {
		t.Errorf("a big blob alone: %v", err)
	}
	// copies the 32 MiB base 32 times
	delta := binary.AppendUvarint(nil, 32*mib)
	delta = binary.AppendUvarint(delta, 1024*mib)
	for range 64 {
		delta = append(delta, 0x80|0x40|0x20, 0xff, 0xff) // 0xffff00 bytes from the start
	}
	first := entryBytes(t, Blob, 0, 32*mib, zeros)
	second := entryBytes(t, plumbing.OFSDeltaObject, int64(len(first)), len(delta), deflate(t, bytes.NewReader(delta)))
	bomb = packOf(t, first, second)
	if _, _, err := scanPack(t.Context(), inMemory{bytes.NewReader(bomb)}, int64(len(bomb))); !errors.Is(err, ErrTooBig) {
		t.Errorf("a delta of a gigabyte: %v, want ErrTooBig", err)
	}
}
