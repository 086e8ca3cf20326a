//go:build !faults

package effect_test

import (
	"errors"
	"testing"

	"github.com/stella-ops/stella/internal/effect"
)

func TestDoCarriesOutTheEffectOnceAndReturnsItsError(t *testing.T) {
	t.Setenv("STELLA_FAULT", "fail:1") // means nothing here
	want := errors.New("no space left")
	for _, err := range []error{nil, want} {
		done := 0
		if got := effect.Do("write", "file", func() error { done++; return err }); !errors.Is(got, err) || done != 1 {
			t.Errorf("Do returned %v after %d times, want %v after one", got, done, err)
		}
	}
}
