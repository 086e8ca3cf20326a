package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// minCommitPrefix is the shortest abbreviation of a commit that is taken for
// one: git's own default.
const minCommitPrefix = 7

// Find returns the deployments that ref means, newest first: "production-42" or
// "deployment:production-42"; "version:2.3.0"; "commit:" and at least seven
// hexadecimal digits; or a version or commit without a prefix. By version or
// commit it finds verified deployments only, unless none was; of those with the
// same content just the newest, so that a heal makes nothing ambiguous. It is
// an error of class stella.ErrNotFound to find none, and of class
// stella.ErrInvalid to ask for none.
func (b Book) Find(ref string) ([]stella.Deployment, error) {
	kind, value, ok := strings.Cut(ref, ":")
	if !ok {
		kind, value = "", ref
	}
	match, err := matcher(kind, value)
	if err != nil {
		return nil, fmt.Errorf("find %q: %w", safe.Clip(ref, 100), err)
	}
	if d, ok := b.Deployment(value); ok && (kind == "" || kind == "deployment") {
		return []stella.Deployment{d}, nil
	}
	found := distinct(b.Deployments, match)
	if len(found) == 0 {
		err := refuse(stella.ErrNotFound, "deployment %q of %s", safe.Clip(ref, 100), b.State.Environment)
		return nil, stella.WithHint(err, fmt.Sprintf("run 'stella orch deployments list %s'", b.State.Environment))
	}
	return found, nil
}

func matcher(kind, value string) (func(stella.Deployment) bool, error) {
	byVersion := func(d stella.Deployment) bool { return d.Release == value }
	byCommit := func(d stella.Deployment) bool { return strings.HasPrefix(d.Commit, value) }
	if value == "" {
		return nil, refuse(stella.ErrInvalid, "want a deployment, version or commit")
	}
	abbreviated := len(value) >= minCommitPrefix && strings.Trim(value, "0123456789abcdef") == ""
	switch kind {
	case "deployment":
		return func(stella.Deployment) bool { return false }, nil
	case "version":
		return byVersion, nil
	case "commit":
		if !abbreviated {
			return nil, refuse(stella.ErrInvalid, "want at least %d lower-case hexadecimal digits of a commit", minCommitPrefix)
		}
		return byCommit, nil
	case "":
		return func(d stella.Deployment) bool { return byVersion(d) || abbreviated && byCommit(d) }, nil
	default:
		return nil, refuse(stella.ErrInvalid, "%q is not deployment, version or commit", safe.Clip(kind, 40))
	}
}

// distinct returns what matches, newest first and once for each content.
func distinct(all []stella.Deployment, match func(stella.Deployment) bool) []stella.Deployment {
	type content struct{ tree, release string }
	var verified, other []stella.Deployment
	seen := map[content]bool{}
	for _, d := range slices.Backward(all) {
		switch {
		case !match(d):
		case d.Status != stella.Succeeded:
			other = append(other, d)
		case d.Tree == "" || !seen[content{d.Tree, d.Release}]:
			seen[content{d.Tree, d.Release}] = true
			verified = append(verified, d)
		}
	}
	if len(verified) > 0 {
		return verified
	}
	return other
}
