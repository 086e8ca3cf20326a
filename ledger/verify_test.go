package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/ledger/ledgertest"
)

// history writes a life of some length: deployments that succeed and fail, a
// rollback, a freeze, a takeover and notes. It returns how many commits it has.
func history(t testing.TB, m ledger.Store, rounds int) int {
	t.Helper()
	l := ledger.New(m, options())
	commits := 0
	do := func(events ...ledger.Event) ledger.Book {
		t.Helper()
		b, err := l.Append(t.Context(), env, write(events...))
		if err != nil {
			t.Fatal(err)
		}
		commits++
		return b
	}
	run := func(d stella.Deployment, takeover string, status stella.Status) {
		b := do(ledger.Begin{Deployment: d, Takeover: takeover})
		id, lock := b.State.Lock.Deployment, b.State.Lock.ID
		do(ledger.Progress{ID: id, LockID: lock, Commit: fmt.Sprintf("%040d", b.State.Sequence)})
		end, _ := b.Deployment(id)
		end.Status, end.Commit = status, fmt.Sprintf("%040d", b.State.Sequence)
		end.Targets = []stella.TargetResult{{Name: "web-1", Status: stella.TargetVerified}}
		do(ledger.Finish{Deployment: end, LockID: lock, Current: status == stella.Succeeded})
	}
	deploy := func(i int, status stella.Status) {
		run(stella.Deployment{Kind: stella.KindDeploy, Tree: fmt.Sprintf("%040x", i), Release: fmt.Sprintf("1.%d.0", i), Components: map[string]string{
			"api": fmt.Sprintf("registry.example.com/shop/api:1.%d.0@sha256:%064d", i, i),
		}}, "", status)
	}
	for i := range rounds {
		deploy(2*i, stella.Succeeded)
		deploy(2*i+1, stella.Failed)
		b := do(ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindDeploy}})
		run(stella.Deployment{Kind: stella.KindRollback, Restores: b.State.LastGood, Tree: fmt.Sprintf("%040x", 2*i)}, b.State.Lock.ID, stella.Succeeded)
		b = do(ledger.Lock{Lock: stella.Lock{ByHand: true, Purpose: "look", ExpiresAt: time.Now().Add(time.Hour)}})
		do(ledger.Unlock{LockID: b.State.Lock.ID})
		b = do(ledger.Note{Summary: ledger.Summary{Sync: stella.Synced, Reason: fmt.Sprint(i)}})
		f := finding("web-1", "service/api", "/command", noon())
		do(ledger.Found{Sequence: b.State.Sequence, Opened: []stella.DriftFinding{f}})
		do(ledger.Found{Sequence: b.State.Sequence, Ended: []stella.DriftFinding{ended(f, stella.EndHealed, noon())}})
	}
	return commits
}

func verify(t *testing.T, s ledger.Store, exists func(string) bool) ledger.Report {
	t.Helper()
	r, err := ledger.Verify(t.Context(), s, env, exists)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifyProvesAnHonestLedger(t *testing.T) {
	m := ledgertest.NewMemory()
	commits := history(t, m, 3)
	asked := map[string]int{}
	r := verify(t, m.Client(), func(c string) bool { asked[c]++; return true })
	if !r.OK() || len(r.Findings) != 0 || r.Commits != int64(commits) || r.Transitions != int64(commits) {
		t.Errorf("got %+v, want %d transitions and no findings", r, commits)
	}
	if len(asked) != 9 || asked[fmt.Sprintf("%040d", 1)] != 1 {
		t.Errorf("asked for commits %v, want each of 9 once", asked)
	}
	if r := verify(t, ledgertest.NewMemory(), nil); !r.OK() || r.Commits != 0 {
		t.Errorf("an empty ledger: %+v", r)
	}
}

// edit replaces a text in one of a commit's files.
func edit(t *testing.T, file, old, replacement string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		t.Helper()
		before := string(files[file])
		after := regexp.MustCompile(old).ReplaceAllString(before, replacement)
		if before == after {
			t.Fatalf("%s has no %s:\n%s", file, old, before)
		}
		files[file] = []byte(after)
	}
}

const firstRecord = "deployments/0000/000001.json"

func TestVerifyFindsWhatWasTamperedWith(t *testing.T) {
	for _, c := range []struct {
		name   string
		tamper func(t *testing.T, m *ledgertest.Memory)
		want   string
	}{
		{"a record that was edited where it was written", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 2, edit(t, firstRecord, `"status": "succeeded"`, `"status": "failed"`))
		}, "edited-record@3 edited-record@4"},
		{"a record that was edited later", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 5, edit(t, firstRecord, `"actor": ".*"`, `"actor": "eve"`))
		}, "edited-record@6 edited-record@7"},
		{"an edited state", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 3, edit(t, "state.json", `"lastGood": "production-1"`, `"lastGood": ""`))
		}, "edited-record@4 edited-record@5"},
		{"an edited transition", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 0, edit(t, "events.json", `"release": "1.0.0"`, `"release": "6.6.6"`))
		}, "edited-record@1"},
		{"a record that was taken away", func(_ *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 6, func(f map[string][]byte) { delete(f, firstRecord) })
		}, "edited-record@7 edited-record@8"},
		{"a record that was slipped in", func(_ *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 0, func(f map[string][]byte) {
				d := stella.Deployment{SchemaVersion: 1, ID: "production-2", Environment: env, Sequence: 2, Status: stella.Succeeded}
				f["deployments/0000/000002.json"], _ = ledger.EncodeDeployment(d)
			})
		}, "edited-record@1 edited-record@2"},
		{
			"two transitions that were swapped", func(_ *testing.T, m *ledgertest.Memory) { m.Swap(env, 1, 2) },
			"edited-record@3 bad-transition@2 bad-transition@4",
		},
		{"a transition that came twice", func(t *testing.T, m *ledgertest.Memory) {
			var again []byte
			m.Tamper(env, 0, func(f map[string][]byte) { again = f["events.json"] })
			m.Tamper(env, 1, func(f map[string][]byte) {
				f["events.json"] = []byte(strings.Replace(string(again), `"transitions": 1`, `"transitions": 2`, 1))
			})
		}, "bad-transition@2"},
		{"a commit of another environment", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 1, edit(t, "state.json", `"environment": "production"`, `"environment": "staging"`))
		}, "foreign"},
		{"a record of another environment", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 1, edit(t, firstRecord, `"environment": "production"`, `"environment": "staging"`))
		}, "foreign@2"},
		{"garbage", func(_ *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 1, func(f map[string][]byte) { f["state.json"] = []byte("\x1b[2J") })
		}, "unreadable"},
		{"a fence that falls", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 4, edit(t, "state.json", `"fence": 2`, `"fence": 1`))
		}, "edited-record@5 fence-backwards@5 edited-record@6"},
		{"a fence that jumps", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 2, edit(t, "state.json", `"fence": 1`, `"fence": 2000`))
		}, "fence-jump@3 edited-record@3 bad-transition@4 fence-backwards@4"},
		{"newer rules", func(t *testing.T, m *ledgertest.Memory) {
			m.Tamper(env, 4, edit(t, "state.json", `"rules": 2`, `"rules": 3`))
		}, "newer-rules@5 bad-transition@6"},
	} {
		m := ledgertest.NewMemory()
		history(t, m, 1)
		c.tamper(t, m)
		got := codes(verify(t, m.Client(), nil))
		want := strings.Fields(c.want)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
	}
}

// codes are a report's findings with the transition that each names.
func codes(r ledger.Report) []string {
	var out []string
	position := regexp.MustCompile(`^transition (\d+), `)
	for _, f := range r.Findings {
		code := f.Code
		if m := position.FindStringSubmatch(f.At); m != nil {
			code += "@" + m[1]
		}
		out = append(out, code)
	}
	slices.Sort(out)
	return out
}

func TestVerifyFindsALedgerThatWasRewound(t *testing.T) {
	m := ledgertest.NewMemory()
	history(t, m, 1)
	m.Rewind(env, 3)
	r := verify(t, m, nil)
	if got := codes(r); !slices.Equal(got, []string{"rewound"}) || r.OK() || !strings.Contains(r.Findings[0].Fix, "accept-head") {
		t.Errorf("got %+v, want a rewound ledger", r)
	}
	m.SetOffline(true)
	if _, err := ledger.Verify(t.Context(), m, env, nil); className(err) == "ok" {
		t.Error("a remote that does not answer proves nothing, and Verify says it does")
	}
}

func TestVerifyFindsCommitsThatAreGone(t *testing.T) {
	m := ledgertest.NewMemory()
	history(t, m, 1)
	gone := fmt.Sprintf("%040d", 2)
	r := verify(t, m, func(c string) bool { return c != gone })
	if got := codes(r); !slices.Equal(got, []string{"lost-commit@6"}) || !strings.Contains(r.Findings[0].Message, "production-2 names commit "+gone) {
		t.Errorf("got %+v", r)
	}
}

func TestVerifyFindsADeploymentThatNobodyDrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.NewMemory()
		mustAppend(t, open(m), begin())
		if r := verify(t, m, nil); !r.OK() {
			t.Errorf("a live one: %+v", r)
		}
		time.Sleep(time.Minute)
		r := verify(t, m, nil)
		if got := codes(r); !slices.Equal(got, []string{"no-end@1"}) || r.Findings[0].Fix != "run 'stella reconcile production', which ends it and goes on" {
			t.Errorf("a silent one: %+v", r)
		}
	})
}

func TestAClockThatWasWrongIsAWarning(t *testing.T) {
	m := ledgertest.NewMemory()
	l := open(m)
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(time.Hour), now.Add(59 * time.Minute), now.Add(-time.Hour)} {
		mustAppend(t, l, ledger.Request{Meta: ledger.Meta{At: at}, Deployment: stella.Deployment{Kind: stella.KindDeploy}})
	}
	r := verify(t, m, nil)
	if got := codes(r); !slices.Equal(got, []string{"time-backwards@4"}) || !r.OK() {
		t.Errorf("got %+v, want one warning", r)
	}
}

func TestAReportIsBounded(t *testing.T) {
	m := ledgertest.NewMemory()
	l := open(m)
	for i := range 600 {
		mustAppend(t, l, ledger.Note{Summary: ledger.Summary{Reason: fmt.Sprint(i)}})
	}
	for i := range 600 {
		m.Tamper(env, i, func(f map[string][]byte) { f["state.json"] = []byte("no") })
	}
	if n := len(verify(t, m.Client(), nil).Findings); n != 500 {
		t.Errorf("%d findings, want 500", n)
	}
}

func TestReportsAreJSONWithoutNull(t *testing.T) {
	data, err := json.Marshal(verify(t, ledgertest.NewMemory(), nil))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "report", `{"environment":"production","commits":0,"transitions":0,"findings":[]}`, string(data))
}

// damaged is a store of which one record can not be read.
type damaged struct {
	ledger.Store
	at  int
	err error
}

func (d damaged) Walk(ctx context.Context, env stella.EnvName, fn func(ledger.Record) error) error {
	i := 0
	return d.Store.Walk(ctx, env, func(r ledger.Record) error {
		if i++; i-1 == d.at {
			r.Entry, r.Err = ledger.Entry{}, d.err
		}
		return fn(r)
	})
}

func TestVerifyGoesOnAfterALostObject(t *testing.T) {
	m := ledgertest.NewMemory()
	history(t, m, 1)
	for err, code := range map[error]string{
		stella.ErrNotFound: "lost-object", stella.ErrInvalid: "unreadable", stella.ErrTampered: "edited-record", stella.ErrUnsupported: "newer-rules",
	} {
		m.Tamper(env, 9, func(map[string][]byte) {})
		r := verify(t, damaged{Store: m.Client(), at: 4, err: fmt.Errorf("read: %w", err)}, nil)
		if got := codes(r); !slices.Equal(got, []string{code}) || r.Transitions == 0 {
			t.Errorf("%v: got %+v, want %s and nothing else", err, r, code)
		}
	}
}
