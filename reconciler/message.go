package reconciler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/internal/safe"
)

// revertMessage words a rollback's commit as git does a revert's, so that
// people and tools that look for reverts find it. What else an undone commit
// changed is not taken back: it is named with the environment's path then. The
// subject is that of the newest one that still was in effect: a revert of a
// revert of a revert tells nobody what is gone. A reset is called one: what it
// undoes may be long.
func revertMessage(env stella.EnvName, good stella.Deployment, why intent, undone []git.Commit, beside map[git.ID]bool) string {
	var b strings.Builder
	subject := fmt.Sprintf("Bring %s back to %s", env, titled(good))
	if why.kind == stella.KindReset {
		subject = fmt.Sprintf("Reset %s to its baseline, %s", env, titled(good))
	}
	gone := cancelled(undone)
	for _, c := range undone {
		if why.kind != stella.KindReset && !slices.Contains(gone, c.ID) {
			subject = revertOf(c)
			break
		}
	}
	fmt.Fprintf(&b, "%s\n\n", subject)
	for _, c := range undone {
		where := ""
		if beside[c.ID] {
			where = fmt.Sprintf(" in envs/%s", env)
		}
		fmt.Fprintf(&b, "This reverts commit %s%s.\n", c.ID, where)
	}
	if len(undone) > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "Stella-Environment: %s\n%s %s\n", env, restoresTrailer, good.ID)
	if why.reason != "" {
		fmt.Fprintf(&b, "Stella-Reason: %s\n", safe.Clip(why.reason, maxReasonRunes))
	}
	if why.opts.Incident != "" {
		fmt.Fprintf(&b, "Stella-Incident: %s\n", safe.Clip(why.opts.Incident, maxReasonRunes))
	}
	return b.String()
}

// restoresTrailer names the deployment that a commit brings back.
const restoresTrailer = "Stella-Restores:"

// partMessage words the commit of going back with a part. It reverts no commit,
// and so does not say so.
func partMessage(p *part, ways []way, why intent) string {
	var b strings.Builder
	var what []string
	groups := p.groups(ways)
	for _, o := range groups {
		d := comesFrom(ways, o.From)
		words := strings.Join(sortedKeys(o.Components), ", ")
		if len(o.Targets) > 0 {
			words += " on " + strings.Join(o.Targets, ", ")
		}
		what = append(what, words+" to "+titled(d))
	}
	fmt.Fprintf(&b, "Roll back %s\n\n", safe.Clip(strings.Join(what, ", "), maxPartRunes))
	for _, o := range groups {
		for _, name := range sortedKeys(o.Components) {
			fmt.Fprintf(&b, "%s on %s: %s\n", name, onTargets(o.Targets), o.Components[name])
		}
	}
	fmt.Fprintf(&b, "\nThe rest of %s stays as it is.\n", p.scene.name)
	fmt.Fprintf(&b, "\nStella-Environment: %s\nStella-Restores: %s\n", p.scene.name, why.restores)
	if why.reason != "" {
		fmt.Fprintf(&b, "Stella-Reason: %s\n", safe.Clip(why.reason, maxReasonRunes))
	}
	if why.opts.Incident != "" {
		fmt.Fprintf(&b, "Stella-Incident: %s\n", safe.Clip(why.opts.Incident, maxReasonRunes))
	}
	return b.String()
}

// deployMessage words the commit of a deploy.
func deployMessage(env stella.EnvName, components map[string]stella.Artifact, version string, opts Options) string {
	var b strings.Builder
	what := make([]string, 0, len(components))
	for _, name := range sortedKeys(components) {
		what = append(what, name+" "+shortImage(components[name].String()))
	}
	if version != "" {
		fmt.Fprintf(&b, "Deploy %s to %s\n\n", version, env)
	} else {
		fmt.Fprintf(&b, "Deploy %s to %s\n\n", safe.Clip(strings.Join(what, ", "), maxSubjectRunes), env)
	}
	for _, name := range sortedKeys(components) {
		fmt.Fprintf(&b, "%s: %s\n", name, components[name])
	}
	fmt.Fprintf(&b, "\nStella-Environment: %s\n", env)
	if opts.Reason != "" {
		fmt.Fprintf(&b, "Stella-Reason: %s\n", safe.Clip(opts.Reason, maxReasonRunes))
	}
	return b.String()
}

const (
	maxSubjectRunes = 60
	maxPartRunes    = 120
	maxReasonRunes  = 500
)

// revertOf is the first line of a commit's revert, as git words it: what is
// quoted is not escaped.
func revertOf(c git.Commit) string { return `Revert "` + subjectOf(c) + `"` }

// subjectOf is the first line of a commit's message, fit for another message.
func subjectOf(c git.Commit) string {
	line, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	return safe.Clip(line, 120)
}
