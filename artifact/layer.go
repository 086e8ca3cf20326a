package artifact

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// layer is a layer on disk.
type layer struct {
	path   string
	want   descriptor    // of the compressed bytes
	diffID stella.Digest // of the tar archive inside
}

// compression is how a layer's archive is packed.
type compression string

const (
	plainTar compression = "tar"
	gzipped  compression = "gzip"
	zstdded  compression = "zstd"
)

// compressionOf knows the types of layers that there are in the wild. Foreign
// ones, which are to be fetched from anywhere, are not supported.
func compressionOf(t types.MediaType) (compression, error) {
	switch t {
	case types.OCILayer, types.DockerLayer:
		return gzipped, nil
	case types.OCILayerZStd, "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return zstdded, nil
	case types.OCIUncompressedLayer, types.DockerUncompressedLayer:
		return plainTar, nil
	}
	return "", problem(stella.ErrUnsupported, "layers of type %s", safe.Clip(string(t), 80))
}

// sniff returns how data is packed by its first bytes: the magic numbers of
// RFC 1952 and RFC 8878.
func sniff(head []byte) compression {
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		return gzipped
	case len(head) >= 4 && head[0] == 0x28 && head[1] == 0xb5 && head[2] == 0x2f && head[3] == 0xfd,
		len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18:
		return zstdded
	}
	return plainTar
}

// maxWindowBytes bounds the memory that a zstd frame may ask for. The
// strongest level that does not ask for it by name takes 8 MiB, level 22 takes
// 128 MiB; RFC 8878 recommends to support 8 MiB.
const maxWindowBytes = 32 << 20

func decompress(r io.Reader, want compression) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if got := sniff(head); got != want {
		return nil, problem(stella.ErrInvalid, "the manifest says that it is %s, it is %s", want, got)
	}
	switch want {
	case gzipped:
		return gzip.NewReader(buffered)
	case zstdded:
		d, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// budget is what the layers of one image may still unpack to.
type budget struct {
	left  int64
	ratio int64
}

// ratioFreeBytes is what any layer may unpack to, however small it is: the
// database of a distribution packs well.
const ratioFreeBytes = 32 << 20

// unpacked is the verified content of a layer: it gives an error in place of
// io.EOF if the bytes are not the ones with its diff id.
type unpacked struct {
	ctx    context.Context // lives as long as one reading
	l      layer
	file   *os.File
	inner  io.ReadCloser
	sum    hash.Hash
	got    int64
	budget *budget // nil: not counted again
}

func (l layer) open(ctx context.Context, b *budget) (*unpacked, error) {
	how, err := compressionOf(l.want.MediaType)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	inner, err := decompress(file, how)
	if err != nil {
		_ = file.Close()
		return nil, l.bad(err)
	}
	return &unpacked{ctx: ctx, l: l, file: file, inner: inner, sum: sha256.New(), budget: b}, nil
}

// bad is what a decompressor says of bytes whose digest is right: the image was
// built like that.
func (l layer) bad(err error) error {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return problem(stella.ErrInvalid, "it can not be unpacked: %s", safe.Clip(err.Error(), 80))
}

func (u *unpacked) Read(p []byte) (int, error) {
	if cause := ended(u.ctx); cause != nil {
		return 0, cause
	}
	n, err := u.inner.Read(p)
	u.sum.Write(p[:n])
	u.got += int64(n)
	if over := u.over(int64(n)); over != nil {
		return 0, over
	}
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return n, u.l.bad(err)
	}
	if got := "sha256:" + hex.EncodeToString(u.sum.Sum(nil)); got != string(u.l.diffID) {
		return n, problem(stella.ErrTampered, "it unpacks to bytes with digest %s, the configuration says %s", got, u.l.diffID.Short())
	}
	return n, io.EOF
}

func (u *unpacked) over(n int64) error {
	b := u.budget
	if b == nil {
		return nil
	}
	if b.left -= n; b.left < 0 {
		return problem(stella.ErrInvalid, "the layers unpack to more than allowed")
	}
	if u.got > ratioFreeBytes && u.got/b.ratio > u.l.want.Size {
		return problem(stella.ErrInvalid, "it unpacks to more than %d times its size", b.ratio)
	}
	return nil
}

func (u *unpacked) Close() error { return errors.Join(u.inner.Close(), u.file.Close()) }

// entries reads the archive of a layer to its very end: archive/tar stops at
// the end marker, and a digest is verified only at the end of the bytes (issue
// 2303 of go-containerregistry). What follows the marker must be zeros.
func (u *unpacked) entries(each func(h *tar.Header, body io.Reader) error) error {
	tr := tar.NewReader(u)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.tarError(err)
		}
		if err := each(h, tr); err != nil {
			return fmt.Errorf("%q: %w", safe.Clip(h.Name, 80), err)
		}
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := u.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return problem(stella.ErrInvalid, "there is data after the end of its archive")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tarError tells what the archive's bytes led to from what happened to them.
func (u *unpacked) tarError(err error) error {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if cause := ended(u.ctx); cause != nil {
		return cause
	}
	return problem(stella.ErrInvalid, "its archive is damaged: %s", safe.Clip(err.Error(), 80))
}
