package cli

import (
	"errors"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

func TestAnErrorOfSeveralLinesIsOneLineOfTheAccount(t *testing.T) {
	const several = "prepare web-1: no space left\nnothing was touched"
	d := stella.Deployment{Environment: "shop", ID: "shop-1", Status: stella.Errored, DurationSeconds: 1, Error: several}
	if got, want := endedLine(d), "shop: shop-1 errored … 1.0s: prepare web-1: no space left; nothing was touched"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s := stella.Step{Name: stella.StepPrepare, Target: "web-1", Status: stella.StepFailed, DurationSeconds: 1, Error: several}
	if got, want := stepLine(s), "prepare web-1 failed … 1.0s: prepare web-1: no space left; nothing was touched"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	act := reconciler.ActionDone{Environment: "shop", Target: "web-1", Err: errors.New(several), Action: stella.Action{Op: stella.OpCreate, Resource: stella.Resource{ID: "service/web"}}}
	if got, _ := actionLine(act); got != "shop: web-1 create service/web failed: prepare web-1: no space left; nothing was touched" {
		t.Errorf("got %q", got)
	}
	if got := text(several).Text; got != "prepare web-1: no space left; nothing was touched" {
		t.Errorf("a cell is %q", got)
	}
}
