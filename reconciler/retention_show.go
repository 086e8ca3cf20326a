package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
)

// RetentionView is what is protected, by what, and whether it is there.
type RetentionView struct {
	MinVersions  int                    `json:"minVersions"`
	Environments []RetentionEnvironment `json:"environments"`
}

// RetentionEnvironment is what one environment needs.
type RetentionEnvironment struct {
	Environment stella.EnvName  `json:"environment"`
	Protected   []RetentionItem `json:"protected"`
	// Unasked are the targets that did not answer: what they run is protected as
	// far as the ledger knows it.
	Unasked []string `json:"unasked"`
}

// RetentionItem is one image that is needed.
type RetentionItem struct {
	Component  string          `json:"component"`
	Image      stella.Artifact `json:"image"`
	Deployment string          `json:"deployment"`
	Why        []string        `json:"why"`
	Available  bool            `json:"available"` // its registry has it whole
	Error      string          `json:"error"`     // what is missing, or why nobody can tell; empty where it is available
	Unknown    bool            `json:"unknown"`   // nobody can tell whether it is there
}

// ShowRetention says what environments need and whether registries have it. No
// names mean all. Errors are as of Protected.
func (e *Engine) ShowRetention(ctx context.Context, envs ...stella.EnvName) (RetentionView, error) {
	all, err := e.keepings(ctx, envs, true)
	if err != nil {
		return RetentionView{}, err
	}
	v := RetentionView{Environments: []RetentionEnvironment{}}
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for _, k := range all {
		v.MinVersions = k.project.MinVersions
		store := e.cfg.Artifacts(k.project)
		env := RetentionEnvironment{Environment: k.env, Protected: []RetentionItem{}, Unasked: append([]string{}, k.unasked...)}
		for _, p := range k.protections() {
			env.Protected = append(env.Protected, RetentionItem{Component: p.Component, Image: p.Image, Deployment: p.Deployment, Why: p.Why})
		}
		for i := range env.Protected {
			g.Go(func() error {
				env.Protected[i].look(ctx, store)
				return nil
			})
		}
		v.Environments = append(v.Environments, env)
	}
	return v, g.Wait()
}

// look asks the registry for the whole image.
func (i *RetentionItem) look(ctx context.Context, store Artifacts) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("%w: no answer for %s", stella.ErrUnreachable, lookTimeout))
	defer cancel()
	_, err := store.Check(ctx, i.Image, artifact.Host())
	if i.Available = err == nil; err != nil {
		i.Error, i.Unknown = err.Error(), !errors.Is(err, stella.ErrNotFound)
	}
}

// RetentionSet is what became of a change of retention.minVersions.
type RetentionSet struct {
	MinVersions int    `json:"minVersions"`
	Was         int    `json:"was"`
	Commit      string `json:"commit"` // empty where it was so already
}

// SetRetention commits another retention.minVersions to stella.yaml and pushes.
// Nothing is protected or deleted by that.
func (e *Engine) SetRetention(ctx context.Context, n int, reason string) (RetentionSet, error) {
	for range maxRebases {
		h, err := e.fetch(ctx)
		if err != nil {
			return RetentionSet{}, err
		}
		set, built, err := e.retentionCommit(ctx, h, n, reason)
		if err != nil || built == nil {
			return set, err
		}
		err = e.cfg.Repo.Push(ctx, []git.Update{{Ref: h.ref, Old: h.commit, New: built.Commit}}, built)
		if errors.Is(err, stella.ErrConflict) {
			continue // somebody else was faster
		}
		if err != nil {
			return RetentionSet{}, fmt.Errorf("push to %s: %w", h.ref, err)
		}
		set.Commit = string(built.Commit)
		return set, nil
	}
	return RetentionSet{}, fmt.Errorf("set retention: somebody else was faster %d times: %w", maxRebases, stella.ErrConflict)
}

// retentionCommit makes the commit on a head; nil where nothing changes.
func (e *Engine) retentionCommit(ctx context.Context, h *head, n int, reason string) (RetentionSet, *git.Built, error) {
	set := RetentionSet{MinVersions: n, Was: h.project.MinVersions}
	if err := e.mayWrite(h.project); err != nil {
		return set, nil, err
	}
	old, err := h.tree.Read(ctx, configrepo.ProjectPath, configrepo.MaxFileBytes)
	if err != nil && !errors.Is(err, stella.ErrNotFound) {
		return set, nil, err
	}
	edited, err := configrepo.SetMinVersions(old, n)
	if err != nil || string(edited) == string(old) {
		return set, nil, err
	}
	message := fmt.Sprintf("Keep %d versions of each component restorable\n\n", n)
	if reason != "" {
		message += "Stella-Reason: " + firstLine(reason) + "\n"
	}
	sign := e.cfg.Identity
	sign.When = time.Now()
	built, err := e.cfg.Repo.Build(ctx, git.Draft{
		Parents: []git.ID{h.commit}, Base: h.commit, Edits: []git.Edit{{Path: configrepo.ProjectPath, Content: edited}},
		Author: sign, Committer: sign, Message: withTrailers(message, h.project.CommitTrailers),
	})
	if err != nil {
		return set, nil, fmt.Errorf("build commit: %w", err)
	}
	signed, err := e.cfg.Repo.Sign(ctx, built)
	if err != nil {
		return set, nil, fmt.Errorf("commit to %s: %w, nothing was changed", configrepo.ProjectPath, err)
	}
	return set, signed, nil
}
