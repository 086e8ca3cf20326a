package drifttest_test

import (
	"testing"
	"time"

	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/drift/drifttest"
)

func TestServicesDifferAsTold(t *testing.T) {
	for changed, want := range map[int]int{0: 0, 1: 3, 100: 250} {
		got := drift.Compare(drifttest.Services(250, 0), drifttest.Services(250, changed), nil, time.Time{})
		if len(got) != want {
			t.Errorf("%d of a hundred: %d differences, want %d", changed, len(got), want)
		}
	}
	paths := map[string]bool{}
	for _, c := range drift.Compare(drifttest.Services(250, 0), drifttest.Services(250, 1), nil, time.Time{}) {
		paths[c.Path] = true
	}
	if len(paths) != 3 {
		t.Errorf("the changed ones differ in %v, want their image, command and environment", paths)
	}
}
