package gittest

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

type hash = plumbing.Hash

const (
	commit = plumbing.CommitObject
	tree   = plumbing.TreeObject
	blob   = plumbing.BlobObject
)

// packer writes a pack object by object. It keeps its first error for install.
type packer struct {
	dir     string
	f       *os.File
	w       *bufio.Writer
	off     int64
	z       *zlib.Writer
	buf     bytes.Buffer // the entry that is being written
	entries map[hash]place
	err     error
}

type place struct {
	off int64
	crc uint32
}

const packHeader = 12

func newPacker(dir string) (*packer, error) {
	f, err := os.CreateTemp(dir, "tmp_pack_*")
	if err != nil {
		return nil, err
	}
	p := &packer{dir: dir, f: f, w: bufio.NewWriterSize(f, 1<<20), entries: map[hash]place{}, off: packHeader}
	if p.z, err = zlib.NewWriterLevel(nil, zlib.BestSpeed); err != nil {
		return nil, err
	}
	// The count comes in the end.
	_, err = p.w.Write(make([]byte, packHeader))
	return p, err
}

func (p *packer) discard() {
	_ = p.f.Close()
	_ = os.Remove(p.f.Name())
}

func id(kind plumbing.ObjectType, data []byte) hash {
	h := sha1.New()
	_, _ = fmt.Fprintf(h, "%s %d\x00", kind, len(data))
	_, _ = h.Write(data)
	return hash(h.Sum(nil))
}

// add writes an object unless it is there, and returns its id.
func (p *packer) add(kind plumbing.ObjectType, data []byte) hash {
	h := id(kind, data)
	if _, ok := p.entries[h]; !ok {
		p.entry(h, kind, 0, data)
	}
	return h
}

// addDelta writes an object as a delta against the one at an earlier offset.
func (p *packer) addDelta(kind plumbing.ObjectType, data, delta []byte, base int64) hash {
	h := id(kind, data)
	p.entry(h, plumbing.OFSDeltaObject, p.off-base, delta)
	return h
}

func (p *packer) entry(h hash, kind plumbing.ObjectType, back int64, data []byte) {
	p.buf.Reset()
	size := len(data)
	head := []byte{byte(kind)<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(size&0x7f))
	}
	p.buf.Write(head)
	if back > 0 {
		tail := []byte{byte(back & 0x7f)}
		for back >>= 7; back > 0; back >>= 7 {
			back--
			tail = append([]byte{byte(back&0x7f) | 0x80}, tail...)
		}
		p.buf.Write(tail)
	}
	p.z.Reset(&p.buf)
	_, err := p.z.Write(data)
	p.err = errors.Join(p.err, err, p.z.Close())
	p.entries[h] = place{off: p.off, crc: crc32.ChecksumIEEE(p.buf.Bytes())}
	_, err = p.w.Write(p.buf.Bytes())
	p.err = errors.Join(p.err, err)
	p.off += int64(p.buf.Len())
}

// appendSize appends a size as deltas start with.
func appendSize(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }

// appendCopy appends the instruction to copy from the base.
func appendCopy(b []byte, off, size int) []byte {
	at := len(b)
	b = append(b, 0x80)
	for i, v := range []int{off, off >> 8, off >> 16, off >> 24, size, size >> 8, size >> 16} {
		if v&0xff != 0 {
			b[at] |= 1 << i
			b = append(b, byte(v))
		}
	}
	return b
}

// install completes the pack and gives it an index.
func (p *packer) install() error {
	if err := errors.Join(p.err, p.w.Flush()); err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(p.entries)))
	if _, err := p.f.WriteAt(head, 0); err != nil {
		return err
	}
	data, err := os.ReadFile(p.f.Name())
	if err != nil {
		return err
	}
	sum := sha1.Sum(data)
	if _, err := p.f.WriteAt(sum[:], p.off); err != nil {
		return err
	}
	name := filepath.Join(p.dir, "pack-"+hex.EncodeToString(sum[:]))
	return errors.Join(os.Rename(p.f.Name(), name+".pack"), p.writeIndex(name+".idx", sum))
}

func (p *packer) writeIndex(file string, sum hash) (err error) {
	var w idxfile.Writer
	if err := w.OnHeader(uint32(len(p.entries))); err != nil {
		return err
	}
	for h, at := range p.entries {
		if err := w.OnInflatedObjectContent(h, at.off, at.crc, nil); err != nil {
			return err
		}
	}
	if err := w.OnFooter(sum); err != nil {
		return err
	}
	index, err := w.Index()
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = idxfile.NewEncoder(f).Encode(index)
	return errors.Join(err, f.Close())
}
