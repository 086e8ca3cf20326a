package docker

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// BenchmarkPass is a look at a target of a hundred services of which nothing has
// changed: it is observed and compared. cpu-ms/op is what this process takes, as
// user and in the kernel.
func BenchmarkPass(b *testing.B) {
	const services = 100
	s := newScene(b)
	want := stella.State{}
	for i := range services {
		want.Resources = append(want.Resources, s.service(b, fmt.Sprintf("web%03d", i), "1", asJSON{
			"network_mode": "none", "environment": asJSON{"A": "1", "B": "2"}, "labels": asJSON{"team": "shop"}, "mem_limit": float64(64 << 20),
		}))
	}
	s.deploy(b, 1, want.Resources...)
	b.ResetTimer()
	before := cpuTime(b)
	for b.Loop() {
		live, err := s.Observe(b.Context())
		must(b, err)
		if changes := drift.Compare(want, live, nil, time.Now()); len(changes) > 0 {
			b.Fatal(changes)
		}
	}
	spent := cpuTime(b) - before
	b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
