package benchmark_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// stableFor is what the measured environments ask for; the least that a person
// would.
const stableFor = time.Second

// rollbackRuns says how often a rollback of so many targets is measured.
func rollbackRuns() []struct{ targets, runs int } {
	return []struct{ targets, runs int }{{1, 7}, {10, 5}, {20, 5}, {100, 3}}
}

// parts are those of a rollback, in order. "plan" is all before its own
// preflight: the clone is opened, the plan that is shown is made, and the head
// is fetched again. "verify" has stableFor in it.
func parts() []string {
	return []string{"plan", stella.StepPreflight, stella.StepLock, stella.StepCommit, stella.StepPrepare, stella.StepApply, stella.StepVerify, stella.StepRecord}
}

// timing is one measured rollback.
type timing struct {
	part     map[string]time.Duration
	verified time.Duration // from the start until every target was verified
}

// rollbackRow is one line of the table of rollbacks.
type rollbackRow struct {
	targets int
	start   time.Duration // so many applications alone, until all answer
	command time.Duration // of the whole command line, the end recorded
	timings []timing
}

// rollbackTable collects rows; benchmarks run one after the other.
var rollbackTable []rollbackRow

// BenchmarkRollback measures the time to roll back against real targets: first
// with an engine in this process, which tells the parts, then the command as an
// operator runs it.
func BenchmarkRollback(b *testing.B) {
	for _, size := range rollbackRuns() {
		b.Run(fmt.Sprint(size.targets), func(b *testing.B) {
			f := newFleet(b, size.targets)
			row := rollbackRow{targets: size.targets, start: f.startAlone(b, size.runs)}
			f.stella(b, "reconcile", production, "--reason", "bench")
			for range size.runs {
				f.deployNext(b)
				row.timings = append(row.timings, f.rollback(b))
			}
			f.deployNext(b)
			began := time.Now()
			f.stella(b, "rollback", production, "--reason", "bench")
			row.command = time.Since(began)
			rollbackTable = append(rollbackTable, row)
		})
	}
}

// deployNext brings what the next rollback goes away from.
func (f *fleet) deployNext(b *testing.B) {
	b.Helper()
	f.stella(b, "deploy", production, "--artifact", f.image("2"), "--force", "hold", "--reason", "bench")
}

// rollback does what the command does: it opens the clone, plans what it would
// show, and carries that out.
func (f *fleet) rollback(b *testing.B) timing {
	b.Helper()
	began := time.Now()
	e, done := f.engine(b)
	defer done()
	ask := func(o reconciler.Options) reconciler.Outcome {
		o.Reason = "bench"
		out, err := e.Rollback(b.Context(), reconciler.RollbackRequest{Environment: production, Options: o})
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	d := ask(reconciler.Options{Shown: ask(reconciler.Options{DryRun: true}).Plan}).Deployment
	ended := time.Now()
	if d == nil || d.Status != stella.Succeeded || d.Kind != stella.KindRollback || len(d.Targets) != f.targets {
		b.Fatalf("the rollback ended %+v", d)
	}
	t := timing{part: map[string]time.Duration{}}
	for _, name := range parts() {
		from, to := span(d.Steps, name)
		t.part[name] = to.Sub(from)
		switch name {
		case stella.StepPreflight:
			t.part["plan"] = from.Sub(began)
		case stella.StepVerify:
			t.verified = to.Sub(began)
		case stella.StepRecord:
			t.part[name] = ended.Sub(from)
		}
	}
	return t
}

// span is from when the first step of a name began to when the last one ended:
// targets are handled side by side.
func span(steps []stella.Step, name string) (from, to time.Time) {
	for _, s := range steps {
		if s.Name != name {
			continue
		}
		end := s.StartedAt.Add(time.Duration(s.DurationSeconds * float64(time.Second)))
		if from.IsZero() || s.StartedAt.Before(from) {
			from = s.StartedAt
		}
		if end.After(to) {
			to = end
		}
	}
	return from, to
}

// printRollbacks prints the table of what was measured.
func printRollbacks() {
	if len(rollbackTable) == 0 {
		return
	}
	fmt.Printf("\nMean time to rollback: from the command's start until every target is verified, in ms; the parts are medians.\n"+
		"All targets are on this machine and changed at once; verification includes stableFor %s.\n\n", stableFor)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "targets\tmedian\tmin\tmax\tto one\tcommand\tapp alone\tbeyond app and stableFor\t| "+strings.Join(parts(), "\t")+"\t")
	first := time.Duration(0)
	for _, r := range rollbackTable {
		total := spread(r.timings, func(t timing) time.Duration { return t.verified })
		if first == 0 {
			first = total[len(total)/2]
		}
		median := total[len(total)/2]
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t× %.1f\t%s\t%s\t%s", r.targets, ms(median), ms(total[0]), ms(total[len(total)-1]),
			float64(median)/float64(first), ms(r.command), ms(r.start), ms(median-r.start-stableFor))
		for i, name := range parts() {
			part := spread(r.timings, func(t timing) time.Duration { return t.part[name] })
			fmt.Fprint(w, "\t", map[bool]string{true: "| "}[i == 0], ms(part[len(part)/2]))
		}
		fmt.Fprintln(w, "\t")
	}
	_ = w.Flush()
}

func ms(d time.Duration) string { return fmt.Sprint(d.Round(time.Millisecond).Milliseconds()) }

// spread sorts what of says of all timings.
func spread(all []timing, of func(timing) time.Duration) []time.Duration {
	out := make([]time.Duration, len(all))
	for i, t := range all {
		out[i] = of(t)
	}
	slices.Sort(out)
	return out
}
