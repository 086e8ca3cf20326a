package configrepo

import (
	"time"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/strictyaml"
)

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
		strictyaml.Optional("reason", "Why it is good.", strictyaml.Line(500), func(b *Baseline) *string { return &b.Reason }),
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
