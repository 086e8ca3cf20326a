package benchmark_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/drift/drifttest"
)

// compareProbe is the probe that compares states.
const compareProbe = "compare"

// comparison is what one size and share of changes cost.
type comparison struct {
	resources, changed  int // changed of a hundred
	median, least, most time.Duration
	cpu                 time.Duration // median
	allocs, bytes       int64         // of one comparison
	states, peak        int64         // bytes in memory: both states, and the most beyond them
}

// comparisonTable collects rows; benchmarks run one after the other.
var comparisonTable []comparison

// BenchmarkCompare compares desired with live state, each case in a process of
// its own that has one core.
func BenchmarkCompare(b *testing.B) {
	for _, resources := range []int{10, 1_000, 100_000} {
		for _, changed := range []int{0, 1} {
			c := comparison{resources: resources, changed: changed}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "STELLA_BENCH_PROBE="+compareProbe,
				fmt.Sprint("STELLA_BENCH_RESOURCES=", resources), fmt.Sprint("STELLA_BENCH_CHANGED=", changed))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := fmt.Sscan(string(out), &c.median, &c.least, &c.most, &c.cpu, &c.allocs, &c.bytes, &c.states, &c.peak); err != nil {
				b.Fatalf("%q: %v", out, err)
			}
			comparisonTable = append(comparisonTable, c)
		}
	}
}

// runCompareProbe measures one case and prints it.
func runCompareProbe() int {
	c, err := compare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(int64(c.median), int64(c.least), int64(c.most), int64(c.cpu), c.allocs, c.bytes, c.states, c.peak)
	return 0
}

func compare() (c comparison, err error) {
	if c.resources, err = strconv.Atoi(os.Getenv("STELLA_BENCH_RESOURCES")); err != nil {
		return c, err
	}
	if c.changed, err = strconv.Atoi(os.Getenv("STELLA_BENCH_CHANGED")); err != nil {
		return c, err
	}
	before, err := status("VmRSS")
	if err != nil {
		return c, err
	}
	desired, live := drifttest.Services(c.resources, 0), drifttest.Services(c.resources, c.changed)
	ignores := []drift.Ignore{{Resource: "service/*", Path: "/labels/*", Reason: "r"}}
	now := time.Now()
	once := func(int) error {
		if n, want := len(drift.Compare(desired, live, ignores, now)), (c.resources*c.changed+99)/100; n != want {
			return fmt.Errorf("%d differences, want %d", n, want)
		}
		return nil
	}
	if c.states, c.peak, err = beyond(once); err != nil {
		return c, err
	}
	c.states -= before
	var from, to runtime.MemStats
	runtime.ReadMemStats(&from)
	if err := once(0); err != nil {
		return c, err
	}
	runtime.ReadMemStats(&to)
	c.allocs, c.bytes = int64(to.Mallocs-from.Mallocs), int64(to.TotalAlloc-from.TotalAlloc)
	var walls, cpus []time.Duration
	for i := range 15 {
		one, err := measure(1, func(int) error { return once(i) })
		if err != nil {
			return c, err
		}
		walls, cpus = append(walls, one.wall), append(cpus, one.cpu)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	c.least, c.median, c.most, c.cpu = walls[0], walls[len(walls)/2], walls[len(walls)-1], cpus[len(cpus)/2]
	runtime.KeepAlive(desired)
	runtime.KeepAlive(live)
	return c, nil
}

// beyond is the memory of this process, and the most that it had beyond that
// while fn ran. The kernel forgets the peak before, by proc(5).
func beyond(fn func(int) error) (before, peak int64, err error) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return 0, 0, err
	}
	if before, err = status("VmRSS"); err != nil {
		return 0, 0, err
	}
	if err := fn(0); err != nil {
		return 0, 0, err
	}
	peak, err = peakBytes()
	return before, max(peak-before, 0), err
}

// status is a size of this process by proc(5).
func status(name string) (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			var kib int64
			_, err := fmt.Sscanf(value, "%d kB", &kib)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/self/status has no " + name)
}

func printComparisons() {
	if len(comparisonTable) == 0 {
		return
	}
	fmt.Print("\nDesired compared with live state on one core; memory beyond both states, which are in memory already.\n\n")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "resources\tchanged\ttime\tleast–most\tCPU\tallocations\tallocated\tpeak beyond\tboth states\taim")
	for _, c := range comparisonTable {
		aim := "-"
		if c.resources == 100_000 {
			aim = "< 200ms"
		}
		fmt.Fprintf(w, "%d\t%d %%\t%s\t%s–%s\t%s\t%d\t%s\t%s\t%s\t%s\n", c.resources, c.changed, short(c.median), short(c.least), short(c.most),
			short(c.cpu), c.allocs, size(c.bytes), size(c.peak), size(max(c.states, 0)), aim)
	}
	_ = w.Flush()
}

// short is a duration in three digits or so: the smallest take microseconds.
func short(d time.Duration) string {
	if d < time.Millisecond {
		return d.Round(100 * time.Nanosecond).String()
	}
	return round(d)
}

func size(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}
