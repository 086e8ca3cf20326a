package ledger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// everyEvent has one event of each type, with every field set.
func everyEvent() []ledger.Event {
	at := noon().Add(123456789 * time.Nanosecond)
	m := ledger.Meta{At: at, By: "Ana <ana@example.com>", Version: "3.1.0", Rules: 1, Nonce: "n"}
	m2 := m
	m2.Rules = 2
	d := stella.Deployment{
		SchemaVersion: 1, ID: "production-1", Environment: env, Sequence: 1, Kind: stella.KindRollback, Status: stella.Failed,
		Commit: "c", Tree: "t", Shared: map[string]string{"shared/base": "s"}, Release: "2.4.0\u009b2J\u202e\U000e0041",
		Components: map[string]string{"api": "r/a:1@sha256:0"}, Restores: "production-0", Reverts: []string{"r"}, Supersedes: "s",
		Automatic: true, Actor: "a", Reason: "5xx <b>&", Incident: "i", StartedAt: at, FinishedAt: &at, DurationSeconds: 1.5, Fence: 7,
		Forced: []string{"hold"}, Desired: "sha256:1", Error: "e\x7f",
		Targets: []stella.TargetResult{{
			Name: "web", Status: stella.TargetFailed, Before: map[string]string{"api": "1"}, After: map[string]string{"api": "2"}, Error: "x",
		}},
		Steps: []stella.Step{{Name: "apply", Target: "web", Status: stella.StepFailed, StartedAt: at, DurationSeconds: 0.25, Error: "y", Detail: map[string]any{
			"n": 3.0, "s": "x", "l": []any{true, nil, map[string]any{"k": "v"}},
		}}},
	}
	l := stella.Lock{ID: "l", Holder: "h", Purpose: "p", Deployment: "production-1", Machine: "m", AcquiredAt: at, RenewedAt: at, ExpiresAt: at, Fence: 7, ByHand: true}
	h := stella.Hold{ID: "h", Environment: env, Release: "r", Tree: "t", Resources: []string{"web/service/api"}, Deployment: "d", Since: at, By: "b", Reason: "r"}
	return []ledger.Event{
		ledger.Begin{Meta: m, Deployment: d, Lock: l, Takeover: "t", FenceFloor: 6, Includes: []string{"production-0"}},
		ledger.Request{Meta: m, Deployment: d},
		ledger.Progress{Meta: m, ID: d.ID, LockID: "l", Commit: "c", Tree: "t", Steps: d.Steps, Targets: d.Targets, ExpiresAt: at},
		ledger.Finish{Meta: m, Deployment: d, LockID: "l", Hold: &h, KeepLock: true, Current: true},
		ledger.Abort{Meta: m, ID: d.ID, LockID: "l", Reason: "r", Targets: d.Targets},
		ledger.Lock{Meta: m, Lock: l, Takeover: "t", FenceFloor: 5},
		ledger.Unlock{Meta: m, LockID: "l", Reason: "r", Force: true},
		ledger.Lift{Meta: m, HoldID: "h", Reason: "r"},
		ledger.Note{
			Meta: m, Machines: map[string]string{"web": "m"}, Forget: []string{"old"},
			Summary: ledger.Summary{Sync: stella.Held, Health: stella.Degraded, Reason: "r", Commit: "c", Drifted: 2, DriftSince: &at, Ready: true, Blockers: []string{"b"}, ReadyTo: "d", ReadyAt: &at, At: at},
		},
		ledger.PinTo{Meta: m, Pin: ledger.Pin{Ref: "r", Commit: "c", Tree: "t", Deployment: "d", PullRequest: "u", Since: at, By: "b", Reason: "r"}, Hold: &h},
		ledger.Unpin{Meta: m, Reason: "r"},
		ledger.Note{Meta: m2, Machines: map[string]string{}, Forget: []string{}, Summary: ledger.Summary{Blockers: []string{}}, Stopped: &ledger.Stopped{How: "stopped", By: "b", At: at, Reason: "r"}},
		ledger.Found{
			Meta: m2, Sequence: 3, Opened: []stella.DriftFinding{finding("web", "service/api", "/command", at)},
			Ended: []stella.DriftFinding{ended(finding("web", "service/api\u202e", "", at), stella.EndHealed, at)}, Seen: []string{"web"}, SeenAt: at, Uncounted: 2,
		},
	}
}

// finding is one that is open since a time.
func finding(target string, id stella.ResourceID, path string, at time.Time) stella.DriftFinding {
	return stella.DriftFinding{Target: target, Resource: id, Path: path, Class: stella.Modified, Severity: stella.SeverityWarning, FirstSeen: at, LastSeen: at}
}

func ended(f stella.DriftFinding, how stella.DriftEnd, at time.Time) stella.DriftFinding {
	f.Ended, f.EndedAt, f.LastSeen = how, &at, f.FirstSeen
	return f
}

func TestEventsReadAsTheyWereWritten(t *testing.T) {
	events := everyEvent()
	data, err := ledger.EncodeEvents(ledger.NewBook(env), events)
	if err != nil {
		t.Fatal(err)
	}
	got, transitions, err := ledger.DecodeEvents(env, data)
	if err != nil || transitions != 0 {
		t.Fatalf("%d transitions, %v", transitions, err)
	}
	if diff := cmp.Diff(events, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, r := range string(data) {
		if r == 0x9b || r == 0x202e || r == 0xe0041 || r == 0x7f {
			t.Errorf("a terminal would obey %q in what is stored", r)
		}
	}
	if !bytes.Contains(data, []byte(`"type": "begin"`)) || !bytes.Contains(data, []byte(`5xx <b>&`)) {
		t.Errorf("events.json is not for people:\n%s", data)
	}
}

func TestNilAndEmptyListsStayApartWhereTheyMeanSomething(t *testing.T) {
	for _, e := range []ledger.Event{
		ledger.Progress{Steps: nil, Targets: []stella.TargetResult{}}, ledger.Progress{Steps: []stella.Step{}}, ledger.Abort{}, ledger.Finish{},
	} {
		data, err := ledger.EncodeEvents(ledger.NewBook(env), []ledger.Event{e})
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := ledger.DecodeEvents(env, data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ledger.EncodeEvents(ledger.NewBook(env), got)
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("%T: reads as something else, %v:\n%s\n%s", e, err, data, again)
		}
	}
}

func stateJSON(t testing.TB, change func(m map[string]any)) []byte {
	t.Helper()
	data, err := ledger.EncodeState(ledger.NewBook(env).State)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if data, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestHostileStatesAreRefused(t *testing.T) {
	set := func(k string, v any) []byte { return stateJSON(t, func(m map[string]any) { m[k] = v }) }
	lock := func(k string, v any) []byte {
		l := map[string]any{"id": "l", "fence": 1}
		l[k] = v
		return stateJSON(t, func(m map[string]any) { m["fence"], m["lock"] = 1, l })
	}
	whole := string(set("fence", 0))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"as it is":              {[]byte(whole), "ok"},
		"nothing":               {nil, "invalid"},
		"null":                  {[]byte("null"), "invalid"},
		"a list":                {[]byte("[]"), "invalid"},
		"garbage":               {[]byte("\x00\xff\x1b[2J"), "invalid"},
		"half":                  {[]byte(whole[:len(whole)/2]), "invalid"},
		"two values":            {[]byte(whole + whole), "invalid"},
		"a key twice":           {[]byte(strings.Replace(whole, `"fence":0`, `"fence":0,"fence":9`, 1)), "invalid"},
		"a key twice, escaped":  {[]byte(strings.Replace(whole, `"fence":0`, `"fence":0,"\u0066ence":9`, 1)), "invalid"},
		"an unknown field":      {set("surprise", 1), "invalid"},
		"a text for a number":   {set("fence", "7"), "invalid"},
		"a fraction":            {set("fence", 1.5), "invalid"},
		"another environment":   {set("environment", "staging"), "tampered"},
		"no environment":        {set("environment", ""), "tampered"},
		"a negative fence":      {set("fence", -1), "tampered"},
		"a fence of 2^62":       {set("fence", int64(1)<<62), "tampered"},
		"a negative sequence":   {set("sequence", -1), "tampered"},
		"schema 0":              {set("schemaVersion", 0), "invalid"},
		"schema 2":              {set("schemaVersion", 2), "unsupported"},
		"a lock without an id":  {lock("id", ""), "tampered"},
		"a lock above the rest": {lock("fence", 2), "tampered"},
		"a lock without fence":  {lock("fence", 0), "tampered"},
		"invalid UTF-8":         {[]byte(strings.Replace(whole, `"current":""`, "\"current\":\"\xff\"", 1)), "invalid"},
		"nested a lot":          {[]byte(`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`), "invalid"},
		"too long":              {append([]byte(whole), bytes.Repeat([]byte(" "), ledger.MaxStateBytes)...), "invalid"},
		"newer rules":           {stateJSON(t, func(m map[string]any) { m["rules"], m["surprise"] = ledger.RulesVersion+1, 1 }), "ok"},
	} {
		_, err := ledger.DecodeState(env, c.data)
		if got := className(err); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestHostileRecordsAreRefused(t *testing.T) {
	encode := func(change func(*stella.Deployment)) []byte {
		d := stella.Deployment{SchemaVersion: 1, ID: "production-7", Environment: env, Sequence: 7}
		change(&d)
		data, err := ledger.EncodeDeployment(d)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"as it is":            {encode(func(*stella.Deployment) {}), "ok"},
		"another environment": {encode(func(d *stella.Deployment) { d.Environment = "staging" }), "tampered"},
		"another id":          {encode(func(d *stella.Deployment) { d.ID = "production-8" }), "tampered"},
		"a negative number":   {encode(func(d *stella.Deployment) { d.ID, d.Sequence = "production--7", -7 }), "tampered"},
		"schema 2":            {encode(func(d *stella.Deployment) { d.SchemaVersion = 2 }), "unsupported"},
		"nothing":             {[]byte("{}"), "invalid"},
	} {
		_, err := ledger.DecodeDeployment(env, c.data, true)
		if got := className(err); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestNewerRulesCanBeReadAndNotWritten(t *testing.T) {
	s, err := ledger.DecodeState(env, stateJSON(t, func(m map[string]any) {
		m["rules"], m["sequence"], m["mood"] = ledger.RulesVersion+1, 4, "good"
	}))
	if err != nil || s.Sequence != 4 {
		t.Fatalf("state %+v, %v", s, err)
	}
	b := ledger.NewBook(env)
	b.State = s
	e, err := ledger.Complete(b, ledger.Note{}, options(), noon())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(e); !errors.Is(err, stella.ErrUnsupported) || !strings.Contains(err.Error(), "read only") {
		t.Errorf("Apply: %v, want stella.ErrUnsupported that says read only", err)
	}
	data, err := ledger.EncodeEvents(b, []ledger.Event{ledger.Note{Meta: ledger.Meta{Rules: 99}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ledger.DecodeEvents(env, data); !errors.Is(err, stella.ErrUnsupported) {
		t.Errorf("DecodeEvents: %v, want stella.ErrUnsupported", err)
	}
}

// FuzzEntry: events.json of any bytes never panics, and what is read is written
// and read again as the same.
func FuzzEntry(f *testing.F) {
	for _, e := range everyEvent() {
		data, err := ledger.EncodeEvents(ledger.NewBook(env), []ledger.Event{e})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"schemaVersion":1,"environment":"production","transitions":1,"events":[{"type":"lift","Type":"note"}]}`))
	f.Add([]byte(`{"schemaVersion":1,"environment":"production","events":[null,{"type":"progress","steps":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, transitions, err := ledger.DecodeEvents(env, data)
		if err != nil {
			return
		}
		b := ledger.NewBook(env)
		b.State.Transitions = transitions
		again, err := ledger.EncodeEvents(b, events)
		if err != nil {
			t.Fatalf("what was read can not be written: %v", err)
		}
		back, n, err := ledger.DecodeEvents(env, again)
		if err != nil || n != transitions {
			t.Fatalf("what was written can not be read: %d, %v\n%s", n, err, again)
		}
		if diff := cmp.Diff(events, back); diff != "" {
			t.Fatalf("reads differently the second time:\n%s", diff)
		}
		for _, e := range events {
			if next, err := b.Apply(e); err == nil && next.State.Transitions != transitions+1 {
				t.Fatalf("an allowed event is not counted")
			}
		}
	})
}

// FuzzState: state.json of any bytes never panics, and what is read is written
// and read again as the same.
func FuzzState(f *testing.F) {
	for _, s := range []*story{newStory(f), newStory(f).deploy("a", stella.Succeeded).begin(stella.Deployment{}), newStory(f).do(frozen(noon().Add(time.Hour)))} {
		data, err := ledger.EncodeState(s.book.State)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(stateJSON(f, func(m map[string]any) { m["at"] = "9999-12-31T23:59:59-23:59" }))
	f.Add(stateJSON(f, func(m map[string]any) { m["at"] = "0000-01-01T00:00:00+23:59" }))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ledger.DecodeState(env, data)
		if err != nil {
			return
		}
		again, err := ledger.EncodeState(s)
		if err != nil {
			t.Fatalf("what was read can not be written: %v", err)
		}
		back, err := ledger.DecodeState(env, again)
		if err != nil {
			t.Fatalf("what was written can not be read: %v\n%s", err, again)
		}
		if diff := cmp.Diff(s, back); diff != "" {
			t.Fatalf("reads differently the second time:\n%s", diff)
		}
		b := ledger.NewBook(env)
		b.State = s
		_ = b.Check()
		b.Previous()
		_, _ = b.Apply(ledger.Unlock{Meta: ledger.Meta{At: noon(), By: "x", Rules: 1, Nonce: "n"}, LockID: "l"})
	})
}

// FuzzDeployment is FuzzState for the record of a deployment.
func FuzzDeployment(f *testing.F) {
	for _, d := range newStory(f).deploy("a", stella.Succeeded).begin(stella.Deployment{}).book.Deployments {
		data, err := ledger.EncodeDeployment(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ledger.DecodeDeployment(env, data, true)
		if err != nil {
			return
		}
		again, err := ledger.EncodeDeployment(d)
		if err != nil {
			t.Fatalf("what was read can not be written: %v", err)
		}
		back, err := ledger.DecodeDeployment(env, again, true)
		if err != nil {
			t.Fatalf("what was written can not be read: %v\n%s", err, again)
		}
		if diff := cmp.Diff(d, back); diff != "" {
			t.Fatalf("reads differently the second time:\n%s", diff)
		}
	})
}

func TestAnyTextSurvivesBeingStored(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := stella.Deployment{
			SchemaVersion: 1, ID: "production-7", Environment: env, Sequence: 7,
			Error: rapid.String().Draw(rt, "error"), Components: map[string]string{rapid.String().Draw(rt, "key"): rapid.String().Draw(rt, "value")},
		}
		data, err := ledger.EncodeDeployment(d)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := ledger.DecodeDeployment(env, data, true)
		if err != nil {
			rt.Fatal(err)
		}
		if got.Error != d.Error || cmp.Diff(got.Components, d.Components) != "" {
			rt.Fatalf("%q became %q", d.Error, got.Error)
		}
	})
}
