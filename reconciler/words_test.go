package reconciler

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

func TestWhoWaitsForALockIsToldWhichDeploymentHasIt(t *testing.T) {
	l := stella.Lock{Holder: "Ana", Purpose: "deploy 2.0.0", Deployment: "production-7"}
	if got, want := holding(l), "Ana, who holds the lock: production-7, deploy 2.0.0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	l.Deployment = ""
	if got, want := holding(l), "Ana, who holds the lock: deploy 2.0.0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnImageThatIsMissingIsARefusalThatNamesTheNextCommand(t *testing.T) {
	err := artifactError("production", fmt.Errorf("resolve shop/web:9: %w", stella.ErrNotFound))
	if !errors.Is(err, stella.ErrRefused) || !errors.Is(err, stella.ErrNotFound) {
		t.Errorf("got %v, want it to be of both classes", err)
	}
	if want := "'stella orch deployments list production -o wide'"; !strings.Contains(stella.Hint(err), want) {
		t.Errorf("the hint is %q, want it to name %s", stella.Hint(err), want)
	}
	away := fmt.Errorf("resolve shop/web:9: %w", stella.ErrUnreachable)
	if err := artifactError("production", away); errors.Is(err, stella.ErrRefused) {
		t.Errorf("got %v: a registry that is away refuses nothing", err)
	}
}
