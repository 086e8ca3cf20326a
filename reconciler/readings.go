package reconciler

import (
	"sync"
	"time"

	"github.com/stella-ops/stella"
)

// readings remembers what the last trees want of an environment. A tree never
// changes, so that the same tree wants the same: a command that plans, shows and
// then plans again for the newest head renders twice only if that head is
// another one. What is remembered is shared and is never changed.
type readings struct {
	mu     sync.Mutex // guards newest
	newest []reading  // at most keptReadings, the newest first
}

// keptReadings is enough for the head and what is planned on top of it, for a
// few environments at once.
const keptReadings = 8

// readingKey names what a source was read from.
type readingKey struct {
	tree string // id of all that the commit has
	env  stella.EnvName
}

type reading struct {
	key    readingKey
	source source
}

// of returns what was read of the same tree, as of another head; nil for
// nothing. An override that ended meanwhile makes it another one.
func (r *readings) of(key readingKey, h *head, now time.Time) *source {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.newest {
		if one.key == key && (one.source.ends.IsZero() || now.Before(one.source.ends)) {
			s := one.source
			s.head = h
			return &s
		}
	}
	return nil
}

// remember keeps a source that is valid, without the head that it was read at:
// trees are kept open by nobody.
func (r *readings) remember(key readingKey, s *source) {
	kept := *s
	kept.head = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest = append([]reading{{key, kept}}, r.newest[:min(len(r.newest), keptReadings-1)]...)
}
