package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// lookTimeout bounds the search for one image in one place.
const lookTimeout = 30 * time.Second

// image is where one image that is needed can be had.
type image struct {
	ArtifactCheck

	artifact  stella.Artifact
	sizeBytes int64   // compressed; 0 where nobody was asked
	lacking   []*site // targets that can be reached and have to fetch it
	copies    map[*site]int
	why       []error // what each place said that does not have it, in words
	unknown   bool    // a place could not be asked: it may be there
	fix       string
}

// have looks where each image can be had, and refuses where that is nowhere, or
// where nobody can tell. The number of services of a target that use an image
// is what uses says.
func (in *inspection) have(ctx context.Context, why intent, list []stella.Artifact, uses func(target string, a stella.Artifact) int) {
	in.images = make([]image, len(list))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, a := range list {
		g.Go(func() error {
			err := in.survey.guard("look for "+a.String(), func() error {
				in.images[i] = in.survey.find(ctx, a, why.scope.RestoreArtifacts, func(target string) int { return uses(target, a) })
				return nil
			})
			if err != nil {
				in.images[i] = image{ArtifactCheck: ArtifactCheck{Image: a.String(), Error: err.Error()}, artifact: a, unknown: true}
			}
			return nil
		})
	}
	_ = g.Wait() // errors stay with their images
	for _, i := range in.images {
		in.plan.Artifacts = append(in.plan.Artifacts, i.ArtifactCheck)
		switch {
		case i.Available && i.Restored:
			in.warn("%s is not in its registry any more; it is first copied back from the backup %s", i.Image, in.survey.artifacts.Backup())
		case i.Where == whereBackup:
			in.warn("%s is not in its registry any more; it comes from the backup %s; --restore-artifacts copies it back", i.Image, in.survey.artifacts.Backup())
		case i.Available:
		case i.unknown:
			in.find(FindingUnknown, "", fmt.Sprintf("whether %s can be had is not known: %s", i.Image, i.Error), i.way(in, why))
		default:
			in.find(FindingArtifact, "", fmt.Sprintf("%s can not be had: %s", i.Image, i.Error), i.way(in, why))
		}
	}
}

// The places where an image can be had, as plans name them.
const (
	whereTarget   = "target"
	whereRegistry = "registry"
	whereBackup   = "backup"
)

// find looks for an image: on every target that needs it, else in its registry,
// else in the backup. The registry is asked in any case where it is to be mended.
func (s *survey) find(ctx context.Context, a stella.Artifact, mend bool, uses func(target string) int) image {
	i := image{ArtifactCheck: ArtifactCheck{Image: a.String()}, artifact: a, copies: map[*site]int{}}
	kept := s.kept(ctx, &i, uses)
	if kept && !mend {
		i.Available, i.Where = true, whereTarget
		return i
	}
	missing := i.look(ctx, "registry "+a.Registry, s.artifacts.Check)
	if missing == nil {
		i.Available, i.Where = true, whereRegistry
	} else if s.artifacts.Backup() != "" && i.look(ctx, "", s.artifacts.CheckBackup) == nil {
		i.Available, i.Where = true, whereBackup
		i.Restored = mend && errors.Is(missing, stella.ErrNotFound)
	}
	if kept {
		i.Available, i.Where = true, whereTarget
	}
	if i.Available {
		return i
	}
	i.Error = errorsInWords(i.why)
	return i
}

// look asks one place for the whole image.
func (i *image) look(ctx context.Context, place string, check func(context.Context, stella.Artifact, ...artifact.Platform) (artifact.Report, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("%w: no answer for %s", stella.ErrUnreachable, lookTimeout))
	defer cancel()
	report, err := check(ctx, i.artifact, artifact.Host())
	if err == nil && !report.Available {
		err = fmt.Errorf("%w: %d of its parts", stella.ErrNotFound, len(report.Missing))
	}
	if err == nil {
		i.sizeBytes, i.why, i.unknown = report.SizeBytes, nil, false
		return nil
	}
	said := strings.TrimPrefix(err.Error(), "check "+i.Image+": ")
	if place != "" {
		said = place + ": " + said
	}
	i.why = append(i.why, errors.New(said))
	if certain := errors.Is(err, stella.ErrNotFound) || errors.Is(err, stella.ErrTampered) ||
		errors.Is(err, stella.ErrInvalid) || errors.Is(err, stella.ErrUnsupported); !certain {
		i.unknown = true
		i.fix = stella.Hint(err)
	}
	return err
}

func errorsInWords(all []error) string {
	words := make([]string, len(all))
	for i, err := range all {
		words[i] = err.Error()
	}
	return strings.Join(words, "; ")
}

// kept reports whether every target that needs the image, and could be reached,
// still has it whole. Those that do not are noted.
func (s *survey) kept(ctx context.Context, i *image, uses func(target string) int) bool {
	type answer struct {
		site *site
		err  error // why it does not keep it; nil when it does
	}
	answers := make([]answer, len(s.sites))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for n, site := range s.sites {
		if count := uses(site.spec.Name); count > 0 && site.err == nil {
			i.copies[site] = count
			g.Go(func() error {
				answers[n].site = site
				answers[n].err = s.guard("ask "+site.spec.Name, func() error { return site.keeps(ctx, i.artifact) })
				return nil
			})
		}
	}
	_ = g.Wait() // answers are by place
	for _, a := range answers {
		if a.site != nil && a.err != nil {
			i.lacking = append(i.lacking, a.site)
			i.why = append(i.why, a.err)
		}
	}
	return len(i.copies) > 0 && len(i.lacking) == 0
}

// keeps says why a target does not still have an image; nil when it has it.
func (s *site) keeps(ctx context.Context, a stella.Artifact) error {
	keeper, ok := s.target.(Keeper)
	if !ok {
		return fmt.Errorf("%s keeps no images", s.spec.Name)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("no answer for %s", lookTimeout))
	defer cancel()
	switch has, err := keeper.Has(ctx, a); {
	case err != nil:
		return fmt.Errorf("%s can not tell: %w", s.spec.Name, err)
	case !has:
		return fmt.Errorf("%s does not keep it", s.spec.Name)
	}
	return nil
}

// uses counts the services of a target that run an image.
func uses(s stella.State, a stella.Artifact) int {
	n := 0
	for _, r := range s.Resources {
		if r.Fields["image"] == a.String() {
			n++
		}
	}
	return n
}

// way is what to do about an image that can not be had.
func (i image) way(in *inspection, why intent) string {
	env := in.plan.Environment
	switch {
	case i.fix != "":
		return i.fix
	case i.unknown:
		return fmt.Sprintf("run 'curl -sSI https://%s/v2/' to see why it does not answer, then the same command again", i.artifact.Registry)
	case why.kind.GoesBack():
		return fmt.Sprintf("run 'stella registry restore --artifact %s --from PLACE' where there is a copy, %s, or push it again", i.Image, why.another(env))
	}
	return fmt.Sprintf("push %s again, or run 'stella orch deployments list %s' and choose another release", i.Image, env)
}

// mendRegistries copies to their registries what those lost and the backup has,
// where the rollback was asked to. Nothing else was changed yet: a failure, or a
// crash, leaves at most an image that nobody names.
func (r *run) mendRegistries(ctx context.Context, j *job) error {
	if !j.intent.scope.RestoreArtifacts {
		return nil
	}
	var errs []error
	for _, i := range j.in.images {
		if !i.Restored {
			continue
		}
		errs = append(errs, r.step(ctx, stella.StepArtifacts, "", stepTimeout, func(ctx context.Context) (map[string]any, error) {
			return map[string]any{"image": i.Image}, r.survey.artifacts.Restore(ctx, i.artifact)
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(fmt.Errorf("restore from the backup: %w", err), errUntouched)
	}
	return nil
}
