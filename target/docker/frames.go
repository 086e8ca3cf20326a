package docker

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/stella-ops/stella"
)

// maxFrame bounds one frame of a stream, in bytes. Engines write at most 32 KiB
// at a time.
const maxFrame = 1 << 20

// frames passes on the stream of a container's two outputs and refuses a frame
// that is too long: whoever takes it apart makes room for all of it beforehand.
// A frame begins with eight bytes, of which the last four are its length; see
// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach.
type frames struct {
	from io.Reader
	head [8]byte
	have int    // of head
	left uint32 // of the frame's content
}

func (f *frames) Read(p []byte) (int, error) {
	if f.left > 0 {
		n, err := f.from.Read(p[:min(len(p), int(f.left))])
		f.left -= uint32(n) //nolint:gosec // not above left
		return n, err
	}
	n, err := f.from.Read(p[:min(len(p), len(f.head)-f.have)])
	f.have += copy(f.head[f.have:], p[:n])
	if f.have < len(f.head) {
		return n, err
	}
	f.have, f.left = 0, binary.BigEndian.Uint32(f.head[4:])
	if f.left > maxFrame {
		return 0, fmt.Errorf("%w: the engine sends a frame of %d bytes", stella.ErrInvalid, f.left)
	}
	return n, err
}
