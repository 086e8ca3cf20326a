package odb

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"io"
	"testing"
)

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func deflate(t *testing.T, r io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := io.Copy(z, r); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packOf(t *testing.T, entries ...[]byte) []byte {
	t.Helper()
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(entries)))
	return seal(append(append(pack, bytes.Join(entries, nil)...), make([]byte, packTrailer)...))
}
