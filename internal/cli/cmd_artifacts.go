package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/internal/term"
	"github.com/stella-ops/stella/reconciler"
)

type artifactsOptions struct {
	app   *App
	check bool
	deep  bool
}

func newArtifactsGetCmd(a *App) *cobra.Command {
	o := &artifactsOptions{app: a}
	cmd := &cobra.Command{
		Use:   "get IMAGE [--check [--deep]]",
		Short: "What a registry has of an image, and who uses it",
		Long: "What a registry has of an image: digest, size, platforms, labels, what is attached to it, and which environments\n" +
			"use it. With --check it is proved that every part is there that the targets which use it need, or all platforms\n" +
			"where nobody uses it: manifests and configurations are read, and every layer is asked for, with its size. With\n" +
			"--deep every layer is read to its end and compared with its digest; nothing is stored.\n\n" +
			"It ends with 0 when what was asked for is there, 1 when something is missing or damaged, and 2 when that could not\n" +
			"be told: a registry that refuses, or does not answer, has lost nothing.",
		Example: "  stella orch artifacts get registry.example.com/shop/api:2.4.0\n" +
			"  stella orch artifacts get registry.example.com/shop/api@sha256:4f0c… --check --deep",
		Args: exactlyOne("an image, such as registry.example.com/shop/api:2.4.0"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "prove that every part is there")
	cmd.Flags().BoolVar(&o.deep, "deep", false, "with --check: read every layer and compare it with its digest")
	cmd.ValidArgsFunction = a.completeImages
	return exits(cmd, exitsOfQuestion())
}

func (o *artifactsOptions) depth(cmd *cobra.Command) (artifact.Depth, error) {
	switch {
	case o.deep && !o.check:
		return 0, usage(cmd, "--deep goes with --check")
	case o.deep:
		return artifact.Hashed, nil
	case o.check:
		return artifact.Sized, nil
	}
	return artifact.Described, nil
}

func (o *artifactsOptions) run(cmd *cobra.Command, image string) error {
	depth, err := o.depth(cmd)
	if err != nil {
		return err
	}
	a, err := stella.ParseArtifact(image)
	if err != nil {
		return usage(cmd, "%v", err)
	}
	eng, err := o.app.engine(cmd.Context())
	if err != nil {
		return err
	}
	if depth == artifact.Hashed {
		o.app.progress().Doing("reading every layer of " + a.String())
	}
	report, err := eng.Artifact(cmd.Context(), a, depth)
	if err != nil && len(report.Missing) == 0 {
		return err // there is nothing to tell
	}
	printed := o.app.print(view{
		doc:   newArtifactDoc(report),
		names: []string{report.Artifact.String()},
		page:  func(p *page) { writeArtifact(p, report) },
	})
	return errors.Join(printed, artifactVerdict(report, err))
}

// artifactVerdict is how the command ends. A registry that refuses, or sends us
// where it must not, is one that nobody can tell anything of.
func artifactVerdict(r reconciler.ArtifactReport, err error) error {
	switch {
	case err == nil || isInterrupted(err):
		return err
	case r.Verdict == artifact.VerdictMissing:
		return &outcomeError{code: exitNo, err: withHint(err, artifactHint(r))}
	}
	return &outcomeError{code: exitUnknown, err: err}
}

func withHint(err error, hint string) error {
	if hint == "" {
		return err
	}
	return stella.WithHint(err, hint)
}

// artifactHint is the way out for who needs what is missing.
func artifactHint(r reconciler.ArtifactReport) string {
	for _, u := range r.UsedBy {
		if u.Current || u.How == reconciler.UsedByBranch {
			return fmt.Sprintf("push %s again, or run 'stella rollback ready %s' to see what can be gone back to without it", r.Artifact, u.Environment)
		}
	}
	return "push it again if it is still needed, or check the reference"
}

// artifactDoc is the document of `orch artifacts get`.
type artifactDoc struct {
	SchemaVersion  int                 `json:"schemaVersion"`
	Image          stella.Artifact     `json:"image"`
	Digest         stella.Digest       `json:"digest"`
	MediaType      string              `json:"mediaType"`
	SizeBytes      int64               `json:"sizeBytes"`
	Platforms      []string            `json:"platforms"`
	CreatedAt      *time.Time          `json:"createdAt"`
	Labels         map[string]string   `json:"labels"`
	Images         []imageDoc          `json:"images"`
	Attestations   []artifact.Attached `json:"attestations"`
	Referrers      []artifact.Attached `json:"referrers"`
	ReferrersError string              `json:"referrersError"`
	Checked        string              `json:"checked"`
	Available      bool                `json:"available"`
	Verdict        artifact.Verdict    `json:"verdict"`
	Missing        []artifact.Missing  `json:"missing"`
	UsedBy         []reconciler.Use    `json:"usedBy"`
	Unread         []reconciler.Unread `json:"unread"`
}

type imageDoc struct {
	Platform  string        `json:"platform"`
	Digest    stella.Digest `json:"digest"`
	SizeBytes int64         `json:"sizeBytes"`
	Layers    int           `json:"layers"`
	CreatedAt *time.Time    `json:"createdAt"`
	Needed    bool          `json:"needed"`
	Error     string        `json:"error"`
}

func newArtifactDoc(r reconciler.ArtifactReport) artifactDoc {
	d := artifactDoc{
		SchemaVersion: 1, Image: r.Artifact, Digest: r.Artifact.Digest, MediaType: r.MediaType, SizeBytes: r.SizeBytes, Platforms: r.Platforms,
		CreatedAt: momentOrNil(r.Created), Labels: r.Labels, Images: []imageDoc{}, Attestations: r.Attestations, Referrers: r.Referrers,
		ReferrersError: r.ReferrersError, Checked: checkedWord(r.Depth), Available: r.Verdict == artifact.VerdictAvailable,
		Verdict: r.Verdict, Missing: r.Missing, UsedBy: r.UsedBy, Unread: r.Unread,
	}
	for _, i := range r.Images {
		d.Images = append(d.Images, imageDoc{i.Platform, i.Digest, i.SizeBytes, i.Layers, momentOrNil(i.Created), i.Needed, i.Error})
	}
	return d
}

// momentOrNil is a time as documents have it: to the second, null where there is
// none.
func momentOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

func checkedWord(d artifact.Depth) string {
	return map[artifact.Depth]string{artifact.Sized: "sizes", artifact.Hashed: "bytes"}[d]
}

// The rows of a report that a page shows; -o wide shows all.
const mostUses = 10

func writeArtifact(p *page, r reconciler.ArtifactReport) {
	p.heading(r.Artifact.String())
	words, style := artifactWords(r)
	fields := []field{
		{label: "state", value: words, style: style},
		{label: "type", value: r.MediaType},
		{label: "platforms", value: strings.Join(r.Platforms, ", ")},
		{label: "referrers", value: r.ReferrersError, style: term.Warn},
	}
	if r.SizeBytes > 0 {
		fields = append(fields, field{label: "size", value: size(r.SizeBytes)})
	}
	if !r.Created.IsZero() {
		fields = append(fields, field{label: "created", value: p.moment(r.Created)})
	}
	p.fields(fields...)
	p.list("Missing", missingList(r.Missing))
	p.list("Images", imageList(r.Images))
	p.list("Attached", attachedList(slices.Concat(r.Attestations, r.Referrers)))
	p.list("Labels", labelList(r.Labels))
	shown := r.UsedBy
	if !p.wide {
		shown = shown[:min(len(shown), mostUses)]
	}
	p.list("Used by", useList(shown))
	if more := len(r.UsedBy) - len(shown); more > 0 {
		p.indented(term.Dim, "and %d more; -o wide shows them", more)
	}
	for _, one := range r.Unread {
		p.line(term.Warn, "whether %s uses it is not known: %s", one.Environment, one.Error)
	}
	if len(r.UsedBy) == 0 && len(r.Unread) == 0 {
		p.line(term.Dim, "no environment uses it")
	}
}

func artifactWords(r reconciler.ArtifactReport) (string, term.Style) {
	switch r.Verdict {
	case artifact.VerdictAvailable:
		return map[bool]string{false: "there: every part, by size", true: "there: every part, by its bytes"}[r.Depth == artifact.Hashed], term.Good
	case artifact.VerdictMissing:
		return "missing", term.Bad
	case artifact.VerdictUnknown:
		return "nobody can tell", term.Warn
	}
	return "its manifests are there; --check looks for every part", term.Plain
}

// size is a number of bytes as people read it.
func size(bytes int64) string {
	const unit = 1024
	value, names := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(names) > 1 && value >= unit {
		value, names = value/unit, names[1:]
	}
	if names[0] == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, names[0])
}

func missingList(all []artifact.Missing) *list {
	l := &list{columns: columns("PART", "DIGEST", "STATE", "~WHY")}
	for _, m := range all {
		l.add(text(m.Kind), text(short(m.Digest)), text(m.State), text(m.Error))
	}
	return l
}

// short is a digest as a terminal shows it; empty where it is not known.
func short(d stella.Digest) string {
	if d == "" {
		return ""
	}
	return d.Short()
}

func imageList(all []artifact.PlatformImage) *list {
	l := &list{columns: columns("PLATFORM", "DIGEST", "SIZE", "LAYERS", "NEEDED", "~ERROR")}
	for _, i := range all {
		l.add(text(i.Platform), text(short(i.Digest)), text(size(i.SizeBytes)), number(i.Layers), yes(i.Needed, "yes", term.Plain), text(i.Error))
	}
	return l
}

func attachedList(all []artifact.Attached) *list {
	l := &list{columns: columns("DIGEST", "ABOUT", "SIZE", "~TYPE")}
	for _, d := range all {
		l.add(text(short(d.Digest)), text(short(d.Subject)), text(size(d.SizeBytes)), text(d.Type))
	}
	return l
}

func labelList(labels map[string]string) *list {
	l := &list{columns: columns("LABEL", "~VALUE")}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		l.add(text(name), text(labels[name]))
	}
	return l
}

func useList(all []reconciler.Use) *list {
	l := &list{columns: columns("ENVIRONMENT", "COMPONENT", "BY", "DEPLOYMENT", "STATUS", "CURRENT")}
	for _, u := range all {
		l.add(text(string(u.Environment)), text(u.Component), text(u.How), text(u.Deployment), text(string(u.Status)), yes(u.Current, "current", term.Good))
	}
	return l
}
