package cli

import (
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

func TestWhatIsOwedIsNamed(t *testing.T) {
	d := stella.Deployment{ID: "production-3", Status: stella.Partial, Targets: []stella.TargetResult{
		{Name: "web-1", Status: stella.TargetVerified}, {Name: "web-2", Status: stella.TargetOwed},
	}}
	if got := because(&d); got != "production-3 partial: web-2 could not be reached" {
		t.Errorf("%q", got)
	}
	if got := hintOfStatus("production", d); !strings.HasPrefix(got, "bring web-2 back, then run 'stella reconcile production'") {
		t.Errorf("%q", got)
	}
	d.Error = "verify web-1: unhealthy"
	if got := hintOfStatus("production", d); !strings.Contains(got, "stella rollback production") {
		t.Errorf("%q", got)
	}
}
