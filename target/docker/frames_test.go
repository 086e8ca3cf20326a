package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/stella-ops/stella"
)

func TestFramesPassAsTheyAre(t *testing.T) {
	t.Parallel()
	var stream bytes.Buffer
	long := strings.Repeat("x", 70_000)
	for i, text := range []string{"one\n", "", long, "two\n"} {
		head := [8]byte{0: byte(1 + i%2)}
		binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
		stream.Write(head[:])
		stream.WriteString(text)
	}
	whole := stream.Bytes()
	for name, r := range map[string]io.Reader{
		"as they come": bytes.NewReader(whole), "a byte at a time": iotest.OneByteReader(bytes.NewReader(whole)),
		"with its end": iotest.DataErrReader(bytes.NewReader(whole)),
	} {
		var out bytes.Buffer
		if _, err := stdcopy.StdCopy(&out, &out, &frames{from: r}); err != nil || out.String() != "one\n"+long+"two\n" {
			t.Errorf("%s: %d bytes, %v", name, out.Len(), err)
		}
	}
}

// TestAFrameThatIsTooLongIsRefused: room is made by what its header says.
func TestAFrameThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	stream := bytes.NewReader(append([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, make([]byte, 100)...))
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, &frames{from: stream}); !errors.Is(err, stella.ErrInvalid) || out.Len() > 0 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}
