package term

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/stella-ops/stella/internal/safe"
)

// Status is a running account of long work. On a terminal the last line is live
// and shows what is being done and for how long; everywhere else only whole
// lines are written. Its methods may be called from any goroutine.
//
// Nothing is done about a failed write: whoever follows the work may leave, and
// the work goes on.
type Status struct {
	screen Screen
	now    func() time.Time

	mu    sync.Mutex // guards everything below and the order of writes
	doing string     // what the live line says; empty: there is none
	since time.Time
	drawn bool // the live line is on the screen
}

// redraw is how often the live line's seconds are brought up to date.
const redraw = time.Second

// NewStatus returns a Status on screen. The live line is kept up to date until
// ctx ends; call Close before anything else writes to the screen.
func NewStatus(ctx context.Context, screen Screen, now func() time.Time) *Status {
	s := &Status{screen: screen, now: now}
	if screen.Terminal {
		go s.tick(ctx)
	}
	return s
}

func (s *Status) tick(ctx context.Context) {
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.mu.Lock()
			s.draw()
			s.mu.Unlock()
		}
	}
}

// Doing puts text on the live line; empty text takes the line away. Off a
// terminal it writes nothing.
func (s *Status) Doing(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.doing, s.since = safe.Line(text), s.now()
	s.draw()
}

// Line writes one whole line, above the live line where there is one.
func (s *Status) Line(style Style, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	_, _ = io.WriteString(s.screen.W, s.screen.Paint(style, safe.Line(text))+"\n")
	s.draw()
}

// Close takes the live line away. The Status can be used again.
func (s *Status) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.doing = ""
}

func (s *Status) draw() {
	if !s.screen.Terminal || s.doing == "" {
		return
	}
	text := s.doing
	if took := s.now().Sub(s.since).Truncate(time.Second); took > 0 {
		text = fmt.Sprintf("%s (%s)", text, took)
	}
	if s.screen.Width > 1 {
		text = safe.Clip(text, s.screen.Width-2)
	}
	s.erase()
	_, _ = io.WriteString(s.screen.W, s.screen.Paint(Dim, text))
	s.drawn = true
}

// erase clears the line that the cursor is on: carriage return, then "erase in
// line" of ECMA-48.
func (s *Status) erase() {
	if s.drawn {
		_, _ = io.WriteString(s.screen.W, "\r\x1b[2K")
		s.drawn = false
	}
}
