package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// Standing is how what is wanted stands to what was deployed: what Git and the
// ledger say beside the targets. A comparison of live state alone would be
// silent where a commit changes nothing that runs, or where what runs was never
// verified.
type Standing struct {
	Sync   stella.Sync `json:"sync"`   // of the environment, as status says
	Reason string      `json:"reason"` // why sync is what it is
	// OutOfSync: what it is compared with is not what was deployed and verified,
	// whatever runs.
	OutOfSync bool `json:"outOfSync"`
	// Deployment is the last one that was verified, which Files are compared with;
	// empty where there is none.
	Deployment string       `json:"deployment"`
	Files      []FileChange `json:"files"` // that differ from its files, as it would change them
}

// stands says how want stands to the last deployment that was verified. With now
// it is about what is wanted now, whatever live state had to be compared with. It
// goes by the same rules as status and a pass, so that they never contradict
// each other.
func (e *Engine) stands(ctx context.Context, sc *scene, want *source, now bool) (Standing, error) {
	st := e.statusOf(sc)
	s := Standing{Sync: st.Sync, Reason: st.Reason, Files: []FileChange{}}
	good, known := sc.book.LastGood()
	if known {
		s.Deployment = good.ID
	}
	to := want
	switch {
	case now:
		sync := sc.decide(false, false).sync
		s.OutOfSync = sync != stella.Synced && sync != stella.Pinned
		to = sc.branch // a pin keeps what the branch would change
	default:
		s.OutOfSync = !known || good.Tree != string(want.app) || good.Desired != want.desired.Digest
	}
	if !known || !s.OutOfSync && sc.pinned() == nil {
		return s, nil
	}
	var err error
	s.Files, err = e.filesSince(ctx, good, to)
	return s, err
}

// filesSince lists the files of a source that are not as they were when a
// deployment was carried out, with how their text changes: those of its app, of
// its shared directories and, where it wants something else, environment.yaml.
func (e *Engine) filesSince(ctx context.Context, was stella.Deployment, to *source) ([]FileChange, error) {
	app := appPath(to)
	files, err := e.filesIn(ctx, app, was.Tree, to)
	if err != nil {
		return nil, err
	}
	for _, dir := range sortedKeys(to.shared) {
		if was.Shared[dir] == to.shared[dir] {
			continue
		}
		more, err := e.filesIn(ctx, dir, was.Shared[dir], to)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	more, err := e.environmentSince(ctx, was, to)
	return append(files, more...), err
}

// filesIn lists the files of a directory that differ from those of a tree; an
// empty one has none.
func (e *Engine) filesIn(ctx context.Context, dir, tree string, to *source) ([]FileChange, error) {
	if tree == "" {
		return []FileChange{}, nil // nobody recorded what was there
	}
	was, err := e.cfg.Repo.Tree(ctx, git.ID(tree))
	if err != nil {
		return nil, fmt.Errorf("read %s as it was deployed: %w", dir, err)
	}
	from := GitTree{}.with(dir, was)
	files, err := changedFiles(ctx, from, to.tree, dir)
	if err != nil {
		return nil, err
	}
	return files, describeFiles(ctx, from, to.tree, files)
}

// environmentSince is environment.yaml, where it differs from that of the commit
// that was deployed and may be why something else is wanted. A commit that is
// gone has none to compare with.
func (e *Engine) environmentSince(ctx context.Context, was stella.Deployment, to *source) ([]FileChange, error) {
	if to.desired != nil && to.desired.Digest == was.Desired || was.Commit == "" {
		return nil, nil
	}
	t, err := e.cfg.Repo.Tree(ctx, git.ID(was.Commit))
	if errors.Is(err, stella.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read commit %.12s: %w", was.Commit, err)
	}
	path := configrepo.EnvironmentPath(to.project, to.name)
	before, err := idAt(ctx, TreeOf(t), path)
	if err != nil {
		return nil, err
	}
	after, err := idAt(ctx, to.tree, path)
	if err != nil || before == after || before == "" {
		return nil, err
	}
	files := []FileChange{{Path: path, Op: "modify"}}
	return files, describeFiles(ctx, TreeOf(t), to.tree, slices.Clip(files))
}

// lastSeen says that the config repository did not answer, so that nobody can
// tell what is wanted now; empty where it did.
func (h *head) lastSeen() string {
	if h.unfetched == nil {
		return ""
	}
	return fmt.Sprintf("%s; this goes by what was seen at %s", firstLine(h.unfetched.Error()), h.at.UTC().Format(time.RFC3339))
}
