package benchmark_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/reconciler"
)

const (
	commits      = 50_000
	environments = 2_000
)

// row is one line of the table that a run ends with.
type row struct {
	what, stella, cpu, memory, git, aim string
}

// table collects rows; benchmarks run one after the other.
var table []row

func TestMain(m *testing.M) {
	switch probe := os.Getenv("STELLA_BENCH_PROBE"); probe {
	case "":
	case compareProbe:
		os.Exit(runCompareProbe())
	default:
		os.Exit(runProbe(probe))
	}
	os.Exit(dockertest.Run(func() int { return runAll(m) }))
}

func runAll(m *testing.M) int {
	code := m.Run()
	if len(table) > 0 {
		fmt.Printf("\nA config repository of %d commits and %d environments; medians; CPU and peak memory are this process's own.\n\n", commits, environments)
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "what\ttime\tCPU\tpeak memory\tgit command\taim")
		for _, r := range table {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.stella, r.cpu, r.memory, r.git, r.aim)
		}
		_ = w.Flush()
	}
	printRollbacks()
	printComparisons()
	printDocker()
	for _, dir := range []string{repository.dir, programs.dir} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
	return code
}

// repository is generated once for all benchmarks.
var repository struct {
	once sync.Once
	dir  string
	bare string
	err  error
}

func bare(b *testing.B) string {
	b.Helper()
	repository.once.Do(func() {
		if repository.dir, repository.err = os.MkdirTemp("", "stella-bench-"); repository.err == nil {
			repository.bare = filepath.Join(repository.dir, "config.git")
			_, repository.err = gittest.Generate(context.Background(), repository.bare, commits, environments)
		}
	})
	if repository.err != nil {
		b.Fatal(repository.err)
	}
	return repository.bare
}

func open(dir, url string) (*git.Repo, error) {
	return git.Open(context.Background(), git.Options{
		URL: url, Dir: dir, Getenv: gittest.Getenv(), Logger: slog.New(slog.DiscardHandler),
	})
}

// cost is what one run of something took.
type cost struct{ wall, cpu time.Duration }

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs fn n times and returns the median cost.
func measure(n int, fn func(i int) error) (cost, error) {
	var walls, cpus []time.Duration
	for i := range n {
		cpu, start := cpuTime(), time.Now()
		if err := fn(i); err != nil {
			return cost{}, err
		}
		walls, cpus = append(walls, time.Since(start)), append(cpus, cpuTime()-cpu)
	}
	median := func(d []time.Duration) time.Duration {
		slices.Sort(d)
		return d[len(d)/2]
	}
	return cost{median(walls), median(cpus)}, nil
}

// probes run in a process of their own, so that memory is theirs alone. Each
// prints its median wall time, its CPU time, and the peak of the process.
func probes() map[string]func(url, dir string) (cost, error) {
	return map[string]func(url, dir string) (cost, error){
		"nothing": func(url, dir string) (cost, error) {
			e, _, err := engine(url, dir, nil)
			if err != nil {
				return cost{}, err
			}
			if _, err := e.Heads(context.Background()); err != nil {
				return cost{}, err
			}
			return measure(21, func(int) error { _, err := e.Heads(context.Background()); return err })
		},
		"changed": func(url, dir string) (cost, error) {
			e, repo, err := engine(url, dir, nil)
			if err != nil {
				return cost{}, err
			}
			before, err := e.Heads(context.Background())
			if err != nil {
				return cost{}, err
			}
			other, err := open(dir+"-other", url)
			if err != nil {
				return cost{}, err
			}
			_ = repo
			var total cost
			var walls []time.Duration
			for i := range 7 {
				if err := touch(other, i); err != nil {
					return cost{}, err
				}
				c, err := measure(1, func(int) error {
					after, err := e.Heads(context.Background())
					if err != nil {
						return err
					}
					if n := differing(before, after); n != 1 {
						return fmt.Errorf("%d environments changed, want 1", n)
					}
					before = after
					return nil
				})
				if err != nil {
					return cost{}, err
				}
				walls, total.cpu = append(walls, c.wall), c.cpu
			}
			slices.Sort(walls)
			total.wall = walls[len(walls)/2]
			return total, nil
		},
		"push": func(url, dir string) (cost, error) {
			repo, err := open(dir, url)
			if err != nil {
				return cost{}, err
			}
			if _, err := repo.Fetch(context.Background(), git.Want{Branch: true}); err != nil {
				return cost{}, err
			}
			return measure(11, func(i int) error { return touch(repo, 100+i) })
		},
		"scan": scanFleet,
		"policies": func(url, dir string) (cost, error) {
			e, _, err := engine(url, dir, nil)
			if err != nil {
				return cost{}, err
			}
			return measure(21, func(int) error {
				if _, err := e.Heads(context.Background()); err != nil {
					return err
				}
				all, err := e.DriftPolicies(context.Background())
				if err == nil && len(all) != manyEnvironments {
					err = fmt.Errorf("%d environments", len(all))
				}
				return err
			})
		},
		"first": func(url, dir string) (cost, error) {
			return measure(1, func(int) error {
				e, _, err := engine(url, dir, nil)
				if err != nil {
					return err
				}
				_, err = e.Heads(context.Background())
				return err
			})
		},
	}
}

// touch commits a new release of one environment and pushes it.
func touch(repo *git.Repo, i int) error {
	ctx := context.Background()
	refs, err := repo.Fetch(ctx, git.Want{Branch: true})
	if err != nil {
		return err
	}
	head := refs.IDs[refs.Default]
	path := "envs/" + gittest.EnvName(i%environments) + "/app/release.yaml"
	t, err := repo.Tree(ctx, head)
	if err != nil {
		return err
	}
	old, err := t.Read(ctx, path, 1<<20)
	if err != nil {
		return err
	}
	me := git.Signature{Name: "bench", Email: "bench@example.com", When: time.Now()}
	built, err := repo.Build(ctx, git.Draft{
		Parents: []git.ID{head}, Base: head, Author: me, Committer: me, Message: "Deploy\n",
		Edits: []git.Edit{{Path: path, Content: append(old, []byte("# "+strconv.FormatInt(time.Now().UnixNano(), 10)+"\n")...)}},
	})
	if err != nil {
		return err
	}
	return repo.Push(ctx, []git.Update{{Ref: refs.Default, Old: head, New: built.Commit}}, built)
}

func differing(a, b reconciler.Heads) int {
	n := 0
	for name, key := range b.Keys {
		if a.Keys[name] != key {
			n++
		}
	}
	return n
}

func runProbe(name string) int {
	c, err := probes()[name](os.Getenv("STELLA_BENCH_URL"), os.Getenv("STELLA_BENCH_DIR"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	peak, err := peakBytes()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("%d %d %d\n", c.wall, c.cpu, peak)
	return 0
}

// peakBytes is the most memory that this process ever had, by proc(5). What
// getrusage(2) says goes on with the peak of the process that started it.
func peakBytes() (int64, error) {
	return status("VmHWM")
}

// probe runs a probe of the generated repository in a process of its own.
func probe(b *testing.B, name string) (c cost, peakBytes int64) {
	b.Helper()
	return probeOf(b, name, bare(b))
}

// probeOf runs a probe of a repository in a process of its own.
func probeOf(b *testing.B, name, url string, env ...string) (c cost, peakBytes int64) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STELLA_BENCH_PROBE="+name, "STELLA_BENCH_URL="+url, "STELLA_BENCH_DIR="+filepath.Join(b.TempDir(), "cache"))
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Sscan(string(out), &c.wall, &c.cpu, &peakBytes); err != nil {
		b.Fatalf("%q: %v", out, err)
	}
	return c, peakBytes
}

func record(what string, c cost, peak int64, gitWall time.Duration, aim string) {
	r := row{what: what, stella: round(c.wall), cpu: round(c.cpu), memory: "-", git: "-", aim: aim}
	if peak > 0 {
		r.memory = fmt.Sprintf("%d MiB", peak>>20)
	}
	if gitWall > 0 {
		r.git = round(gitWall)
	}
	table = append(table, r)
}

func round(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// gitTime is the median time of a git command.
func gitTime(b *testing.B, n int, run func()) time.Duration {
	b.Helper()
	c, err := measure(n, func(int) error { run(); return nil })
	if err != nil {
		b.Fatal(err)
	}
	return c.wall
}

func BenchmarkNothingChanged(b *testing.B) {
	c, peak := probe(b, "nothing")
	url := bare(b)
	record("nothing changed, clone open", c, peak, gitTime(b, 11, func() { gittest.Run(b, b.TempDir(), "ls-remote", url) }), "≤ 20ms, < 150 MiB")
}

func BenchmarkFindTheChangedEnvironment(b *testing.B) {
	c, peak := probe(b, "changed")
	url, clone := bare(b), b.TempDir()
	gittest.Run(b, clone, "clone", "-q", "--bare", "--depth=1", url, "c.git")
	repo, err := open(b.TempDir(), url)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	wall := gitTime(b, 5, func() {
		i++
		if err := touch(repo, 200+i); err != nil {
			b.Fatal(err)
		}
		start := gittest.Run(b, clone+"/c.git", "rev-parse", "main")
		gittest.Run(b, clone+"/c.git", "fetch", "-q", url, "+main:main")
		gittest.Run(b, clone+"/c.git", "diff-tree", "--name-only", strings.TrimSpace(start)+":envs", "main:envs")
	})
	record("find the one changed environment", c, peak, wall, "< 150 MiB")
}

func BenchmarkCommitAndPush(b *testing.B) {
	c, peak := probe(b, "push")
	url, clone := bare(b), b.TempDir()
	gittest.Run(b, clone, "clone", "-q", "--depth=1", url, "c")
	i := 0
	wall := gitTime(b, 5, func() {
		i++
		path := filepath.Join(clone, "c", "envs", gittest.EnvName(300+i), "app", "release.yaml")
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintln(f, "#", i)
		_ = f.Close()
		gittest.Run(b, clone+"/c", "commit", "-qam", "Deploy")
		gittest.Run(b, clone+"/c", "push", "-q", "origin", "HEAD:main")
	})
	record("commit and push one deploy", c, peak, wall, "≤ 100ms CPU, < 150 MiB")
}

func BenchmarkFirstContact(b *testing.B) {
	c, peak := probe(b, "first")
	url := bare(b)
	wall := gitTime(b, 1, func() { gittest.Run(b, b.TempDir(), "clone", "-q", "--bare", "--depth=1", url, "c.git") })
	record("first contact: clone and read", c, peak, wall, "< 150 MiB")
}
