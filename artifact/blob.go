package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/stella-ops/stella"
)

// transfer brings one blob into a file. A transfer that broke off goes on where
// it was, or starts anew where the registry does not offer that.
type transfer struct {
	s       *session
	want    descriptor
	file    io.WriterAt
	sum     hash.Hash // of what is in file
	done    int64     // bytes in file
	resumed bool
	noRange bool // the registry refused to go on
}

// The bounds of going on without counting it as another try: a connection that
// breaks every few hundred megabytes still brings a large layer over.
const (
	progressBytes = 1 << 20
	maxResumes    = 16
)

// blob brings the blob into the file, which is empty, and verifies it.
func (s *session) blob(ctx context.Context, what string, want descriptor, file io.WriterAt) error {
	t := &transfer{s: s, want: want, file: file, sum: sha256.New()}
	resumes := 0
	return s.client.retry(ctx, what, func() error {
		for {
			before := t.done
			err := t.try(ctx)
			var f *fault
			if err == nil || !errors.As(err, &f) || !f.again || t.done-before < progressBytes || resumes >= maxResumes {
				return err
			}
			resumes++
		}
	})
}

func (t *transfer) try(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{}
	if t.done > 0 && !t.noRange {
		header.Set("Range", fmt.Sprintf("bytes=%d-", t.done))
	}
	resp, err := t.s.do(withBodyCap(ctx, t.want.Size+1), http.MethodGet, "blobs/"+string(t.want.Digest), header)
	if err != nil {
		return t.refused(err)
	}
	defer func() { _ = resp.Body.Close() }()
	start, err := t.start(resp)
	if err != nil {
		return err
	}
	if t.done > 0 {
		t.resumed = true
	}
	body := &pacedReader{r: resp.Body, window: t.s.client.cfg.StallTimeout, stop: cancel}
	defer body.close()
	err = t.copy(body, t.done-start)
	if cause := ended(ctx); err == nil && cause != nil && t.done < t.want.Size {
		err = cause // cut by us, however cleanly the answer then ended
	}
	if err != nil {
		return t.broken(ctx, err)
	}
	return t.verify()
}

// refused looks at a request that was to go on: a registry that can not is
// asked for the whole.
func (t *transfer) refused(err error) error {
	var f *fault
	if t.done > 0 && !t.noRange && errors.As(err, &f) && errors.Is(f, stella.ErrInvalid) {
		t.noRange = true
		f.again = true
	}
	return err
}

// start returns where in the blob the answer starts.
func (t *transfer) start(resp *http.Response) (int64, error) {
	if resp.StatusCode == http.StatusPartialContent {
		from, to, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || from != t.done || to != t.want.Size-1 || total >= 0 && total != t.want.Size {
			t.noRange = true
			return 0, &fault{class: stella.ErrInvalid, what: "the registry goes on at the wrong place", again: true}
		}
		return from, nil
	}
	return 0, sameSize(resp.ContentLength, t.want)
}

// copy skips what the file has already, and appends the rest and what may be
// beyond it, which verify sees.
func (t *transfer) copy(body io.Reader, skip int64) error {
	if _, err := io.CopyN(io.Discard, body, skip); err != nil {
		return err
	}
	_, err := io.Copy(&appender{t}, io.LimitReader(body, t.want.Size-t.done+1))
	return err
}

// appender writes to file and sum, so that both are at done whatever happens.
type appender struct{ t *transfer }

// errLocal marks a failure of this machine's disk.
var errLocal = errors.New("write blob")

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.t.file.WriteAt(p, a.t.done)
	a.t.sum.Write(p[:n])
	a.t.done += int64(n)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errLocal, err)
	}
	return n, nil
}

// broken classifies an answer that broke off.
func (t *transfer) broken(ctx context.Context, err error) error {
	cause := ended(ctx)
	switch {
	case errors.Is(err, errLocal):
		return err
	case errors.Is(cause, errStalled):
		err = cause
	case cause != nil:
		return cause
	}
	f := t.s.fault(err)
	f.what = fmt.Sprintf("broke off after %d of %d bytes: %s", t.done, t.want.Size, f.what)
	return f
}

func (t *transfer) verify() error {
	got := "sha256:" + hex.EncodeToString(t.sum.Sum(nil))
	switch {
	case t.done < t.want.Size:
		return &fault{class: stella.ErrTampered, what: fmt.Sprintf("it ended after %d of %d bytes", t.done, t.want.Size), again: true}
	case t.done > t.want.Size:
		return problem(stella.ErrTampered, "it is longer than the %d bytes that the manifest says", t.want.Size)
	case got == string(t.want.Digest):
		return nil
	case t.resumed:
		// The pieces may be of two different answers: once more, whole.
		*t = transfer{s: t.s, want: t.want, file: t.file, sum: sha256.New(), noRange: true}
		return &fault{class: stella.ErrTampered, what: "its pieces have digest " + got, again: true}
	}
	return problem(stella.ErrTampered, "its bytes have digest %s, not %s", got, t.want.Digest)
}

// nowhere takes what is read only to be verified.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// parseContentRange reads "bytes FROM-TO/TOTAL" (RFC 9110, section 14.4); a
// total of -1 means that it is not known.
func parseContentRange(s string) (from, to, total int64, err error) {
	if _, err := fmt.Sscanf(s, "bytes %d-%d/%d", &from, &to, &total); err == nil && from >= 0 && to >= from && total > to {
		return from, to, total, nil
	}
	var star byte
	if _, err := fmt.Sscanf(s, "bytes %d-%d/%c", &from, &to, &star); err == nil && star == '*' && from >= 0 && to >= from {
		return from, to, -1, nil
	}
	return 0, 0, 0, problem(stella.ErrInvalid, "the registry gives no usable Content-Range")
}

// errStalled ends a transfer that brings next to nothing.
var errStalled = errors.New("stalled")

// minBytesPerSecond is what a transfer must bring on average over a window.
const minBytesPerSecond = 1 << 10

// pacedReader ends a transfer whose sender is too slow. Only the time that it
// waits for the sender counts, not what the reader's own side takes.
type pacedReader struct {
	r      io.Reader
	window time.Duration
	stop   context.CancelCauseFunc
	timer  *time.Timer
	waited time.Duration
	got    int64
}

func (p *pacedReader) Read(b []byte) (int, error) {
	if p.timer == nil {
		p.timer = time.AfterFunc(p.window, p.expire)
	} else {
		p.timer.Reset(p.window)
	}
	began := time.Now()
	n, err := p.r.Read(b)
	p.timer.Stop()
	p.waited += time.Since(began)
	p.got += int64(n)
	if p.waited < p.window {
		return n, err
	}
	if err == nil && p.got < int64(p.window.Seconds()*minBytesPerSecond) {
		p.expire()
		return n, errStalled
	}
	p.waited, p.got = 0, 0
	return n, err
}

// expire ends the request that the reader reads from.
func (p *pacedReader) expire() {
	p.stop(fmt.Errorf("%w: less than %d bytes a second for %s", errStalled, minBytesPerSecond, p.window))
}

func (p *pacedReader) close() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
