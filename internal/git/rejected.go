package git

import (
	"regexp"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/wire"
	"github.com/stella-ops/stella/internal/safe"
)

// rejected returns the ref that the remote did not move, with its reason.
func rejected(updates []Update, report *wire.Report) *RejectedError {
	e := &RejectedError{Ref: updates[0].Ref, Reason: "it does not say why"}
	if report.Unpack != "ok" {
		e.Reason = report.Unpack
		return e
	}
	for _, u := range updates {
		why := report.Refs[u.Ref]
		if why == "ok" || why == "" {
			continue
		}
		e.Ref, e.Reason = u.Ref, why
		// In an atomic push all the others are told that one of them failed.
		if !strings.Contains(why, "atomic") {
			return e
		}
	}
	return e
}

// isPolicy reports whether a reason is a rule's and not a race's. The words are
// git's receive-pack, GitHub's, GitLab's, Gitea's and Bitbucket's.
func isPolicy(reason string) bool {
	lower := strings.ToLower(reason)
	for _, part := range []string{
		"hook declined", "hidden ref", "protected", "prohibited", "declined", "denied", "not allowed", "violat",
		"currently checked out", "funny refname", "permission", "shallow update", "unpack",
	} {
		if strings.Contains(lower, part) {
			return true
		}
	}
	return false
}

// isContention reports whether somebody else's lock may have been in the way.
func isContention(reason string, report *wire.Report) bool {
	lower := strings.ToLower(reason)
	return report.Mentions("File exists") || strings.Contains(lower, "lock") || strings.Contains(lower, "failed to update ref")
}

var lockRE = regexp.MustCompile(`[^\s']+\.lock`)

// explainRejected adds what the remote printed, and what to do about it.
func explainRejected(e *RejectedError, report *wire.Report) error {
	said := report.Said
	hint := ""
	switch lower := strings.ToLower(e.Reason + " " + said); {
	case report.Mentions("File exists"):
		file := "the ref's .lock file"
		if f := lockRE.FindString(said); f != "" {
			file = safe.Clip(f, 200)
		}
		hint = "if no git is running on the server, remove " + file + " there: an earlier one left it behind"
	case strings.Contains(lower, "hidden ref"):
		hint = "allow the ref on the server (receive.hideRefs), or set another ledger prefix in stella.yaml"
	case strings.Contains(lower, "protected"), strings.Contains(lower, "pull request"), strings.Contains(lower, "rule violation"):
		hint = "push to another branch and open a pull request"
	}
	if said != "" && said != e.Reason {
		e.Reason += ": " + said
	}
	if hint == "" {
		return e
	}
	return stella.WithHint(e, hint)
}
