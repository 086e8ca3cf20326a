package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

// retainer keeps artifacts where rollbacks need them.
type retainer interface {
	ShowRetention(ctx context.Context, envs ...stella.EnvName) (reconciler.RetentionView, error)
	SetRetention(ctx context.Context, minVersions int, reason string) (reconciler.RetentionSet, error)
	Retain(ctx context.Context, req reconciler.RetentionRequest) (reconciler.RetentionReport, error)
	RestoreArtifact(ctx context.Context, a stella.Artifact, from string, force bool) (artifact.Restored, error)
}

func newRegistryRetentionCmd(a *App) *cobra.Command {
	return group("retention", "What stays in registries for rollbacks: show, set, apply",
		newRetentionShowCmd(a), newRetentionSetCmd(a), newRetentionApplyCmd(a))
}

type retentionShowOptions struct {
	app *App
	environmentFlag
}

func newRetentionShowCmd(a *App) *cobra.Command {
	o := &retentionShowOptions{app: a}
	cmd := &cobra.Command{
		Use:   "show [ENV]",
		Short: "List what is protected, by what, and whether it is there",
		Long: "List the images that each environment needs to go back or to be repaired: what runs, what the branch asks\n" +
			"for, the ways back, the last verified versions of each component, the baseline, what a pin, an override or an\n" +
			"open deployment wants, and what the targets say that they have. Each is looked for in its registry.",
		Example: "  stella registry retention show production\n  stella registry retention show -o json",
		Args:    atMostOne,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.add(cmd)
	a.completeEnvironments(cmd)
	return exits(cmd, exitsOfQuestion())
}

func (o *retentionShowOptions) run(cmd *cobra.Command, args []string) error {
	env, err := o.take(o.app, cmd, args)
	if err != nil {
		return err
	}
	var envs []stella.EnvName
	if env != "" {
		envs = append(envs, env)
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	v, err := eng.ShowRetention(cmd.Context(), envs...)
	if err != nil {
		return err
	}
	if err := o.app.print(retentionView(v)); err != nil {
		return err
	}
	return retentionAnswer(v)
}

// retentionAnswer is no where a protected image is missing, and neither yes nor
// no where nobody could tell.
func retentionAnswer(v reconciler.RetentionView) error {
	var lost, unknown *reconciler.RetentionItem
	for _, env := range v.Environments {
		for i := range env.Protected {
			switch p := &env.Protected[i]; {
			case p.Unknown && unknown == nil:
				unknown = p
			case !p.Available && !p.Unknown && lost == nil:
				lost = p
			}
		}
	}
	switch {
	case unknown != nil:
		return stella.WithHint(&severalError{code: exitUnknown, what: fmt.Sprintf("%s: could not tell: %s", unknown.Image, unknown.Error)},
			fmt.Sprintf("run 'curl -sSI https://%s/v2/' to see why it does not answer", unknown.Image.Registry))
	case lost != nil:
		return answer(false, fmt.Sprintf("run 'stella registry restore --artifact %s --from PLACE' where there is a copy, or push it again", lost.Image))
	}
	return nil
}

func retentionView(v reconciler.RetentionView) view {
	l := &list{columns: columns("ENVIRONMENT", "COMPONENT", "IMAGE", "DEPLOYMENT", "THERE", "~WHY", "+ERROR")}
	var names []string
	for _, env := range v.Environments {
		for _, p := range env.Protected {
			names = append(names, p.Image.String())
			l.add(text(string(env.Environment)), text(p.Component), text(shortImage(p.Image)), text(p.Deployment), there(p), text(strings.Join(p.Why, "; ")), text(p.Error))
		}
	}
	return view{
		doc: struct {
			SchemaVersion int `json:"schemaVersion"`
			reconciler.RetentionView
		}{1, v},
		names: names, list: l,
	}
}

// shortImage names an image as people do, and by the digest that decides.
func shortImage(a stella.Artifact) string {
	name := a.Repository
	if a.Tag != "" {
		name += ":" + a.Tag
	}
	return name + "@" + a.Digest.Short()
}

func there(p reconciler.RetentionItem) term.Cell {
	if p.Unknown {
		return styled(term.Warn, "unknown")
	}
	return yesNo(p.Available)
}

type retentionSetOptions struct {
	app         *App
	minVersions int
	reason      string
}

func newRetentionSetCmd(a *App) *cobra.Command {
	o := &retentionSetOptions{app: a}
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Commit how many versions of each component stay restorable",
		Long: "Change retention.minVersions in stella.yaml, as a commit that changes nothing else, and push it. At least one\n" +
			"version is kept besides the one in effect: that is what a rollback goes back to.",
		Example: "  stella registry retention set --min-versions 8 --reason \"audits look back two months\"",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			eng, err := o.app.engine(cmd.Context())
			if err != nil {
				return err
			}
			set, err := eng.SetRetention(cmd.Context(), o.minVersions, o.reason)
			if err != nil {
				return err
			}
			return o.app.print(view{
				doc: struct {
					SchemaVersion int `json:"schemaVersion"`
					reconciler.RetentionSet
				}{1, set},
				page: func(p *page) {
					if set.Commit == "" {
						p.line(term.Plain, "%d versions are kept already", set.MinVersions)
						return
					}
					p.line(term.Good, "%d versions of each component are kept, not %d: commit %.12s", set.MinVersions, set.Was, set.Commit)
				},
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.minVersions, "min-versions", 0, "keep so many `versions` of each component besides the one in effect")
	f.StringVar(&o.reason, "reason", "", "`why`, for the commit")
	if err := cmd.MarkFlagRequired("min-versions"); err != nil {
		panic(err) // the flag is two lines above
	}
	return exits(cmd, exitsOfReading())
}

type retentionApplyOptions struct {
	app       *App
	dryRun    bool
	prune     bool
	olderThan string
	limit     int
	planHash  string
}

func newRetentionApplyCmd(a *App) *cobra.Command {
	o := &retentionApplyOptions{app: a}
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Protect by tags what rollbacks need, and delete with --prune what nothing needs",
		Long: "Give every image that an environment needs a tag stella-keep-ENVIRONMENT-DIGEST12.PROJECT, which a registry's\n" +
			"own clean-up can be told to spare, and remove those that are not wanted any more. With --prune also delete\n" +
			"versions that nothing needs, and what they alone had: the oldest first, none that is younger than --older-than\n" +
			"by its own date or by when it was last deployed, and no more than --limit. Deleting is agreed to with the hash\n" +
			"of the plan that --dry-run prints, or at the terminal. Repeated or broken off it does no harm.",
		Example: "  stella registry retention apply\n  stella registry retention apply --prune --older-than 90d --dry-run",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be done and its hash, change nothing")
	f.BoolVar(&o.prune, "prune", false, "also delete versions that nothing needs")
	f.StringVar(&o.olderThan, "older-than", "30d", "with --prune, spare what is younger than this `age`: 90d, 36h")
	f.IntVar(&o.limit, "limit", reconciler.DefaultRetentionLimit, "with --prune, delete at most so many `versions` in one run")
	f.StringVar(&o.planHash, "plan-hash", "", "go on only if the plan still has this `hash`, from --dry-run")
	return exits(cmd, []int{exitDone, exitUnknown, exitRefused})
}

func (o *retentionApplyOptions) run(cmd *cobra.Command) error {
	age, err := parseAge(o.olderThan)
	switch {
	case err != nil:
		return usage(cmd, "--older-than %s: want an age such as 90d or 36h", o.olderThan)
	case o.limit < 1:
		return usage(cmd, "--limit %d: want 1 or more", o.limit)
	}
	ctx := cmd.Context()
	eng, err := o.app.engine(ctx)
	if err != nil {
		return err
	}
	req := reconciler.RetentionRequest{Prune: o.prune, OlderThan: age, Limit: o.limit, PlanHash: o.planHash, DryRun: o.dryRun}
	if o.prune && !o.dryRun && o.planHash == "" {
		if req.PlanHash, err = o.agreed(ctx, eng, req); err != nil {
			return err
		}
	}
	r, err := eng.Retain(ctx, req)
	if err != nil && r.Hash == "" {
		return err
	}
	if printed := o.app.print(retentionRunView(r)); printed != nil {
		return errors.Join(err, printed)
	}
	return err
}

// agreed has a person agree to what is deleted, and returns the plan's hash.
func (o *retentionApplyOptions) agreed(ctx context.Context, eng engine, req reconciler.RetentionRequest) (string, error) {
	req.DryRun = true
	r, err := eng.Retain(ctx, req)
	if err != nil {
		return "", err
	}
	switch {
	case len(r.Deleted) == 0:
		return r.Hash, nil
	case !o.app.canAsk():
		err := fmt.Errorf("%w: %s would be deleted and there is no terminal to agree on", stella.ErrInvalid, count(len(r.Deleted), "manifest"))
		return "", stella.WithHint(err, "run the same command with --dry-run, look at the plan, then pass its hash with --plan-hash")
	}
	return r.Hash, o.app.agree(ctx, fmt.Sprintf("this deletes %s. Go on?", count(len(r.Deleted), "manifest")))
}

// parseAge reads a duration that may be in days.
func parseAge(s string) (time.Duration, error) {
	var days int
	if rest, ok := strings.CutSuffix(s, "d"); ok {
		if _, err := fmt.Sscanf(rest+"\n", "%d\n", &days); err != nil || days < 1 || days > 36500 {
			return 0, stella.ErrInvalid
		}
		return time.Duration(days) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, stella.ErrInvalid
	}
	return d, nil
}

func retentionRunView(r reconciler.RetentionReport) view {
	var names []string
	for _, d := range r.Deleted {
		names = append(names, d.Image.String())
	}
	return view{
		doc: struct {
			SchemaVersion int `json:"schemaVersion"`
			reconciler.RetentionReport
		}{1, r},
		names: names,
		page:  func(p *page) { writeRetention(p, r) },
	}
}

func writeRetention(p *page, r reconciler.RetentionReport) {
	l := &list{columns: columns("STEP", "IMAGE", "TAGS", "CREATED")}
	for _, t := range r.Protected {
		l.add(styled(term.Good, "protect"), text(shortImage(t.Image)), text(t.Tag), term.Cell{})
	}
	for _, t := range r.Released {
		l.add(text("release"), text(shortImage(t.Image)), text(t.Tag), term.Cell{})
	}
	for _, d := range r.Deleted {
		l.add(styled(term.Warn, "delete"), text(shortImage(d.Image)), text(join(d.Tags)), p.when(&d.Created))
	}
	if len(l.rows) > 0 {
		p.table(l)
	}
	for _, m := range r.Missing {
		p.wrapped(term.Bad, "", fmt.Sprintf("%s needs %s, which its registry does not have", m.Environment, m.Image))
	}
	switch {
	case r.Empty():
		p.line(term.Good, "everything that is needed is protected, nothing is to be done")
	case r.DryRun:
		p.line(term.Plain, "plan %s", r.Hash)
	default:
		p.line(term.Plain, "%d of %s done", r.Done, count(len(l.rows), "step"))
	}
	if r.Left > 0 {
		p.line(term.Warn, "%s more may be deleted: run it again", count(r.Left, "version"))
	}
}
