package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/effect"
	"github.com/stella-ops/stella/internal/safe"
)

// Command moves a ref of the remote; a zero Old creates, a zero New deletes.
type Command struct {
	Ref      string
	Old, New Hash
}

// Report is the remote's verdict (report-status of gitprotocol-pack(5)).
type Report struct {
	Unpack string            // "ok", or why the pack was refused
	Refs   map[string]string // "ok", or why the ref was not moved
	Said   string            // what hooks and the remote printed, one printable line
	raw    string
}

// Mentions reports whether the remote printed a text.
func (r *Report) Mentions(text string) bool { return strings.Contains(r.raw, text) }

// UnknownError wraps an error after the commands had been sent: they may have
// been carried out.
type UnknownError struct{ Err error }

// Error implements error.
func (e *UnknownError) Error() string { return e.Err.Error() }

// Unwrap returns what happened.
func (e *UnknownError) Unwrap() error { return e.Err }

// Push sends commands with a pack, which is nil when no command needs one. The
// error is *UnknownError when the remote may have acted.
func (c *Conn) Push(commands []Command, pack []byte) (*Report, error) {
	caps, err := c.pushCaps(commands)
	if err != nil {
		return nil, c.fail(err)
	}
	var b bytes.Buffer
	req := packp.ReferenceUpdateRequest{Capabilities: caps}
	for _, cmd := range commands {
		req.Commands = append(req.Commands, &packp.Command{Name: plumbing.ReferenceName(cmd.Ref), Old: cmd.Old, New: cmd.New})
	}
	if pack != nil {
		req.Packfile = io.NopCloser(bytes.NewReader(pack))
	}
	if err := req.Encode(&b); err != nil {
		return nil, c.fail(fmt.Errorf("%w: %w", stella.ErrInvalid, err))
	}
	var report *Report
	err = effect.Do("push", commands[0].Ref, func() error {
		report, err = c.push(b.Bytes())
		return err
	})
	if err == nil {
		return report, nil
	}
	err = c.fail(err)
	// Who was not let in did nothing.
	if errors.Is(err, errNotLetIn) {
		return nil, err
	}
	return nil, &UnknownError{err}
}

// errNotLetIn marks answers that say for sure that nothing was done.
var errNotLetIn = errors.New("the remote did not let us in")

func (c *Conn) pushCaps(commands []Command) (*capability.List, error) {
	caps := capability.NewList()
	want := []capability.Capability{capability.ReportStatus, capability.Sideband64k, capability.OFSDelta}
	if len(commands) > 1 {
		if !c.Advert.Has("atomic") {
			return nil, fmt.Errorf("%w: the remote can not update several refs at once", stella.ErrUnsupported)
		}
		want = append(want, capability.Atomic)
	}
	for _, cmd := range commands {
		if cmd.New.IsZero() {
			want = append(want, capability.DeleteRefs)
			break
		}
	}
	if !c.Advert.Has("report-status") {
		return nil, fmt.Errorf("%w: the remote does not report what became of a push", stella.ErrUnsupported)
	}
	for _, name := range want {
		if c.Advert.Has(string(name)) {
			if err := caps.Set(name); err != nil {
				return nil, err
			}
		}
	}
	return caps, caps.Set(capability.Agent, userAgent)
}

// push bounds the wait for the verdict: hooks may say nothing for long, so that
// it is the time that counts and not the rate.
func (c *Conn) push(body []byte) (*Report, error) {
	c.asked, c.grace = true, c.timeout
	timer := time.AfterFunc(c.timeout, func() {
		c.cancel(fmt.Errorf("%w: no verdict on the push within %s", stella.ErrUnreachable, c.timeout))
	})
	defer timer.Stop()
	answer, err := c.send(c.ctx, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Close() }()
	r := io.Reader(bufio.NewReaderSize(&limited{r: answer, left: maxReportBytes}, 1<<15))
	if c.Advert.Has("side-band-64k") {
		d := sideband.NewDemuxer(sideband.Sideband64k, r)
		d.Progress = c.said
		r = d
	}
	report, err := readReport(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	// What hooks print after the verdict is worth hearing; that the connection
	// breaks by then is not.
	_, _ = io.Copy(io.Discard, r)
	report.Said, report.raw = c.said.String(), c.said.raw()
	return report, nil
}

// maxReportBytes bounds what a remote may print in answer to a push.
const maxReportBytes = 64 << 20

// readReport parses "unpack STATUS", then "ok REF" and "ng REF REASON" lines up
// to a flush.
func readReport(r *bufio.Reader) (*Report, error) {
	line, kind, err := readPkt(r)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	status, ok := strings.CutPrefix(string(line), "unpack ")
	if !ok || kind != pktData {
		return nil, errMalformed
	}
	report := &Report{Unpack: safe.Clip(status, maxSaid), Refs: map[string]string{}}
	for {
		line, kind, err := readPkt(r)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if kind != pktData {
			return report, nil
		}
		word, rest, _ := strings.Cut(string(line), " ")
		ref, why, _ := strings.Cut(rest, " ")
		switch word {
		case "ok":
			report.Refs[ref] = "ok"
		case "ng":
			report.Refs[ref] = safe.Clip(why, maxSaid)
		default:
			return nil, errMalformed
		}
	}
}

// notLetIn marks err as one of an answer that says for sure that nothing was done.
func notLetIn(err error) error { return fmt.Errorf("%w (%w)", err, errNotLetIn) }
