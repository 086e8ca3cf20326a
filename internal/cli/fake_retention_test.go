package cli

import (
	"context"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/reconciler"
)

// ShowRetention: the old image is there, the new one is lost, a third can not be
// asked for where the registry is away.
func (f *fakeEngine) ShowRetention(_ context.Context, envs ...stella.EnvName) (reconciler.RetentionView, error) {
	a, err := stella.ParseArtifact(oldImage)
	if f.err != nil || err != nil {
		return reconciler.RetentionView{}, f.err
	}
	item := reconciler.RetentionItem{Component: "api", Image: a, Deployment: "production-1", Why: []string{"in effect", "on web-1"}, Available: f.away == "", Error: f.away}
	if f.away == "unreachable" {
		item.Unknown = true
	}
	env := reconciler.RetentionEnvironment{Environment: "production", Protected: []reconciler.RetentionItem{item}, Unasked: []string{}}
	return reconciler.RetentionView{MinVersions: 5, Environments: []reconciler.RetentionEnvironment{env}}, nil
}

func (f *fakeEngine) SetRetention(_ context.Context, n int, _ string) (reconciler.RetentionSet, error) {
	return reconciler.RetentionSet{MinVersions: n, Was: 5, Commit: tree2}, f.err
}

func (f *fakeEngine) RestoreArtifact(_ context.Context, a stella.Artifact, from string, force bool) (artifact.Restored, error) {
	return artifact.Restored{Image: a, From: from, Copied: true, Tagged: force}, f.err
}

func (f *fakeEngine) Retain(_ context.Context, req reconciler.RetentionRequest) (reconciler.RetentionReport, error) {
	a, err := stella.ParseArtifact(oldImage)
	if f.err != nil || err != nil {
		return reconciler.RetentionReport{}, f.err
	}
	r := reconciler.RetentionReport{DryRun: req.DryRun, Missing: []reconciler.RetentionMissing{}, RetentionPlan: reconciler.RetentionPlan{
		Hash: planHash, Released: []reconciler.RetentionTag{}, Deleted: []reconciler.RetentionDelete{}, Kept: []reconciler.RetentionKept{},
		Protected: []reconciler.RetentionTag{{Image: a, Tag: "stella-keep-production-" + a.Digest.Hex()[:12] + ".0a0b0c0d"}},
	}}
	if req.Prune {
		r.Deleted = append(r.Deleted, reconciler.RetentionDelete{Image: a, Tags: []string{"1.0"}, Created: noon()})
		r.Kept = append(r.Kept, reconciler.RetentionKept{Image: oldImage, Why: "of unknown age"})
	}
	if !req.DryRun {
		r.Done = len(r.Protected) + len(r.Deleted)
	}
	return r, nil
}
