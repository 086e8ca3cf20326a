package configrepo

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// The defaults of an Environment.
const (
	defaultVerifyTimeout = 2 * time.Minute
	defaultMaxFailureAge = 20 * time.Minute
)

type (
	rollbackFields struct{ maxFailureAge time.Duration }
	baselineFields struct{ after time.Duration }
)

// environmentFile is environment.yaml as it is nested there.
type environmentFile struct {
	env      Environment
	rollback rollbackFields
	baseline baselineFields
}

func environmentShape(p *Project, is stella.EnvName) strictyaml.Shape[Environment] {
	fields := append(header[environmentFile](KindEnvironment),
		strictyaml.Required("name", "The environment's name: that of its directory.", envNameShape(is, "the directory"),
			func(f *environmentFile) *stella.EnvName { return &f.env.Name }),
		strictyaml.Optional("protected", "Changes are confirmed by typing the name, or by --plan-hash. Default: false.", strictyaml.Bool(),
			func(f *environmentFile) *bool { return &f.env.Protected }),
		strictyaml.Optional("apply", "Who carries changes out: anyone with access, or only the daemon. Default: anyone.",
			strictyaml.Enum(ApplyAnyone, ApplyServe), func(f *environmentFile) *string { return &f.env.Apply }),
		strictyaml.Optional("allowRoot", "On a bare host, services whose image names no user run as root. Default: false.", strictyaml.Bool(),
			func(f *environmentFile) *bool { return &f.env.AllowRoot }),
		strictyaml.Optional("allow", "What the app may ask of a container engine, by name. Default: nothing of it.", allowShape(),
			func(f *environmentFile) *[]Permission { return &f.env.Allow }),
		strictyaml.Optional("bindRoots", "Directories of the machines of container engines that the app may mount, and what is below them. Default: none.", bindRootsShape(),
			func(f *environmentFile) *[]string { return &f.env.BindRoots }),
		strictyaml.Optional("profiles", "Profiles of the Compose file that are enabled. Default: none.", profilesShape(),
			func(f *environmentFile) *[]string { return &f.env.Profiles }),
		strictyaml.Optional("shared", "Directories outside app/ that the app may refer to, from the top of the repository.", sharedShape(p),
			func(f *environmentFile) *[]string { return &f.env.Shared }),
		strictyaml.Required("targets", "Where the environment runs.", targetsShape(),
			func(f *environmentFile) *[]Target { return &f.env.Targets }),
		strictyaml.Optional("rollout", "How a change spreads over the targets.", rolloutShape(),
			func(f *environmentFile) *Rollout { return &f.env.Rollout }),
		strictyaml.Optional("verify", "When a deployment counts as good.", verifyShape(),
			func(f *environmentFile) *Verify { return &f.env.Verify }),
		strictyaml.Optional("drift", "How differences to what runs are found and treated.", driftShape(is),
			func(f *environmentFile) *DriftPolicy { return &f.env.Drift }),
		strictyaml.Optional("rollback", "Limits of automatic rollback.", rollbackShape(),
			func(f *environmentFile) *rollbackFields { return &f.rollback }),
		strictyaml.Optional("baseline", "When the baseline is captured by itself.", captureShape(),
			func(f *environmentFile) *baselineFields { return &f.baseline }),
		strictyaml.Optional("irreversible", "Releases that a rollback crosses only with --cross VERSION.", irreversibleShape(),
			func(f *environmentFile) *[]Irreversible { return &f.env.Irreversible }),
	)
	defaults := environmentFile{
		env: Environment{
			Apply: ApplyAnyone, Rollout: defaultRollout(),
			Verify: Verify{Timeout: defaultVerifyTimeout}, Drift: DriftPolicy{Mode: DriftReport},
		},
		rollback: rollbackFields{maxFailureAge: defaultMaxFailureAge},
	}
	return strictyaml.Convert(strictyaml.Object(defaults, fields...),
		func(v strictyaml.Value, f environmentFile) (Environment, bool) {
			f.env.MaxFailureAge, f.env.BaselineAfter = f.rollback.maxFailureAge, f.baseline.after
			nameProjects(v, p, is, &f.env)
			checkAddresses(v, &f.env)
			return f.env, true
		})
}

func rollbackShape() strictyaml.Shape[rollbackFields] {
	return strictyaml.Object(rollbackFields{maxFailureAge: defaultMaxFailureAge},
		strictyaml.Optional("maxFailureAge", "Automatic rollback never reverts something older than this. Default: 20m.",
			strictyaml.Duration(time.Second, 30*24*time.Hour), func(f *rollbackFields) *time.Duration { return &f.maxFailureAge }))
}

func captureShape() strictyaml.Shape[baselineFields] {
	return strictyaml.Object(baselineFields{},
		strictyaml.Optional("after", "A deployment that was healthy and undrifted this long becomes the baseline by itself, while 'stella serve' runs. Default: never.",
			strictyaml.Duration(time.Second, 365*24*time.Hour), func(f *baselineFields) *time.Duration { return &f.after }))
}

func irreversibleShape() strictyaml.Shape[[]Irreversible] {
	version := versionShape().Check(func(v strictyaml.Value, s *string) {
		if *s == "" {
			v.Problem("is empty", "want the version of a release")
		}
	})
	item := strictyaml.Object(Irreversible{},
		strictyaml.Required("version", "The release's version.", version, func(i *Irreversible) *string { return &i.Version }),
		strictyaml.Optional("reason", "Why there is no simple way back.", strictyaml.Line(500), func(i *Irreversible) *string { return &i.Reason }))
	return strictyaml.List(item, 0, 1000).Check(func(v strictyaml.Value, all *[]Irreversible) {
		versions := make([]string, len(*all))
		for i, one := range *all {
			versions[i] = one.Version
		}
		twice(v, versions, func(item strictyaml.Value) strictyaml.Value { return item.At("version") })
	})
}

// sharedShape refuses what belongs to an environment: a shared directory is
// everyone's, and is recorded and restored by itself.
func sharedShape(p *Project) strictyaml.Shape[[]string] {
	const want = "want a directory such as shared/base, from the top of the repository"
	dir := dirShape(want).Check(func(v strictyaml.Value, s *string) {
		if *s == "" {
			v.Problem("is empty", want)
		}
	})
	return strictyaml.List(dir, 0, 50).Check(func(v strictyaml.Value, dirs *[]string) {
		for i, dir := range *dirs {
			if what := sharedWithEnvironments(p, dir); what != "" && dir != "" {
				v.Index(i).Problem(what, "name a directory outside the environments")
			}
		}
		twice(v, *dirs, itself)
	})
}

// sharedWithEnvironments says how a directory meets that of the environments.
func sharedWithEnvironments(p *Project, dir string) string {
	switch envs := EnvironmentsPath(p); {
	case within(dir, envs):
		return "is within " + envs
	case within(envs, dir):
		return "holds the environments"
	}
	return ""
}

// within reports that dir is top or below it.
func within(dir, top string) bool {
	return dir == top || strings.HasPrefix(dir, top+"/")
}

// checkShared looks whether the shared directories are there.
func checkShared(ctx context.Context, t Tree, p *Project, doc *strictyaml.Doc, e *Environment) error {
	for i, dir := range e.Shared {
		first := slices.Index(e.Shared, dir) == i
		if dir == "" || !first || sharedWithEnvironments(p, dir) != "" || slices.ContainsFunc(strings.Split(dir, "/"), isBadName) {
			continue // reported already
		}
		v := doc.Root().At("shared").Index(i)
		entry, err := lookup(ctx, t, dir)
		var bad Problems
		switch {
		case errors.As(err, &bad):
			v.Problem(bad[0].Path+" "+bad[0].What, bad[0].Fix)
		case errors.Is(err, stella.ErrNotFound):
			v.Problem("is not there", "add the directory or remove it from the list")
		case err != nil:
			return err
		default:
			if p, is := notDirectory(dir, entry); is {
				v.Problem(p.What, p.Fix)
			}
		}
	}
	return nil
}
