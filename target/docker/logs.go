package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// How much of a log is read: the engine bounds by lines alone, of which each is
// at most 16 KiB long in its own drivers.
const (
	maxLogBytes = 2 << 20
	maxLogLines = 10_000
)

// Logs returns the end of a component's output, standard output and error as
// they came, at most maxBytes of it (zero: 2 MiB), whole lines where it had to be
// cut. It is the process's own text: the caller makes it safe to print. A service
// without a container is of class stella.ErrNotFound, one whose logging driver
// keeps nothing of stella.ErrUnsupported.
func (d *Docker) Logs(ctx context.Context, component string, maxBytes int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	c, err := d.component(ctx, component)
	if err != nil {
		return nil, fmt.Errorf("read log of %s: %w", component, err)
	}
	out, err := d.tail(ctx, c, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("read log of %s: %w", component, fault(err))
	}
	return out, nil
}

// tail reads the end of one container's output.
func (d *Docker) tail(ctx context.Context, c container.InspectResponse, maxBytes int64) ([]byte, error) {
	if maxBytes <= 0 || maxBytes > maxLogBytes {
		maxBytes = maxLogBytes
	}
	if c.HostConfig != nil && c.HostConfig.LogConfig.Type == "none" {
		return nil, stella.WithHint(fmt.Errorf("%w: its logging driver is none, which keeps no output", stella.ErrUnsupported),
			"use json-file, local or journald as the driver under 'logging' in the Compose file")
	}
	stream, err := d.api.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(maxLogLines),
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	end := &tailBuffer{most: int(maxBytes)}
	if c.Config != nil && c.Config.Tty {
		_, err = io.Copy(end, stream)
	} else {
		_, err = stdcopy.StdCopy(end, end, &frames{from: stream})
	}
	return end.lines(), err
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	most int
	text []byte
	cut  bool
}

func (e *tailBuffer) Write(p []byte) (int, error) {
	e.text = append(e.text, p...)
	if len(e.text) > 2*e.most {
		e.trim()
	}
	return len(p), nil
}

func (e *tailBuffer) trim() {
	if over := len(e.text) - e.most; over > 0 {
		e.text, e.cut = append(e.text[:0], e.text[over:]...), true
	}
}

// lines returns what is kept, from the start of a line on.
func (e *tailBuffer) lines() []byte {
	e.trim()
	if _, rest, ok := bytes.Cut(e.text, []byte("\n")); e.cut && ok {
		return rest
	}
	return e.text
}

// beginning keeps the beginning of what is written to it.
type beginning struct {
	most int
	text []byte
}

func (b *beginning) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), b.most-len(b.text))]...)
	return len(p), nil
}

// said is what a command or a process wrote, for an error: short and safe.
func said(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	return ": " + safe.Clip(text[max(0, len(text)-maxSaid):], maxSaid)
}

const maxSaid = 500
