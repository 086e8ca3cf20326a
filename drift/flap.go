package drift

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
)

// A resource flaps once it was changed back FlapTimes within FlapWithin: somebody
// else writes it, and healing it again would only go on with the quarrel. It is
// left alone until it was quiet for FlapQuiet.
const (
	FlapTimes  = 5
	FlapWithin = 5 * time.Minute
	FlapQuiet  = time.Hour
)

// Flap is a resource that somebody changes back as often as it is healed.
type Flap struct {
	Target   string
	Resource stella.ResourceID
	Times    int       // how often it was changed back since the last quiet
	Since    time.Time // of the first of them
	Until    time.Time // it is left alone till then, if it stays quiet
}

// Place is a resource on a target.
type Place struct {
	Target   string
	Resource stella.ResourceID
}

// At reports whether a finding is about the resource.
func (f Flap) At(o stella.DriftFinding) bool { return f.Target == o.Target && f.Resource == o.Resource }

// stir is one thing that happened to a resource.
type stir struct {
	at   time.Time
	kind int
}

// The kinds of stirs, in the order in which those of the same moment happened.
const (
	stirHealed       = iota // a heal brought it back
	stirChanged             // it began to differ
	stirHealedAtOnce        // a heal brought back what began to differ at this very moment
	stirDecided             // a person ignored or adopted what differed
)

// Flaps returns the resources that flap now, by what the findings, open and
// ended, tell. Acted is when a person last deployed or healed: what was before
// counts no more. It is zero for never.
func Flaps(history []stella.DriftFinding, acted, now time.Time) []Flap {
	acted = earliest(acted, now) // by a clock that was ahead
	stirs := map[Place][]stir{}
	for _, f := range history {
		at := Place{f.Target, f.Resource}
		stirs[at] = append(stirs[at], stir{f.FirstSeen, stirChanged})
		switch f.Ended {
		case stella.EndHealed:
			kind := stirHealed
			if !f.EndedAt.After(f.FirstSeen) {
				kind = stirHealedAtOnce
			}
			stirs[at] = append(stirs[at], stir{*f.EndedAt, kind})
		case stella.EndIgnored, stella.EndAdopted:
			stirs[at] = append(stirs[at], stir{*f.EndedAt, stirDecided})
		}
	}
	var flaps []Flap
	for at, list := range stirs {
		if f, ok := flapping(list, acted, now); ok {
			f.Target, f.Resource = at.Target, at.Resource
			flaps = append(flaps, f)
		}
	}
	slices.SortFunc(flaps, func(a, b Flap) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Resource, b.Resource))
	})
	return flaps
}

// flapping follows one resource through what happened to it.
func flapping(list []stir, acted, now time.Time) (Flap, bool) {
	slices.SortFunc(list, func(a, b stir) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.kind, b.kind)) })
	var back []time.Time // when it was changed back
	flaps, healed := false, false
	var last time.Time
	for _, s := range list {
		if !s.at.After(acted) {
			continue
		}
		if s.at.Sub(last) >= FlapQuiet {
			back, flaps, healed = nil, false, false
		}
		last = s.at
		switch s.kind {
		case stirDecided:
			back, flaps, healed = nil, false, false
		case stirHealed, stirHealedAtOnce:
			healed = true
		case stirChanged:
			if !healed {
				continue // a part of what was changed already
			}
			healed = false
			back = append(back, s.at)
			n := len(back)
			flaps = flaps || n >= FlapTimes && s.at.Sub(back[n-FlapTimes]) <= FlapWithin
		}
	}
	if !flaps || now.Sub(last) >= FlapQuiet {
		return Flap{}, false
	}
	return Flap{Times: len(back), Since: back[0], Until: last.Add(FlapQuiet)}, true
}

// The limits of healing without anybody asking: HealBurst heals at once, and one
// more every HealEvery. After one that did not work the next is tried
// HealBackoff later, twice as long after each further one, at most MaxHealBackoff.
const (
	HealBurst      = 10
	HealEvery      = 6 * time.Minute
	HealBackoff    = time.Minute
	MaxHealBackoff = time.Hour
)

// Heal is one heal that nobody asked for.
type Heal struct {
	Began time.Time
	Ended time.Time
	OK    bool
}

// NextHeal returns when the limits allow the next heal, and why not before then.
// A time that is not after now, which comes without words, means now. The heals
// are in the order in which they began. One that a clock which was ahead recorded
// counts as of now, and its end as long ago.
func NextHeal(heals []Heal, now time.Time) (next time.Time, why string) {
	heals = slices.Clone(heals)
	for i, h := range heals {
		if heals[i].Began = earliest(h.Began, now); h.Ended.After(now) {
			heals[i].Ended = time.Time{} // nobody knows when: it is waited for by nobody
		}
	}
	failed := 0
	for _, h := range slices.Backward(heals) {
		if h.OK {
			break
		}
		failed++
	}
	if failed > 0 {
		wait := MaxHealBackoff
		if failed <= 6 { // 2^6 minutes are more than that
			wait = min(wait, HealBackoff<<(failed-1))
		}
		if next = heals[len(heals)-1].Ended.Add(wait); next.After(now) {
			return next, fmt.Sprintf("the last %s did not work", count(failed, "heal"))
		}
	}
	if next = refilled(heals); next.After(now) {
		return next, fmt.Sprintf("%d heals were begun in a short time: more than one in %s is too many", HealBurst, HealEvery)
	}
	return now, ""
}

func count(n int, what string) string {
	if n == 1 {
		return what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// refilled is when the bucket that each heal takes one of has one again; zero
// where nothing was ever taken.
func refilled(heals []Heal) time.Time {
	// Full is when the bucket is full again: each heal puts it off by one refill.
	var full time.Time
	for _, h := range heals {
		full = latest(full, h.Began).Add(HealEvery)
	}
	if full.IsZero() {
		return full
	}
	return full.Add(-(HealBurst - 1) * HealEvery)
}
