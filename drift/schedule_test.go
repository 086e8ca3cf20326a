package drift

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", s)
	if err != nil {
		panic(err)
	}
	return t
}

func parse(t interface{ Fatal(args ...any) }, line string) Schedule {
	s, err := ParseSchedule(line)
	if err != nil {
		t.Fatal(line, err)
	}
	return s
}

func TestSchedulesThatAreRefused(t *testing.T) {
	for line, want := range map[string]string{
		"TZ=UTC":                    "names a time zone",
		"TZ=":                       "names a time zone",
		"CRON_TZ=UTC * * * * *":     "names a time zone",
		" CRON_TZ=UTC * * * * *":    "names a time zone",
		"* * * *":                   "is not a schedule",
		"* * * * * *":               "is not a schedule",
		"60 * * * *":                "is not a schedule",
		"*/0 * * * *":               "is not a schedule",
		"@sometimes":                "is not a schedule",
		"@every":                    "is not a schedule",
		"@every 9.9s":               "comes more often than every 10s",
		"@every 0s":                 "comes more often than every 10s",
		"@every -1h":                "comes more often than every 10s",
		"0 0 30 2 *":                "never comes",
		"0 0 31 2,4,6,9,11 *":       "never comes",
		"\x1b[2J":                   "is not a schedule",
		"99999999999999999 * * * *": "is not a schedule",
	} {
		if _, err := ParseSchedule(line); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

func TestNextIsInUTCAndAfterTheTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line, from string
		want       []string
	}{
		{"*/5 * * * *", "2026-11-23 19:04:59", []string{"2026-11-23 19:05:00", "2026-11-23 19:10:00"}},
		{"*/5 * * * *", "2026-11-23 19:05:00", []string{"2026-11-23 19:10:00"}},
		{"30 2 * * *", "2026-03-28 12:00:00", []string{"2026-03-29 02:30:00", "2026-03-30 02:30:00"}}, // Berlin's clocks are put forward
		{"30 2 * * *", "2026-10-24 12:00:00", []string{"2026-10-25 02:30:00", "2026-10-26 02:30:00"}}, // and back
		{"0 0 29 2 *", "2026-01-01 00:00:00", []string{"2028-02-29 00:00:00", "2032-02-29 00:00:00"}},
		{"0 9 1 * 1", "2026-11-02 09:00:00", []string{"2026-11-09 09:00:00", "2026-11-16 09:00:00", "2026-11-23 09:00:00", "2026-11-30 09:00:00", "2026-12-01 09:00:00"}}, // either day
		{"@hourly", "2026-12-31 23:30:00", []string{"2027-01-01 00:00:00"}},
		{"@every 90s", "1970-01-01 00:00:00", []string{"1970-01-01 00:01:30", "1970-01-01 00:03:00"}},
		{"@every 10s", "1969-12-31 23:59:55", []string{"1970-01-01 00:00:00"}},
		{"", "2026-11-23 19:04:59", []string{"0001-01-01 00:00:00"}},
	} {
		s := parse(t, c.line)
		for _, zone := range []*time.Location{time.UTC, berlin} {
			from := at(c.from).In(zone)
			for _, want := range c.want {
				got := s.Next(from)
				if !got.Equal(at(want)) || got.Location() != time.UTC {
					t.Errorf("%q after %s: %s, want %s", c.line, from, got, want)
				}
				from = got.In(zone)
			}
		}
	}
}

func TestDue(t *testing.T) {
	// Of a tenth of five minutes, production waits 25.0s and qa 12.1s.
	for _, c := range []struct {
		what, line, env, last, now string
		slot                       string
		missed                     int
		next                       string
	}{
		{"nothing has come", "*/5 * * * *", "production", "12:00:20", "12:04:59", "", 0, "12:05:25"},
		{"the slot has come, its turn has not", "*/5 * * * *", "production", "12:00:20", "12:05:10", "", 0, "12:05:25"},
		{"its turn", "*/5 * * * *", "production", "12:00:20", "12:05:26", "12:05:00", 0, "12:10:25"},
		{"another name, another turn", "*/5 * * * *", "qa", "12:00:20", "12:05:13", "12:05:00", 0, "12:10:12.1"},
		{"somebody looked between slot and turn", "*/5 * * * *", "production", "12:05:05", "12:05:10", "", 0, "12:10:25"},
		{"and its turn has come", "*/5 * * * *", "production", "12:05:05", "12:05:30", "", 0, "12:10:25"},
		{"late, within reason", "*/5 * * * *", "production", "12:00:20", "12:05:54", "12:05:00", 0, "12:10:25"},
		{"late", "*/5 * * * *", "production", "12:00:20", "12:05:56", "12:05:00", 1, "12:10:25"},
		{"asleep for an hour", "*/5 * * * *", "production", "12:00:20", "13:02:00", "13:00:00", 12, "13:05:25"},
		{"asleep until the turn", "*/5 * * * *", "production", "12:00:20", "13:00:26", "13:00:00", 11, "13:05:25"},
		{"asleep until before the turn", "*/5 * * * *", "production", "12:00:20", "13:00:10", "12:55:00", 11, "13:05:25"},
		{"the clock was put back", "*/5 * * * *", "production", "14:00:20", "12:04:00", "", 0, "12:05:25"},
		{"every minute, a scan of two and a half", "* * * * *", "production", "12:01:06", "12:03:36", "12:03:00", 2, "12:04:05"},
		{"not in the night", "0 9-17 * * *", "qa", "17:30:00", "23:59:00", "", 0, "+1 09:02:00.8"},
	} {
		day := "2026-11-23 "
		due := parse(t, c.line).Due(c.env, at(day+c.last), at(day+c.now))
		slot := ""
		if !due.Slot.IsZero() {
			slot = due.Slot.Format("15:04:05")
		}
		next := due.Next.Round(100 * time.Millisecond).Format("15:04:05.999")
		if due.Next.Day() != 23 {
			next = fmt.Sprintf("+%d ", due.Next.Day()-23) + next
		}
		if slot != c.slot || due.Missed != c.missed || next != c.next {
			t.Errorf("%s: slot %q, %d missed, next %s; want %q, %d, %s", c.what, slot, due.Missed, next, c.slot, c.missed, c.next)
		}
	}
}

func TestDueWithoutAScheduleIsNever(t *testing.T) {
	if due := (Schedule{}).Due("production", time.Time{}, at("2026-11-23 12:00:00")); due != (Due{}) {
		t.Errorf("%+v", due)
	}
}

func TestYearsOfSleepAreCountedToABound(t *testing.T) {
	now := at("2026-11-23 12:00:30")
	for _, line := range []string{"* * * * *", "@every 10s", "* * * 1 *"} {
		due := parse(t, line).Due("production", now.AddDate(-30, 0, 0), now)
		if due.Missed != maxMissed || due.Slot.IsZero() || due.Slot.After(now) {
			t.Errorf("%s: %+v", line, due)
		}
	}
	// No slot within the years that are looked at: once in seven, and never soon.
	due := parse(t, "0 0 29 2 *").Due("production", at("2096-03-01 00:00:00"), at("2096-03-02 00:00:00"))
	if !due.Slot.IsZero() || !due.Next.IsZero() {
		t.Errorf("2096 to 2104: %+v", due)
	}
}

func lines() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{
		"* * * * *", "*/5 * * * *", "*/7 3-9 * * *", "0 3 * * *", "@hourly", "@daily", "30 2 * * 1-5", "0 0 1 * *", "59 23 31 12 *",
		"0 12 29 2 *", "15,45 * 1-7 * 0", "@every 10s", "@every 90s", "@every 25h",
	})
}

func times() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "unix"), rapid.Int64Range(0, 999_999_999).Draw(t, "nano")).UTC()
	})
}

// TestAScheduleIsKept lets a process wake at any times, be away for any, scan
// whenever it is due, and for other reasons too.
func TestAScheduleIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := lines().Draw(t, "line")
		s := parse(t, line)
		name := rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name")
		now := times().Draw(t, "start")
		last, first := now, now
		served := map[time.Time]bool{}
		missed, scans := 0, 0
		for range rapid.IntRange(1, 60).Draw(t, "wakes") {
			due := s.Due(name, last, now)
			if due != s.Due(name, last, now) {
				t.Fatalf("at %s: another answer the second time", now)
			}
			if !due.Next.IsZero() && !due.Next.After(now) {
				t.Fatalf("at %s the next is %s", now, due.Next)
			}
			if !due.Slot.IsZero() {
				if served[due.Slot] || due.Slot.After(now) || !due.Slot.After(last) {
					t.Fatalf("at %s, last %s: slot %s (served before: %v)", now, last, due.Slot, served[due.Slot])
				}
				if s.begin(name, due.Slot).After(now) {
					t.Fatalf("at %s: slot %s is before its turn at %s", now, due.Slot, s.begin(name, due.Slot))
				}
				served[due.Slot], last = true, now
				missed += due.Missed
				scans++
				if after := s.Due(name, last, now); !after.Slot.IsZero() || !after.Next.Equal(due.Next) {
					t.Fatalf("at %s, after its scan: %+v, before %+v", now, after, due)
				}
			} else if rapid.IntRange(0, 9).Draw(t, "event") == 0 {
				last = now
			}
			switch wake := s.Due(name, last, now).Next; {
			case rapid.Bool().Draw(t, "in time") && !wake.IsZero():
				now = wake
			default:
				now = now.Add(time.Duration(rapid.Int64Range(1, int64(40*time.Hour)).Draw(t, "asleep")))
			}
		}
		slots := 0
		for slot := s.Next(first); !slot.After(now) && slots < maxMissed && !slot.IsZero(); slot = s.Next(slot) {
			slots++
		}
		if slots < maxMissed && scans+missed > 2*slots {
			t.Fatalf("%d slots, %d scans and %d missed", slots, scans, missed)
		}
	})
}

// TestWhoSleepsUntilNextMissesNothing: every slot has its scan, in its time.
func TestWhoSleepsUntilNextMissesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := parse(t, lines().Draw(t, "line"))
		name := rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name")
		now := times().Draw(t, "start")
		last, slot := now, s.Next(now)
		for range 30 {
			next := s.Due(name, last, now).Next
			if next.IsZero() {
				return // five years from now
			}
			now = next
			due := s.Due(name, last, now)
			if !due.Slot.Equal(slot) || due.Missed != 0 {
				t.Fatalf("at %s: %+v, want the slot %s and nothing missed", now, due, slot)
			}
			if late := now.Sub(slot); late < 0 || late > maxSpread || late > s.gap(slot)/10 {
				t.Fatalf("slot %s is served at %s", slot, now)
			}
			last, slot = now, s.Next(slot)
		}
	})
}

func TestNewestIsTheOneBeforeNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := parse(t, lines().Draw(t, "line"))
		now := times().Draw(t, "now")
		newest := s.newest(now)
		if newest.IsZero() {
			return
		}
		if newest.After(now) || !s.Next(newest).After(now) && !s.Next(newest).IsZero() {
			t.Fatalf("newest of %s is %s, then comes %s", now, newest, s.Next(newest))
		}
		if before := s.Next(newest.Add(-time.Second)); !before.Equal(newest) {
			t.Fatalf("newest of %s is %s, which is no slot: %s", now, newest, before)
		}
	})
}

func TestEnvironmentsAreSpreadEvenly(t *testing.T) {
	s, slot := parse(t, "@hourly"), at("2026-11-23 12:00:00")
	var late []time.Duration
	for i := range 1000 {
		late = append(late, s.begin(fmt.Sprintf("env-%d", i), slot).Sub(slot))
	}
	slices.Sort(late)
	for i, part := range []int{100, 500, 900} {
		want := maxSpread * time.Duration(part) / 1000
		if got := late[part]; got < want-want/5-10*time.Second || got > want+want/5+10*time.Second {
			t.Errorf("%d: %d of 1000 begin within %s, want about %s", i, part, got, want)
		}
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, line := range []string{"* * * * *", "@every 5m", "TZ=UTC", "0 0 30 2 *", "@yearly", "1-5/2 */3 L * MON-FRI", "@every 99999999h", "* * * * 7"} {
		f.Add(line)
	}
	now := at("2026-11-23 12:00:30")
	f.Fuzz(func(t *testing.T, line string) {
		if len(line) > 100 {
			return // what environment.yaml may have
		}
		s, err := ParseSchedule(line)
		if err != nil || s.IsZero() {
			return
		}
		due := s.Due("production", now.AddDate(0, 0, -1), now)
		if due.Slot.After(now) || !due.Next.IsZero() && !due.Next.After(now) {
			t.Errorf("%q: %+v", line, due)
		}
	})
}
