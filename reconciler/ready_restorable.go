package reconciler

import (
	"context"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// Restorable counts the versions that an environment could go back to by where
// all their images are.
type Restorable struct {
	Wanted   int `json:"wanted"`   // retention.minVersions of stella.yaml, or as many as were ever verified
	Versions int `json:"versions"` // that are somewhere
	Registry int `json:"registry"`
	Backup   int `json:"backup"`
	Targets  int `json:"targets"` // on every target that answers
}

// count adds one version.
func (r *Restorable) count(ctx context.Context, s *survey, good stella.Deployment) {
	registry, backup, targets := true, s.artifacts.Backup() != "", true
	for _, name := range sortedKeys(good.Components) {
		a, err := stella.ParseArtifact(good.Components[name])
		if err != nil {
			return
		}
		_, err = s.artifacts.Check(ctx, a, artifact.Host())
		registry = registry && err == nil
		if backup {
			_, err = s.artifacts.CheckBackup(ctx, a, artifact.Host())
			backup = err == nil
		}
		targets = targets && s.kept(ctx, &image{artifact: a, copies: map[*site]int{}}, func(string) int { return 1 })
	}
	for n, is := range map[*int]bool{&r.Registry: registry, &r.Backup: backup, &r.Targets: targets, &r.Versions: registry || backup || targets} {
		if is {
			*n++
		}
	}
}

// warnings are what a person should know before a rollback is needed.
func (r *Restorable) warnings(backup string) []string {
	out := []string{}
	if r.Versions < r.Wanted {
		out = append(out, fmt.Sprintf("%d of %d versions can be had: a rollback further back is not possible", r.Versions, r.Wanted))
	}
	if r.Registry < r.Wanted && r.Backup > 0 {
		out = append(out, fmt.Sprintf("the registry has %d of %d versions, the backup %s has %d: 'stella rollback --restore-artifacts' copies back what is needed", r.Registry, r.Wanted, backup, r.Backup))
	}
	return out
}
