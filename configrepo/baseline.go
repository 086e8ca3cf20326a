package configrepo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// MostReason is how many characters a reason in a file has at most.
const MostReason = 500

func baselineShape(is stella.EnvName) strictyaml.Shape[Baseline] {
	fields := append(header[Baseline](KindBaseline),
		strictyaml.Required("environment", "The environment's name: that of the file.", envNameShape(is, "the file"),
			func(b *Baseline) *stella.EnvName { return &b.Environment }),
		strictyaml.Required("deployment", "The deployment that proved it.", strictyaml.Text(strictyaml.TextRule{
			Pattern: deployRE, What: "is not the id of a deployment", Want: "want one such as production-41", Most: 100,
		}), func(b *Baseline) *string { return &b.Deployment }),
		strictyaml.Required("commit", "The config commit.", objectShape(), func(b *Baseline) *string { return &b.Commit }),
		strictyaml.Required("tree", "Git's tree id of the app directory at that commit.", objectShape(), func(b *Baseline) *string { return &b.Tree }),
		strictyaml.Optional("release", "The release's version.", versionShape(), func(b *Baseline) *string { return &b.Release }),
		strictyaml.Required("components", "Component → image with its digest.", pinnedShape(),
			func(b *Baseline) *map[string]stella.Artifact { return &b.Components }),
		strictyaml.Optional("shared", "Shared directory → Git's tree id of it.", strictyaml.Map(dirShape("want a directory such as shared/base"), objectShape()),
			func(b *Baseline) *map[string]string { return &b.Shared }),
		strictyaml.Required("desired", "The digest of the rendered desired state.", digestShape(), func(b *Baseline) *stella.Digest { return &b.Desired }),
		strictyaml.Required("capturedAt", "When it was captured.", strictyaml.Instant(), func(b *Baseline) *time.Time { return &b.CapturedAt }),
		strictyaml.Optional("capturedBy", "By whom.", strictyaml.Line(300), func(b *Baseline) *string { return &b.CapturedBy }),
		strictyaml.Optional("reason", "Why it is good.", strictyaml.Line(MostReason), func(b *Baseline) *string { return &b.Reason }),
	)
	return strictyaml.Object(Baseline{}, fields...)
}

func objectShape() strictyaml.Shape[string] {
	return strictyaml.Text(strictyaml.TextRule{Pattern: objectRE, What: "is not the id of a Git object", Want: "want 40 of 0-9 and a-f", Most: 40})
}

func digestShape() strictyaml.Shape[stella.Digest] {
	text := strictyaml.Text(strictyaml.TextRule{Pattern: digestRE, What: "is not a digest", Want: "want sha256: and 64 of 0-9 and a-f", Most: 71})
	return strictyaml.Convert(text, func(_ strictyaml.Value, s string) (stella.Digest, bool) { return stella.Digest(s), true })
}

// pinnedShape is components of which each has a digest: a baseline without one
// would not say what to go back to.
func pinnedShape() strictyaml.Shape[map[string]stella.Artifact] {
	image := imageShape().Check(func(v strictyaml.Value, a *stella.Artifact) {
		if a.Digest == "" {
			v.Problem("has no digest", imageWant)
		}
	})
	return strictyaml.Map(nameShape(), image)
}

const baselineComment = `# The baseline of %[1]s: what 'stella rollback %[1]s --to baseline' and
# 'stella orch env reset %[1]s --to-baseline' go back to. It is written by
# 'stella baseline capture %[1]s'. By itself it proves nothing: the ledger has
# to have verified what it names.
`

// EncodeBaseline writes a baseline the one way that it is written: the same
// baseline is the same bytes. Times are cut to the second, in UTC. What could not
// be read again is refused, with Problems.
func EncodeBaseline(b Baseline) ([]byte, error) {
	var out strings.Builder
	fmt.Fprintf(&out, baselineComment, b.Environment)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, scalarText(value, 0))
		}
	}
	mapping := func(name string, m map[string]string) {
		if len(m) == 0 {
			return
		}
		fmt.Fprintf(&out, "%s:\n", name)
		for _, key := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&out, "  %s: %s\n", scalarText(key, 0), scalarText(m[key], 0))
		}
	}
	images := make(map[string]string, len(b.Components))
	for name, a := range b.Components {
		images[name] = a.String()
	}
	field("apiVersion", APIVersion)
	field("kind", KindBaseline)
	field("environment", string(b.Environment))
	field("deployment", b.Deployment)
	field("commit", b.Commit)
	field("tree", b.Tree)
	field("release", b.Release)
	mapping("components", images)
	mapping("shared", b.Shared)
	field("desired", string(b.Desired))
	fmt.Fprintf(&out, "capturedAt: %s\n", b.CapturedAt.UTC().Truncate(time.Second).Format(time.RFC3339))
	field("capturedBy", b.CapturedBy)
	field("reason", b.Reason)
	text := []byte(out.String())
	doc := strictyaml.Parse(text)
	if strictyaml.Read(doc, baselineShape(b.Environment)); !doc.OK() {
		return nil, problemsOf("baselines/"+string(b.Environment)+".yaml", doc)
	}
	return text, nil
}
