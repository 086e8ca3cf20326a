package git_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
)

// The size that the design was measured at.
const (
	benchCommits = 50_000
	benchEnvs    = 2_000
)

// cpu returns the CPU time that this process and its children that ended took.
func cpu(b *testing.B) (own, all time.Duration) {
	b.Helper()
	var self, children syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		b.Fatal(err)
	}
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children); err != nil {
		b.Fatal(err)
	}
	sum := func(r syscall.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
	return sum(self), sum(self) + sum(children)
}

func timed(b *testing.B, name string, run func(b *testing.B, i int)) {
	b.Run(name, func(b *testing.B) {
		own, all := cpu(b)
		for i := 0; b.Loop(); i++ {
			run(b, i)
		}
		own2, all2 := cpu(b)
		b.ReportMetric(float64((own2-own).Milliseconds())/float64(b.N), "cpu-ms/op")
		b.ReportMetric(float64((all2-all).Milliseconds())/float64(b.N), "cpu-with-git-ms/op")
		b.ReportMetric(float64(peak(b))/1024, "peak-MiB")
	})
}

// peak returns the most memory that this process ever took, in KiB.
func peak(b *testing.B) (kib int) {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}

func BenchmarkBigRepository(b *testing.B) {
	dir := os.Getenv("STELLA_BENCH_REPOSITORY") // made by an earlier run, to save the time
	if dir == "" {
		dir = filepath.Join(b.TempDir(), "config.git")
		if _, err := gittest.Generate(b.Context(), dir, benchCommits, benchEnvs); err != nil {
			b.Fatal(err)
		}
	}
	for _, at := range []struct{ name, url string }{{"file", "file://" + dir}, {"http", gittest.HTTP(b, dir, nil)}} {
		b.Run(at.name, func(b *testing.B) { benchRemote(b, dir, at.url) })
	}
}

func benchRemote(b *testing.B, bare, url string) {
	timed(b, "clone and read", func(b *testing.B, _ int) {
		r := open(b, url)
		read(b, r, fetch(b, r), "envs/"+gittest.EnvName(7)+"/app/release.yaml")
	})
	cache := filepath.Join(b.TempDir(), "cache")
	r := openIn(b, cache, url)
	head := fetch(b, r)
	timed(b, "open and read", func(b *testing.B, _ int) {
		r := openIn(b, cache, url)
		read(b, r, head, "envs/"+gittest.EnvName(7)+"/app/release.yaml")
		_ = r.Close()
	})
	timed(b, "list", func(b *testing.B, _ int) {
		if _, err := r.List(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
	timed(b, "fetch nothing new", func(b *testing.B, _ int) { fetch(b, r) })
	timed(b, "read the envs directory", func(b *testing.B, _ int) {
		tree, err := openIn(b, cache, url).Tree(b.Context(), head)
		if err != nil {
			b.Fatal(err)
		}
		if e, err := tree.Entries(b.Context(), "envs"); err != nil || len(e) != benchEnvs {
			b.Fatal(len(e), err)
		}
	})
	timed(b, "fetch one commit", func(b *testing.B, i int) {
		b.StopTimer()
		gittest.Seed(b, bare, map[string]string{"envs/" + gittest.EnvName(i%benchEnvs) + "/app/release.yaml": fmt.Sprintf("%d %s", i, time.Now())})
		b.StartTimer()
		head = fetch(b, r)
	})
	timed(b, "build and push", func(b *testing.B, i int) {
		next := commit(b, r, head, "envs/"+gittest.EnvName(i%benchEnvs)+"/app/release.yaml", fmt.Sprintf("%d %s", i, time.Now()))
		if err := r.Push(b.Context(), []git.Update{{Ref: gittest.Branch, Old: head, New: next.Commit}}, next); err != nil {
			b.Fatal(err)
		}
		head = next.Commit
	})
	timed(b, "log of one environment, 5", func(b *testing.B, _ int) {
		if l, err := r.Log(b.Context(), head, "envs/"+gittest.EnvName(11)+"/app", 5); err != nil || len(l) == 0 {
			b.Fatal(len(l), err)
		}
	})
	ledgers(b, bare)
	timed(b, "list with 2,000 ledgers", func(b *testing.B, _ int) {
		if _, err := r.List(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
	timed(b, "first fetch of 2,000 ledgers", func(b *testing.B, _ int) {
		if _, err := open(b, url).Fetch(b.Context(), git.Want{Prefixes: []string{"refs/stella/ledger/"}}); err != nil {
			b.Fatal(err)
		}
	})
	timed(b, "whole history", func(b *testing.B, _ int) {
		if _, err := open(b, url).Fetch(b.Context(), git.Want{Branch: true, Deep: true}); err != nil {
			b.Fatal(err)
		}
	})
}

// ledgers gives every environment a ledger of three transitions.
func ledgers(b *testing.B, bare string) {
	b.Helper()
	var in strings.Builder
	for i := range benchEnvs {
		for n := range 3 {
			state := fmt.Sprintf("{\"environment\":\"%s\",\"sequence\":%d}\n", gittest.EnvName(i), n)
			fmt.Fprintf(&in, "commit refs/stella/ledger/%s\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", gittest.EnvName(i), 1_700_000_000+n)
			fmt.Fprintf(&in, "M 100644 inline state.json\ndata %d\n%s\n", len(state), state)
		}
	}
	cmd := exec.CommandContext(b.Context(), "git", "fast-import", "--quiet", "--force")
	cmd.Dir, cmd.Env, cmd.Stdin = gittest.Dir(bare), gittest.Environ(), strings.NewReader(in.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	gittest.Run(b, bare, "pack-refs", "--all")
}
