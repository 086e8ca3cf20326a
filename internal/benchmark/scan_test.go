package benchmark_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

// How much is looked at for drift.
const (
	scannedTargets   = 1_000
	wreckedTargets   = 10 // whose sticker is gone
	manyEnvironments = 10_000
)

// BenchmarkScan looks for drift on many bare hosts of this machine, each with a
// process of its own: first when nothing differs, then when some do.
func BenchmarkScan(b *testing.B) {
	f := newFleet(b, scannedTargets)
	f.stella(b, "reconcile", production, "--reason", "bench")
	f.scan(b, "scan of %d host targets, no drift", 0)
	for i := range wreckedTargets {
		config := filepath.Join(f.root(i), "services", "web", "current")
		if err := os.Remove(config); err != nil {
			b.Fatal(err)
		}
	}
	f.scan(b, "the same, 1 % drifted", wreckedTargets)
	f.stella(b, "reconcile", production, "--reason", "bench")
}

func (f *fleet) root(i int) string { return filepath.Join(f.dir, "hosts", fmt.Sprintf("web-%d", i+1)) }

func (f *fleet) scan(b *testing.B, what string, drifted int) {
	b.Helper()
	c, peak := probeOf(b, "scan", f.bare, "STELLA_BENCH_FLEET="+f.dir, "STELLA_BENCH_STELLA="+programs.stella, fmt.Sprint("STELLA_BENCH_DRIFTED=", drifted))
	if drifted == 0 {
		what = fmt.Sprintf(what, scannedTargets)
	}
	record(what, c, peak, 0, "-")
}

// scanFleet is the probe: it opens what the benchmark deployed.
func scanFleet(url, dir string) (cost, error) {
	f := &fleet{dir: os.Getenv("STELLA_BENCH_FLEET"), bare: url}
	programs.stella = os.Getenv("STELLA_BENCH_STELLA")
	e, done, err := f.open(dir)
	if err != nil {
		return cost{}, err
	}
	defer done()
	return measure(5, func(int) error {
		all, err := e.Detect(context.Background(), reconciler.DetectRequest{})
		if err != nil {
			return err
		}
		drifted := 0
		for _, d := range all {
			for _, t := range d.Targets {
				if t.Error != "" {
					return errors.New(t.Target + ": " + t.Error)
				}
				if len(t.Changes) > 0 {
					drifted++
				}
			}
		}
		if want := os.Getenv("STELLA_BENCH_DRIFTED"); fmt.Sprint(drifted) != want {
			return fmt.Errorf("%d targets drifted, want %s", drifted, want)
		}
		return nil
	})
}

// BenchmarkUnchangedPass is a poll over many environments of which none changed,
// and what each of them says of drift.
func BenchmarkUnchangedPass(b *testing.B) {
	bare := filepath.Join(b.TempDir(), "config.git")
	if _, err := gittest.Generate(b.Context(), bare, 100, manyEnvironments); err != nil {
		b.Fatal(err)
	}
	c, peak := probeOf(b, "policies", bare)
	record(fmt.Sprintf("pass over %d environments, nothing changed", manyEnvironments), c, peak, 0, "a tree read")
}
