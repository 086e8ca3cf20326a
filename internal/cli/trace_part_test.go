package cli

import (
	"slices"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
)

// After a rollback of a part the release is not what runs everywhere.
func TestATraceNamesTheTargetsThatRunSomethingElse(t *testing.T) {
	m := reconciler.Moved{Component: "api", To: newImage}
	want, err := stella.ParseArtifact(newImage)
	if err != nil {
		t.Fatal(err)
	}
	old, err := stella.ParseArtifact(oldImage)
	if err != nil {
		t.Fatal(err)
	}
	got := exceptions(m, []stella.TargetResult{
		{Name: "web-1", After: map[string]string{"api": string(old.Digest)}},
		{Name: "web-2", After: map[string]string{"api": string(want.Digest)}},
		{Name: "web-3"},
	})
	if !slices.Equal(got, []string{old.Digest.Short() + " on web-1"}) {
		t.Errorf("%q", got)
	}
}

func TestAHoldOnAPartNamesIt(t *testing.T) {
	h := stella.Hold{Release: "1.3.0", Resources: []string{"web-1/service/api@sha256:11"}}
	if got := heldWords(h); got != "release 1.3.0 in web-1/service/api" {
		t.Errorf("%q", got)
	}
	h.Resources = append(h.Resources, "web-2/service/api@sha256:11")
	if got := heldWords(h); got != "release 1.3.0" {
		t.Errorf("%q", got)
	}
}
