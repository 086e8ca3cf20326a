package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/stella-ops/stella/internal/safe"
)

// maxPkt is the longest pkt-line, its length included (gitprotocol-common(5)).
const maxPkt = 65520

type pktKind int

const (
	pktData pktKind = iota
	pktFlush
	pktDelim // of version 2
	pktEnd   // of version 2
)

var errMalformed = errors.New("the answer is not Git's protocol")

// remoteError is what a remote says with "ERR", or on its standard error.
type remoteError struct{ text string }

func (e *remoteError) Error() string { return "the remote says: " + safe.Clip(e.text, maxSaid) }

// readPkt reads one pkt-line. The payload, without a final newline, is valid
// until the next read.
func readPkt(r *bufio.Reader) ([]byte, pktKind, error) {
	head, err := r.Peek(4)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, err
	}
	n, err := strconv.ParseUint(string(head), 16, 16)
	if err != nil || n == 3 || n > maxPkt {
		return nil, 0, fmt.Errorf("%w: it starts with %q", errMalformed, safe.Clip(string(head), 8))
	}
	if n < 4 {
		_, err := r.Discard(4)
		return nil, []pktKind{pktFlush, pktDelim, pktEnd}[n], err
	}
	_, _ = r.Discard(4)
	payload := make([]byte, n-4)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errMalformed, io.ErrUnexpectedEOF)
	}
	payload = bytes.TrimSuffix(payload, []byte("\n"))
	if text, ok := bytes.CutPrefix(payload, []byte("ERR ")); ok {
		return nil, 0, &remoteError{string(text)}
	}
	return payload, pktData, nil
}

// appendPkt appends a pkt-line.
func appendPkt(b []byte, format string, args ...any) []byte {
	payload := fmt.Sprintf(format, args...)
	return fmt.Appendf(b, "%04x%s", len(payload)+4, payload)
}

const (
	flushPkt = "0000"
	delimPkt = "0001"
)

// maxSaid is how much of what a remote says is kept, in runes before they are
// made printable.
const maxSaid = 600

// said keeps the last lines that a remote prints: they hold the reason.
type said struct {
	mu   sync.Mutex // guards text: standard error is read by a goroutine
	text []byte
}

// Write implements io.Writer and never fails.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	if over := len(s.text) - 4*maxSaid; over > 0 {
		s.text = append(s.text[:0], s.text[over:]...)
	}
	return len(p), nil
}

// raw returns what was kept, to be searched and never to be printed.
func (s *said) raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

// String returns what was said in one printable line. Of lines that overwrite
// each other, as progress does, the last counts.
func (s *said) String() string {
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(s.raw(), "\r\n", "\n"), "\n") {
		line = strings.TrimRight(line, "\r")
		line = strings.TrimSpace(line[strings.LastIndexByte(line, '\r')+1:])
		if line != "" && !strings.HasPrefix(line, "POST git-") {
			lines = append(lines, line)
		}
	}
	// The end counts: it is where a hook says no.
	runes := []rune(strings.Join(lines, "; "))
	if over := len(runes) - maxSaid; over > 0 {
		return "…" + safe.Line(string(runes[over:]))
	}
	return safe.Line(string(runes))
}
