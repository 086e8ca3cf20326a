package ledger_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/ledger"
)

// chain writes a ledger of n transitions into a bare repository with git
// fast-import: three of four are the begin, the renewal and the end of a
// deployment with three targets and seven steps, the fourth a note.
func chain(t testing.TB, n int) (bare string) {
	t.Helper()
	bare = gittest.Bare(t)
	cmd := exec.CommandContext(t.Context(), "git", "fast-import", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stderr = gittest.Dir(bare), gittest.Environ(), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, book: ledger.NewBook(env), now: noon()}
	for i := range n {
		e, err := ledger.Complete(s.book, s.lived(i), options(), s.now)
		if err != nil {
			t.Fatal(err)
		}
		before := s.book
		if s.book, err = before.Apply(e); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(15 * time.Second)
		if _, err := in.Write(s.fastImport(i, before, e)); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return bare
}

// lived is the i-th event of an ordinary life.
func (s *story) lived(i int) ledger.Event {
	switch i % 4 {
	case 0:
		return ledger.Begin{Deployment: stella.Deployment{
			Kind: stella.KindDeploy, Tree: fmt.Sprintf("%040x", i), Commit: fmt.Sprintf("%040x", i+1), Release: fmt.Sprintf("1.%d.0", i),
			Components: map[string]string{"api": fmt.Sprintf("registry.example.com/shop/api:1.%d.0@sha256:%064x", i, i)},
		}}
	case 1:
		return ledger.Progress{ID: s.book.State.Lock.Deployment, LockID: s.lockID(), Steps: trace(s.now), Targets: webs(stella.TargetApplied)}
	case 2:
		d, _ := s.book.Running()
		d.Status, d.Targets, d.Steps = stella.Succeeded, webs(stella.TargetVerified), trace(s.now)
		return ledger.Finish{Deployment: d, LockID: s.lockID(), Current: true}
	default:
		return ledger.Note{Summary: ledger.Summary{Sync: stella.Synced, Health: stella.Healthy, Reason: fmt.Sprint(i), Ready: true}}
	}
}

func trace(at time.Time) []stella.Step {
	var steps []stella.Step
	for _, name := range []string{
		stella.StepPreflight, stella.StepLock, stella.StepCommit, stella.StepPrepare, stella.StepApply, stella.StepVerify, stella.StepRecord,
	} {
		steps = append(steps, stella.Step{Name: name, Status: stella.StepSucceeded, StartedAt: at, DurationSeconds: 1.25})
	}
	return steps
}

func webs(status stella.TargetStatus) []stella.TargetResult {
	var out []stella.TargetResult
	for _, name := range []string{"web-1", "web-2", "web-3"} {
		digest := map[string]string{"api": "sha256:" + fmt.Sprintf("%064x", 7)}
		out = append(out, stella.TargetResult{Name: name, Status: status, Before: digest, After: digest})
	}
	return out
}

// fastImport is one commit: of the records, only the newest changes and only
// the oldest goes.
func (s *story) fastImport(i int, before ledger.Book, e ledger.Event) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "commit %s\nmark :%d\ncommitter Test <test@example.com> %d +0000\ndata 1\nx\n", ref, i+1, 1_700_000_000+i)
	if i > 0 {
		fmt.Fprintf(&b, "from :%d\n", i)
	}
	put := func(name string, data []byte, err error) {
		if err != nil {
			s.t.Fatal(err)
		}
		fmt.Fprintf(&b, "M 100644 inline %s\ndata %d\n%s\n", name, len(data), data)
	}
	record := func(d stella.Deployment) string {
		return fmt.Sprintf("deployments/%04d/%06d.json", d.Sequence/1000, d.Sequence)
	}
	state, err := ledger.EncodeState(s.book.State)
	put("state.json", state, err)
	events, err := ledger.EncodeEvents(s.book, []ledger.Event{e})
	put("events.json", events, err)
	newest, _ := s.book.Newest()
	data, err := ledger.EncodeDeployment(newest)
	put(record(newest), data, err)
	for _, d := range before.Deployments {
		if _, kept := s.book.Deployment(d.ID); !kept {
			fmt.Fprintf(&b, "D %s\n", record(d))
		}
	}
	return b.Bytes()
}

// cpu is how much of the processors this process has used: what it would take
// on a machine that does nothing else.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestVerifyProvesALongChainInGit(t *testing.T) {
	const n = 600 // enough for records to leave the tip
	bare := chain(t, n)
	r, err := ledger.Verify(t.Context(), gitStore(t, bare), env, func(string) bool { return true })
	if err != nil || len(r.Findings) != 0 || r.Transitions != n || r.Commits != n {
		t.Errorf("Verify: %+v, %v", r, err)
	}
	b, err := open(gitStore(t, bare)).Refresh(t.Context(), env)
	if err != nil || len(b.Deployments) != ledger.KeepNewest {
		t.Errorf("%d deployments at the tip, %v", len(b.Deployments), err)
	}
}

// BenchmarkVerify measures db verify, the deep fetch included.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bare := chain(b, n)
			before := cpu(b)
			for b.Loop() {
				r, err := ledger.Verify(b.Context(), gitStore(b, bare), env, func(string) bool { return true })
				if err != nil || len(r.Findings) != 0 || r.Transitions != int64(n) {
					b.Fatalf("%+v, %v", r, err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N)/float64(n), "cpu-µs/transition")
		})
	}
}

// BenchmarkRead measures what a command pays for looking at one environment
// whose ledger is cached: a new process each time.
func BenchmarkRead(b *testing.B) {
	bare := chain(b, 2000)
	repo := clone(b, bare)
	if err := ledger.NewGitStore(repo, "").Refresh(b.Context(), env); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, book, err := ledger.NewGitStore(repo, "").Load(b.Context(), env); err != nil || book.State.Transitions != 2000 {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend measures one transition through git's own receive-pack over
// file://, which starts a process for each.
func BenchmarkAppend(b *testing.B) {
	bare := chain(b, 2000)
	l := open(gitStore(b, bare))
	if _, err := l.Refresh(b.Context(), env); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		_, err := l.Append(b.Context(), env, write(ledger.Note{Summary: ledger.Summary{Reason: fmt.Sprint(i)}}))
		if err != nil {
			b.Fatal(err)
		}
	}
}
