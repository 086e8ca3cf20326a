package reconciler

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
)

// newHold remembers the change from good to bad. What is held is the change,
// not the commit: the app's tree, and the rendered resources in which the two
// differ. A candidate that brings all of those back is the same change.
func newHold(bad *source, deployment string, good *configrepo.Desired, by, reason string) *stella.Hold {
	h := stella.Hold{
		ID: "hold-" + nonce(), Environment: bad.name, Tree: string(bad.app), Resources: differing(bad.desired, good),
		Deployment: deployment, Since: time.Now().UTC(), By: by, Reason: reason,
	}
	if bad.release != nil {
		h.Release = bad.release.Release.Version
	}
	return &h
}

// differing lists the resources of bad that good does not have in the same
// form, as "target/resource@digest".
func differing(bad, good *configrepo.Desired) []string {
	known := fingerprints(good)
	out := []string{}
	for _, f := range fingerprints(bad) {
		if !slices.Contains(known, f) {
			out = append(out, f)
		}
	}
	return out
}

func fingerprints(d *configrepo.Desired) []string {
	var out []string
	if d == nil {
		return out
	}
	for _, t := range d.Targets {
		for _, r := range t.State.Resources {
			digest, err := drift.Digest(stella.State{Resources: []stella.Resource{r}})
			if err != nil {
				panic("reconciler: desired state is not canonical: " + err.Error()) // rendering made it so
			}
			out = append(out, fmt.Sprintf("%s/%s@%s", t.Name, r.ID, digest))
		}
	}
	return out
}

// heldBy returns the hold that forbids src, nil for none.
func heldBy(holds []stella.Hold, src *source) *stella.Hold {
	have := fingerprints(src.desired)
	for _, h := range holds {
		if h.Tree == string(src.app) || len(h.Resources) > 0 && containsAll(have, h.Resources) {
			return &h
		}
	}
	return nil
}

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
}

func holdReason(h stella.Hold) string {
	why := h.Reason
	if why == "" {
		why = "rolled back by " + h.Deployment
	}
	return fmt.Sprintf("release %s is held since %s: %s (%s)", h.Release, h.Since.UTC().Format(time.RFC3339), why, h.ID)
}

// nonce is random and names nothing: two locks or holds are never equal.
func nonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return hex.EncodeToString(b[:])
}
