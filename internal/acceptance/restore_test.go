package acceptance_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stella-ops/stella"
)

// TestARollbackNamesTheCommandThatBringsItsImageBack plays the runbook's scene:
// registry and target lost the release before, the rollback says what to run, that
// is run, and the rollback is verified.
func TestARollbackNamesTheCommandThatBringsItsImageBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	w.must("reconcile", production)
	for _, version := range []string{"2.0.0", "3.0.0"} {
		w.must("deploy", production, "--artifact", w.pushed(version))
	}
	lost := w.push("web", "2.0.0")
	dir := w.copied("2.0.0")
	w.lose(lost)

	ask := "stella registry restore --artifact " + lost.String() + " --from PLACE"
	if no := w.stella("rollback", production); no.code != 5 || !strings.Contains(no.stderr, ask) {
		t.Fatalf("want exit code 5 and %q: %s", ask, no)
	}
	from := []string{"registry", "restore", "--artifact", lost.String(), "--from", "oci:" + dir}
	w.must(from...)
	var again struct{ Copied, Tagged bool }
	if err := json.Unmarshal([]byte(w.must(append(from, "-o", "json")...).stdout), &again); err != nil || again.Copied || again.Tagged {
		t.Errorf("restored once more: %+v, %v", again, err)
	}
	w.must("rollback", production, "--reason", "it is back")
	w.agreed("2.0.0")

	// Its tag alone names it too, unless that names something else by now.
	tag, err := name.NewTag(lost.Registry+"/"+lost.Repository+":"+lost.Tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	other, err := tiny{}.image(w, "9.9.9").build()
	if err == nil {
		err = remote.Write(tag, other, remote.WithContext(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	bare := lost
	bare.Digest = ""
	moved := []string{"registry", "restore", "--artifact", bare.String(), "--from", "oci:" + dir}
	if no := w.stella(moved...); no.code != 5 || !strings.Contains(no.stderr, "--force") {
		t.Errorf("want exit code 5 for a tag that names something else: %s", no)
	}
	w.must(append(moved, "--force")...)
	if now, err := remote.Head(tag, remote.WithContext(t.Context())); err != nil || stella.Digest(now.Digest.String()) != lost.Digest {
		t.Errorf("the tag names %v, %v", now, err)
	}
}
