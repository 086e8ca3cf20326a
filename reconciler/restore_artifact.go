package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/safe"
)

// FromBackup is where RestoreArtifact looks unless it is told otherwise: the
// backup that stella.yaml names.
const FromBackup = "backup"

// restorer is Artifacts that can put back what a registry lost.
type restorer interface {
	RestoreTag(ctx context.Context, a stella.Artifact, from string, force bool) (artifact.Restored, error)
}

// RestoreArtifact puts an image back into the registry that lost it, under its
// tag, from the backup or another place ("registry/prefix" or "oci:/path"). An
// image that is named by its tag alone is the one that deployments had under it. A
// tag that names something else is moved only with force.
//
// The class is stella.ErrInvalid where no place is known, stella.ErrNotFound
// where no deployment had such an image, stella.ErrConflict where several had,
// and else as of [artifact.Client.RestoreTag].
func (e *Engine) RestoreArtifact(ctx context.Context, a stella.Artifact, from string, force bool) (artifact.Restored, error) {
	none := artifact.Restored{Image: a}
	h, refs, err := e.names(ctx, e.fetchOrSeen)
	if err != nil {
		return none, err
	}
	if from == "" || from == FromBackup {
		if from = h.project.Backup; from == "" {
			err := fmt.Errorf("%w: stella.yaml names no backup", stella.ErrInvalid)
			return none, stella.WithHint(err, "say where there is a copy, such as --from oci:/mnt/images, or set registry.backup in stella.yaml")
		}
	}
	if a.Digest == "" {
		if a.Digest, err = deployedAs(a, e.usedBy(ctx, h, refs, a)); err != nil {
			return none, err
		}
	}
	r, ok := e.cfg.Artifacts(h.project).(restorer)
	if !ok {
		return none, fmt.Errorf("restore %s: %w", a, stella.ErrUnsupported)
	}
	return r.RestoreTag(ctx, a, from, force)
}

// deployedAs is the digest that deployments had under a tag.
func deployedAs(a stella.Artifact, u Uses) (stella.Digest, error) {
	var all []string
	for _, use := range u.Uses {
		if was, err := stella.ParseArtifact(use.Image); err == nil && was.Digest != "" && !slices.Contains(all, string(was.Digest)) {
			all = append(all, string(was.Digest))
		}
	}
	name := safe.Clip(a.String(), 120)
	switch len(all) {
	case 0:
		err := fmt.Errorf("%w: no deployment had %s", stella.ErrNotFound, name)
		return "", stella.WithHint(err, "name its digest too: 'stella registry retention show' lists what environments need")
	case 1:
		return stella.Digest(all[0]), nil
	}
	err := fmt.Errorf("%w: deployments had several images under %s", stella.ErrConflict, name)
	return "", stella.WithHint(err, "name one with its digest: "+strings.Join(all, ", "))
}
