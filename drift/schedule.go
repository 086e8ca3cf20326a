package drift

import (
	"errors"
	"hash/fnv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is when an environment is to be scanned: the times of a cron line,
// its slots, all in UTC. The zero value has none.
type Schedule struct {
	spec  cron.Schedule // nil for @every and for no schedule
	every time.Duration // of @every; its slots are the multiples of it since 1970
}

// minEvery is the shortest interval of "@every".
const minEvery = 10 * time.Second

// ParseSchedule reads five cron fields, a word such as @hourly, or @every with a
// duration of at least ten seconds. An empty line is no schedule. The error says
// what is wrong with the line, to stand after its name.
//
// A time zone is refused before the parser sees it: it panics on some, and
// schedules are in UTC, so that no hour comes twice and none is left out.
func ParseSchedule(line string) (Schedule, error) {
	if line == "" {
		return Schedule{}, nil
	}
	if strings.Contains(line, "TZ=") {
		return Schedule{}, errors.New("names a time zone")
	}
	spec, err := cron.ParseStandard(line)
	if err != nil {
		return Schedule{}, errors.New("is not a schedule")
	}
	if every, is := spec.(cron.ConstantDelaySchedule); is {
		if every.Delay < minEvery {
			return Schedule{}, errors.New("comes more often than every 10s")
		}
		return Schedule{every: every.Delay}, nil
	}
	s := Schedule{spec: spec}
	if s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errors.New("never comes")
	}
	return s, nil
}

// IsZero reports whether there is no schedule.
func (s Schedule) IsZero() bool { return s.spec == nil && s.every == 0 }

// Next is the first slot after t, zero where there is none within five years.
func (s Schedule) Next(t time.Time) time.Time {
	t = t.Round(0).UTC() // by the wall: a machine that slept has another reading
	switch {
	case s.every > 0:
		d := int64(s.every / time.Second)
		return time.Unix((floorDiv(t.Unix(), d)+1)*d, 0).UTC()
	case s.spec != nil:
		return s.spec.Next(t)
	}
	return time.Time{}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Due is what a schedule asks for at a moment.
type Due struct {
	// Slot is the newest slot that has come since the last scan; zero where none
	// has. One scan serves it and all before it.
	Slot time.Time
	// Missed is how many slots passed since the last scan without one in their
	// time, at most 1,000. Slot is among them where it is late itself.
	Missed int
	// Next is when the next scan after that of Slot is to begin; zero for never.
	Next time.Time
}

const maxMissed = 1000

// Due says whether the environment of that name is to be scanned now, when the
// last scan began at last. Each slot is served once: by the first scan that
// begins at or after it, whatever that one was for. A last that is after now,
// by a clock that was put back, counts as now.
func (s Schedule) Due(name string, last, now time.Time) Due {
	if s.IsZero() {
		return Due{}
	}
	last, now = last.Round(0), now.Round(0)
	if last.After(now) {
		last = now
	}
	turn, next := s.around(name, now)
	due := s.missed(name, last, turn, now)
	if !due.Slot.IsZero() {
		last = now // the scan that this leads to
	}
	if !next.IsZero() && !next.After(last) {
		next = s.Next(next) // there is a look between the slot and its turn
	}
	due.Next = s.begin(name, next)
	return due
}

// around is the newest slot whose turn has come at a moment, and the one after
// it.
func (s Schedule) around(name string, now time.Time) (turn, next time.Time) {
	newest := s.newest(now)
	if newest.IsZero() {
		return newest, s.Next(now)
	}
	if s.begin(name, newest).After(now) {
		return s.newest(newest.Add(-1)), newest
	}
	return newest, s.Next(newest)
}

// missed is what was to be done after last, up to the slot whose turn it is.
func (s Schedule) missed(name string, last, turn, now time.Time) Due {
	if turn.IsZero() || !turn.After(last) {
		return Due{}
	}
	due := Due{Slot: turn}
	if now.Sub(s.begin(name, turn)) > s.tolerance(turn) {
		due.Missed++
	}
	for t := s.Next(last); t.Before(turn) && due.Missed < maxMissed; t = s.Next(t) {
		due.Missed++
	}
	return due
}

// newest is the last slot at or before t, zero where there was none within some
// years. It looks back twice as far each time, so that what it then walks
// through is at most what lies in one such step.
func (s Schedule) newest(t time.Time) time.Time {
	if s.every > 0 {
		return s.Next(t).Add(-s.every)
	}
	for back := time.Minute; back < 6*365*24*time.Hour; back *= 2 {
		found := s.Next(t.Add(-back))
		if found.IsZero() || found.After(t) {
			continue
		}
		for next := s.Next(found); !next.IsZero() && !next.After(t); next = s.Next(next) {
			found = next
		}
		return found
	}
	return time.Time{}
}

// begin is when the environment's scan of a slot begins: never before the slot,
// and later by what its name makes of it, the same each time, so that not all
// environments are scanned at one moment. There is none of a slot that never
// comes.
func (s Schedule) begin(name string, slot time.Time) time.Time {
	if slot.IsZero() {
		return slot
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name)) // a hash never fails
	h := sum.Sum64()
	h ^= h >> 33 // names differ in their last letters, and the high bits must too
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	part := float64(h>>11) / (1 << 53)
	return slot.Add(time.Duration(part * float64(s.spread(slot))).Truncate(time.Millisecond))
}

// The bounds of how far environments are spread, and of how late a scan may be.
const (
	maxSpread    = 5 * time.Minute
	minTolerance = 30 * time.Second
)

// spread is how much later than its slot a scan may begin by its name: a tenth
// of the time to the next slot, at most five minutes.
func (s Schedule) spread(slot time.Time) time.Duration { return min(s.gap(slot)/10, maxSpread) }

// tolerance is how late a scan may begin and still count as in its time.
func (s Schedule) tolerance(slot time.Time) time.Duration {
	gap := s.gap(slot)
	return min(max(s.spread(slot), minTolerance), gap/2)
}

func (s Schedule) gap(slot time.Time) time.Duration {
	next := s.Next(slot)
	if next.IsZero() {
		return 365 * 24 * time.Hour
	}
	return next.Sub(slot)
}
