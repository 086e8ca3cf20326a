package reconciler

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
)

// newHold remembers the change from good to bad. What is held is the change,
// not the commit: the app's tree, and the rendered resources in which the two
// differ. A candidate that brings all of those back is the same change.
func newHold(bad *source, deployment string, good *configrepo.Desired, by, reason string, at time.Time) *stella.Hold {
	h := stella.Hold{
		ID: "hold-" + nonce(), Environment: bad.name, Tree: string(bad.app), Resources: differing(bad.desired, good),
		Deployment: deployment, Since: at.UTC(), By: by, Reason: reason,
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

// fingerprints names the resources of all targets by what they are.
func fingerprints(d *configrepo.Desired) []string { return fingerprintsOf(d, byContent) }

func fingerprintsOf(d *configrepo.Desired, form func(stella.Resource) stella.Resource) []string {
	var out []string
	if d == nil {
		return out
	}
	for _, t := range d.Targets {
		for _, r := range t.State.Resources {
			digest, err := drift.Digest(stella.State{Resources: []stella.Resource{form(r)}})
			if err != nil {
				panic("reconciler: desired state is not canonical: " + err.Error()) // rendering made it so
			}
			out = append(out, fmt.Sprintf("%s/%s@%s", t.Name, r.ID, digest))
		}
	}
	return out
}

// byContent is a resource with its image named by the digest alone: the same
// bytes under another tag, or from another registry, are the same change.
func byContent(r stella.Resource) stella.Resource {
	digest := imageDigest(r)
	if digest == "" {
		return r
	}
	r.Fields = maps.Clone(r.Fields)
	r.Fields["image"] = string(digest)
	return r
}

// asWritten is a resource as it is: what older holds name.
func asWritten(r stella.Resource) stella.Resource { return r }

// heldBy returns the hold that forbids src, nil for none.
func heldBy(holds []stella.Hold, src *source) *stella.Hold {
	if on := holdsOn(holds, src); len(on) > 0 {
		return &on[0]
	}
	return nil
}

// holdsOn returns all holds that forbid src.
func holdsOn(holds []stella.Hold, src *source) []stella.Hold {
	if len(holds) == 0 {
		return nil
	}
	var out []stella.Hold
	have := append(fingerprints(src.desired), fingerprintsOf(src.desired, asWritten)...)
	for _, h := range holds {
		if h.Tree == string(src.app) || bringsBack(src.desired, have, h.Resources) {
			out = append(out, h)
		}
	}
	return out
}

// bringsBack reports whether a candidate has all that is held, on those of the
// targets that are still there. Where none of them is, they have other names now,
// and it counts wherever it is.
func bringsBack(d *configrepo.Desired, have, held []string) bool {
	if d == nil || len(held) == 0 {
		return false
	}
	there := slices.DeleteFunc(slices.Clone(held), func(h string) bool {
		target, _, _ := strings.Cut(h, "/")
		_, ok := d.Target(target)
		return !ok
	})
	if len(there) > 0 {
		return containsAll(have, there)
	}
	return containsAll(anywhere(have), anywhere(held))
}

// anywhere are fingerprints without their targets.
func anywhere(fingerprints []string) []string {
	out := make([]string, len(fingerprints))
	for i, f := range fingerprints {
		_, out[i], _ = strings.Cut(f, "/")
	}
	return out
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
