package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/reconciler"
)

// Artifact tells of an image for two platforms, with an attestation and a
// signature. With agreesNot a layer is gone and another one damaged; with away
// the registry refuses.
func (f *fakeEngine) Artifact(_ context.Context, a stella.Artifact, depth artifact.Depth) (reconciler.ArtifactReport, error) {
	of := func(digit string) stella.Digest { return stella.Digest("sha256:" + strings.Repeat(digit, 64)) }
	r := reconciler.ArtifactReport{Depth: depth, Inspection: artifact.Inspection{
		Artifact: a, Platforms: []string{}, Labels: map[string]string{}, Images: []artifact.PlatformImage{},
		Attestations: []artifact.Attached{}, Referrers: []artifact.Attached{}, Missing: []artifact.Missing{},
	}}
	r.Unread = []reconciler.Unread{}
	r.UsedBy = []reconciler.Use{
		{Environment: "production", How: reconciler.UsedByDeployment, Component: "api", Deployment: "production-2", Status: stella.Succeeded, Current: true, Image: newImage},
		{Environment: "production", How: reconciler.UsedByBranch, Component: "api", Image: newImage},
	}
	if f.away != "" {
		err := fmt.Errorf("check %s: %w: %s", a, stella.ErrDenied, f.away)
		r.Verdict, r.Missing = artifact.VerdictUnknown, append(r.Missing, artifact.Missing{Digest: a.Digest, Kind: "manifest", State: "unknown", Error: err.Error()})
		return r, stella.WithHint(err, "run 'docker login registry.example.com'")
	}
	r.MediaType, r.SizeBytes, r.Platforms = "application/vnd.oci.image.index.v1+json", 73<<20, []string{"linux/amd64", "linux/arm64"}
	r.Created, r.Labels = noon().Add(-48*time.Hour), map[string]string{"org.opencontainers.image.version": "2.4.0"}
	r.Images = []artifact.PlatformImage{
		{Platform: "linux/amd64", Digest: of("a"), SizeBytes: 37 << 20, Layers: 2, Created: r.Created, Needed: true},
		{Platform: "linux/arm64", Digest: of("b"), SizeBytes: 36 << 20, Layers: 2},
	}
	r.Attestations = []artifact.Attached{{Digest: of("c"), Type: "attestation-manifest", SizeBytes: 840, Subject: of("a")}}
	r.Referrers = []artifact.Attached{{Digest: of("d"), Type: "application/vnd.dev.cosign.artifact.sig.v1+json", SizeBytes: 1210, Subject: a.Digest}}
	if depth > artifact.Described {
		r.Verdict = artifact.VerdictAvailable
	}
	if f.agreesNot {
		err := fmt.Errorf("check %s: layer eeeeeeeeeeee: %w: status 404 Not Found", a, stella.ErrNotFound)
		r.Verdict = artifact.VerdictMissing
		r.Missing = append(r.Missing,
			artifact.Missing{Digest: of("e"), Kind: "layer", State: "missing", Error: "layer eeeeeeeeeeee: not found: status 404 Not Found"},
			artifact.Missing{Digest: of("f"), Kind: "layer", State: "damaged", Error: fmt.Sprintf("its bytes have digest %s, not %s", of("1"), of("f"))})
		return r, fmt.Errorf("%w; and 1 more", err)
	}
	return r, f.err
}

// TestArtifactsGetEndsAsItFound: who may not look, or gets no answer, has not
// found that something is missing.
func TestArtifactsGetEndsAsItFound(t *testing.T) {
	for args, want := range map[string]int{
		"orch artifacts get":                                      exitUnknown,
		"orch artifacts get shop/api:1":                           exitUnknown,
		"orch artifacts get registry.example.com/api":             exitUnknown,
		"orch artifacts get registry.example.com/api:1 --deep":    exitUnknown,
		"orch artifacts get registry.example.com/api:1 --check x": exitUnknown,
	} {
		if got := (&documentCase{args: args, code: want}).run(t); got.stdout != "" || got.stderr == "" {
			t.Errorf("%s: %q, %q", args, got.stdout, got.stderr)
		}
	}
	for class, want := range map[error]int{stella.ErrRefused: exitUnknown, stella.ErrUnreachable: exitUnknown, stella.ErrDenied: exitUnknown} {
		r := reconciler.ArtifactReport{Inspection: artifact.Inspection{Verdict: artifact.VerdictUnknown}}
		if got := newApp(t.Context(), Process{}).exitCode(artifactVerdict(r, class)); got != want {
			t.Errorf("%v: exit code %d, want %d", class, got, want)
		}
	}
}
