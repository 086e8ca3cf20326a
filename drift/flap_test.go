package drift_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// round is a finding that began and ended at so many seconds; a negative end is
// none.
func round(from, to int, how stella.DriftEnd) stella.DriftFinding {
	f := stella.DriftFinding{Target: "a", Resource: "service/api", FirstSeen: tick(0).Add(time.Duration(from) * time.Second)}
	f.LastSeen = f.FirstSeen
	if to >= 0 {
		at := tick(0).Add(time.Duration(to) * time.Second)
		f.EndedAt, f.Ended = &at, how
	}
	return f
}

// rounds are n findings that are healed at once and begin again every so many
// seconds.
func rounds(n, every int) []stella.DriftFinding {
	var out []stella.DriftFinding
	for i := range n {
		out = append(out, round(i*every, i*every+1, stella.EndHealed))
	}
	return out
}

func TestWhatFlaps(t *testing.T) {
	with := func(list []stella.DriftFinding, more ...stella.DriftFinding) []stella.DriftFinding {
		return append(list, more...)
	}
	at := func(seconds int) time.Time { return tick(0).Add(time.Duration(seconds) * time.Second) }
	other := func(list []stella.DriftFinding, resource stella.ResourceID) []stella.DriftFinding {
		out := slices.Clone(list)
		for i := range out {
			if i%2 == 1 {
				out[i].Resource = resource
			}
		}
		return out
	}
	for _, c := range []struct {
		name    string
		history []stella.DriftFinding
		acted   time.Time
		now     time.Time
		want    int // how often it was changed back; 0 where it does not flap
	}{
		{"nothing", nil, time.Time{}, at(0), 0},
		{"changed back four times", with(rounds(4, 60), round(240, -1, "")), time.Time{}, at(241), 0},
		{"changed back five times in five minutes", with(rounds(5, 60), round(300, -1, "")), time.Time{}, at(301), 5},
		{"five times, slower", with(rounds(5, 76), round(380, -1, "")), time.Time{}, at(381), 0},
		{"at the last moment", with(rounds(5, 75), round(375, -1, "")), time.Time{}, at(376), 5},
		{"healed within the moment", with([]stella.DriftFinding{round(0, 0, stella.EndHealed), round(60, 60, stella.EndHealed), round(120, 120, stella.EndHealed), round(180, 180, stella.EndHealed), round(240, 240, stella.EndHealed)}, round(300, -1, "")), time.Time{}, at(301), 5},
		{"nobody healed it", []stella.DriftFinding{round(0, 1, stella.EndWentAway), round(2, 3, stella.EndWentAway), round(4, 5, stella.EndWentAway), round(6, 7, stella.EndWentAway), round(8, 9, stella.EndWentAway), round(10, -1, "")}, time.Time{}, at(11), 0},
		{"many parts, changed once", with(rounds(1, 1), round(5, -1, ""), round(6, -1, ""), round(7, -1, ""), round(8, -1, ""), round(9, -1, "")), time.Time{}, at(11), 0},
		{"two resources in turn", other(with(rounds(7, 30), round(210, -1, "")), "service/b"), time.Time{}, at(211), 0},
		{"a person acted after it", with(rounds(5, 60), round(300, -1, "")), at(300), at(301), 0},
		{"a person acted before it", with(rounds(6, 60), round(360, -1, "")), at(1), at(361), 5},
		{"a person ignored a part of it", with(rounds(5, 60), round(300, 310, stella.EndIgnored)), time.Time{}, at(320), 0},
		{"nearly an hour later", with(rounds(5, 60), round(300, -1, "")), time.Time{}, at(300 + 3599), 5},
		{"an hour later", with(rounds(5, 60), round(300, -1, "")), time.Time{}, at(300 + 3600), 0},
		{"once more after the hour", with(rounds(5, 60), round(300, 3901, stella.EndHealed), round(3910, -1, "")), time.Time{}, at(3911), 0},
		{"it stirs within the hour", with(rounds(5, 60), round(300, 3000, stella.EndWentAway), round(3500, -1, "")), time.Time{}, at(7000), 5},
	} {
		got := drift.Flaps(c.history, c.acted, c.now)
		times := 0
		if len(got) == 1 {
			times = got[0].Times
		}
		if times != c.want || len(got) > 1 {
			t.Errorf("%s: %+v, want %d", c.name, got, c.want)
		}
		if times > 0 && (!got[0].Until.After(c.now) || got[0].Since.After(c.now)) {
			t.Errorf("%s: since %v, until %v", c.name, got[0].Since, got[0].Until)
		}
	}
}

func TestWhenToHealNext(t *testing.T) {
	ok := func(minute int) drift.Heal { return drift.Heal{Began: tick(minute), Ended: tick(minute), OK: true} }
	failed := func(minute int) drift.Heal { return drift.Heal{Began: tick(minute), Ended: tick(minute)} }
	many := func(n int, one func(int) drift.Heal) (out []drift.Heal) {
		for range n {
			out = append(out, one(0))
		}
		return out
	}
	for _, c := range []struct {
		name  string
		heals []drift.Heal
		now   int
		want  int // minutes; now for at once
		why   string
	}{
		{"the first", nil, 0, 0, ""},
		{"one after the other", many(9, ok), 0, 0, ""},
		{"more than the burst", many(10, ok), 0, 6, "10 heals"},
		{"as soon as there is room", many(10, ok), 6, 6, ""},
		{"one worked again", append(many(3, failed), ok(1)), 1, 1, ""},
		{"one failed", []drift.Heal{ok(0), failed(1)}, 1, 2, "the last heal did not work"},
		{"three failed", append(many(2, failed), failed(1)), 1, 5, "the last 3 heals did not work"},
		{"many failed", append(many(9, failed), failed(1)), 1, 61, "the last 10 heals"},
		{"and that is over", append(many(8, failed), failed(1)), 61, 61, ""},
	} {
		next, why := drift.NextHeal(c.heals, tick(c.now))
		if !next.Equal(tick(c.want)) || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: in %v, %q, want minute %d and %q", c.name, next.Sub(tick(0)), why, c.want, c.why)
		}
	}
}

// TestHealsStayWithinTheirLimits heals whenever it may: in any stretch of time
// there are no more than the burst and what came in while it lasted.
func TestHealsStayWithinTheirLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var heals []drift.Heal
		now := tick(0)
		for range 60 {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			next, why := drift.NextHeal(heals, now)
			if (why == "") != !next.After(now) {
				t.Fatalf("next at %v, now is %v: %q", next, now, why)
			}
			if why == "" {
				heals = append(heals, drift.Heal{Began: now, Ended: now, OK: rapid.IntRange(0, 4).Draw(t, "fails") > 0})
			}
		}
		for i, from := range heals {
			for j, to := range heals[i:] {
				if most := drift.HealBurst + int(to.Began.Sub(from.Began)/drift.HealEvery); j+1 > most {
					t.Fatalf("%d heals in %v", j+1, to.Began.Sub(from.Began))
				}
			}
		}
	})
}

func TestAClockThatWasAheadDoesNotStopHealing(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	ahead := now.Add(365 * 24 * time.Hour)
	if next, why := drift.NextHeal([]drift.Heal{{Began: ahead, Ended: ahead, OK: true}}, now); why != "" {
		t.Errorf("one heal is too many until %s: %s", next, why)
	}
	if next, why := drift.NextHeal([]drift.Heal{{Began: ahead, Ended: ahead}}, now); why != "" {
		t.Errorf("the next heal is at %s: %s", next, why)
	}
}
