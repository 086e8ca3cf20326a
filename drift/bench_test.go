package drift_test

import (
	"fmt"
	"testing"

	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/drift/drifttest"
)

// The aim is 100,000 resources in less than 200 ms on one core, with none and
// with one in a hundred changed.
func BenchmarkCompare(b *testing.B) {
	ignores := []drift.Ignore{{Resource: "service/*", Path: "/labels/*"}, {Resource: "service/s0000*", Path: "/image", Reason: "r"}}
	for _, n := range []int{10, 1_000, 100_000} {
		desired := drifttest.Services(n, 0)
		for _, changed := range []int{0, 1, 100} {
			b.Run(fmt.Sprintf("%d resources/%d%% changed", n, changed), func(b *testing.B) {
				live := drifttest.Services(n, changed)
				b.ReportAllocs()
				for b.Loop() {
					if got := drift.Compare(desired, live, ignores, now); len(got) != (n*changed+99)/100 {
						b.Fatal(len(got))
					}
				}
			})
		}
	}
}

// What most looks find is that nothing differs, and that must cost nothing but
// the looking.
func TestComparingWhatIsEqualAllocatesNothingPerResource(t *testing.T) {
	few, many := allocs(t, 10), allocs(t, 1_000)
	if few != many {
		t.Errorf("%v allocations for 10 resources, %v for 1,000", few, many)
	}
}

func allocs(t *testing.T, n int) float64 {
	t.Helper()
	desired, live := drifttest.Services(n, 0), drifttest.Services(n, 0)
	return testing.AllocsPerRun(5, func() {
		if got := drift.Compare(desired, live, nil, now); len(got) != 0 {
			t.Fatal(lines(got))
		}
	})
}
