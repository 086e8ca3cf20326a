package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
)

// Retainer is Artifacts that can keep and remove what registries have.
type Retainer interface {
	// Tags lists the tags of an artifact's repository.
	Tags(ctx context.Context, a stella.Artifact) ([]string, error)
	// Shelf reads what tags and digests name, and all below.
	Shelf(ctx context.Context, a stella.Artifact, tags []string, also ...stella.Digest) (artifact.Shelf, error)
	// Tag gives a digest a tag; Untag removes one; Delete removes a manifest with
	// all its tags. Each may be repeated.
	Tag(ctx context.Context, a stella.Artifact, tag string) error
	Untag(ctx context.Context, a stella.Artifact, tag string) error
	Delete(ctx context.Context, a stella.Artifact) error
}

// The defaults of a RetentionRequest that deletes.
const (
	DefaultOlderThan      = 30 * 24 * time.Hour
	DefaultRetentionLimit = 100
)

// RetentionRequest asks to protect in registries what environments need.
type RetentionRequest struct {
	// Environments are those whose images are protected; none means all, and only
	// then is anything removed: a protecting tag, or a version.
	Environments []stella.EnvName
	DryRun       bool
	// Prune also deletes versions that nothing needs and that were made, and last
	// deployed, more than OlderThan ago: zero is DefaultOlderThan. Limit is how many
	// versions one run may delete; zero is DefaultRetentionLimit.
	Prune     bool
	OlderThan time.Duration
	Limit     int
	// PlanHash is of the plan that somebody agreed to; another one is refused.
	// Empty means any.
	PlanHash string
}

// RetentionReport is what was done, or with DryRun what would be.
type RetentionReport struct {
	RetentionPlan

	DryRun bool `json:"dryRun"`
	// Missing are protected images that their registry does not have.
	Missing []RetentionMissing `json:"missing"`
	// Done is how many steps of the plan were carried out; all of them where there
	// was no error.
	Done int `json:"done"`
}

// RetentionMissing is a protected image that is not there.
type RetentionMissing struct {
	Environment stella.EnvName  `json:"environment"`
	Image       stella.Artifact `json:"image"`
}

// Retain protects in their registries the images that environments need, by
// tags, removes protecting tags that are not wanted any more and, where it is
// asked to, deletes what nothing needs. It may be repeated and broken off. Where
// anything can not be read, nothing is removed.
func (e *Engine) Retain(ctx context.Context, req RetentionRequest) (RetentionReport, error) {
	r, err := e.retaining(ctx, req)
	if err != nil {
		return RetentionReport{}, err
	}
	if err := r.survey(ctx); err != nil {
		return RetentionReport{}, err
	}
	r.report = RetentionReport{RetentionPlan: planRetention(r.in), DryRun: req.DryRun, Missing: r.missing}
	switch {
	case req.PlanHash != "" && req.PlanHash != r.report.Hash:
		err := fmt.Errorf("the plan is %s by now: %w", r.report.Hash, stella.ErrConflict)
		return r.report, stella.WithHint(err, "run the same command with --dry-run again and look at what changed")
	case req.DryRun:
		return r.report, nil
	}
	err = r.carryOut(ctx)
	return r.report, err
}

// retention is one run.
type retention struct {
	e       *Engine
	req     RetentionRequest
	store   Retainer
	look    Artifacts
	in      retentionInput
	missing []RetentionMissing
	report  RetentionReport
}

func (e *Engine) retaining(ctx context.Context, req RetentionRequest) (*retention, error) {
	if req.OlderThan < 0 || req.Limit < 0 || req.Prune && len(req.Environments) > 0 {
		return nil, fmt.Errorf("%w: a retention that deletes is of all environments, and its age and limit are not negative", stella.ErrInvalid)
	}
	if req.OlderThan == 0 {
		req.OlderThan = DefaultOlderThan
	}
	if req.Limit == 0 {
		req.Limit = DefaultRetentionLimit
	}
	r := &retention{e: e, req: req, missing: []RetentionMissing{}}
	r.in.prune, r.in.limit, r.in.olderThan = req.Prune, req.Limit, e.cfg.Now().Add(-req.OlderThan)
	project, err := r.needs(ctx)
	if err != nil {
		return nil, err
	}
	r.look = e.cfg.Artifacts(project)
	var ok bool
	if r.store, ok = r.look.(Retainer); !ok {
		return nil, fmt.Errorf("retention: %w: these registries are only read", stella.ErrUnsupported)
	}
	return r, nil
}

// needs reads anew what is needed.
func (r *retention) needs(ctx context.Context) (*configrepo.Project, error) {
	all, err := r.e.keepings(ctx, r.req.Environments, len(r.req.Environments) == 0)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no environments: %w", stella.ErrNotFound)
	}
	in := &r.in
	in.project, in.partly = projectMark(all[0].project), len(r.req.Environments) > 0
	in.needs, in.digests, in.used, in.unsure = nil, map[stella.Digest]bool{}, map[stella.Digest]time.Time{}, map[stella.EnvName]bool{}
	places := map[string]stella.Artifact{}
	var unasked []string
	for _, k := range all {
		in.needs = append(in.needs, k.protections()...)
		for _, target := range k.unasked {
			unasked, in.unsure[k.env] = append(unasked, string(k.env)+"/"+target), true
		}
		for d := range k.digests {
			in.digests[d] = true
		}
		for d, used := range k.used {
			if used.After(in.used[d]) {
				in.used[d] = used
			}
		}
		maps.Copy(places, k.places)
	}
	if r.req.Prune && len(unasked) > 0 {
		err := fmt.Errorf("what runs on %s can not be told: %w, nothing was touched", joinSome(unasked), stella.ErrUnreachable)
		return nil, stella.WithHint(err, "bring these targets back, take them out of environment.yaml, or leave out --prune")
	}
	for _, n := range in.needs {
		places[place(n.Image)] = at(n.Image, "")
	}
	if in.found == nil {
		for _, name := range sortedKeys(places) {
			in.found = append(in.found, repository{at: places[name]})
		}
	}
	return all[0].project, nil
}

// joinSome names a few of many.
func joinSome(all []string) string {
	const most = 3
	text := strings.Join(all[:min(len(all), most)], ", ")
	if len(all) > most {
		text += fmt.Sprintf(" and %d more", len(all)-most)
	}
	return text
}

// maxRepositories is how many repositories are read at once.
const maxRepositories = 4

// survey reads the repositories: of those from which nothing may be deleted the
// list of tags and the protecting tags, else everything.
func (r *retention) survey(ctx context.Context) error {
	var mu sync.Mutex
	errs := make([]error, len(r.in.found))
	var g errgroup.Group
	g.SetLimit(maxRepositories)
	for i := range r.in.found {
		g.Go(func() error {
			repo := &r.in.found[i]
			missing, err := r.read(ctx, repo)
			mu.Lock()
			defer mu.Unlock()
			errs[i], r.missing = err, append(r.missing, missing...)
			return nil
		})
	}
	_ = g.Wait() // errors are by place
	slices.SortFunc(r.missing, func(a, b RetentionMissing) int {
		return slices.Compare([]string{string(a.Environment), a.Image.String()}, []string{string(b.Environment), b.Image.String()})
	})
	return errors.Join(errs...)
}

// read reads one repository, and says what of it is needed and not there.
func (r *retention) read(ctx context.Context, repo *repository) ([]RetentionMissing, error) {
	tags, err := r.store.Tags(ctx, repo.at)
	if err != nil {
		return nil, err
	}
	repo.listed = make(map[string]bool, len(tags))
	for _, tag := range tags {
		repo.listed[tag] = true
	}
	read := tags
	if !r.in.prune {
		read = slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return !r.in.ours(tag) })
	}
	var digests []stella.Digest
	for _, n := range r.in.needs {
		if place(n.Image) == place(repo.at) {
			digests = append(digests, n.Image.Digest)
		}
	}
	if repo.shelf, err = r.store.Shelf(ctx, repo.at, read, digests...); err != nil {
		return nil, err
	}
	repo.missing = map[stella.Digest]bool{}
	var missing []RetentionMissing
	for _, n := range r.in.needs {
		if place(n.Image) == place(repo.at) && repo.shelf.Manifests[n.Image.Digest].Absent {
			repo.missing[n.Image.Digest] = true
			missing = append(missing, RetentionMissing{n.Environment, n.Image})
		}
	}
	return missing, nil
}

// recheckEvery is how many deletions go by one look at what is needed.
const recheckEvery = 10

// carryOut does what the plan says: it protects, then releases, then deletes.
// Where protecting fails nothing is removed.
func (r *retention) carryOut(ctx context.Context) error {
	p := &r.report
	var errs []error
	for _, t := range p.Protected {
		if err := r.store.Tag(ctx, t.Image, t.Tag); err != nil {
			errs = append(errs, err)
			continue
		}
		p.Done++
	}
	if err := errors.Join(errs...); err != nil {
		return stella.WithHint(err, stella.Hint(errs[0]))
	}
	for _, t := range p.Released {
		if err := r.store.Untag(ctx, t.Image, t.Tag); err != nil {
			return err
		}
		p.Done++
	}
	for i, d := range p.Deleted {
		if i%recheckEvery == 0 {
			if err := r.recheck(ctx, p.Deleted[i:]); err != nil {
				return err
			}
		}
		if err := r.store.Delete(ctx, d.Image); err != nil {
			return err
		}
		p.Done++
	}
	return nil
}

// recheck refuses to go on where something that is still to be deleted is needed
// by now: by what was deployed, or pushed under a new tag, meanwhile.
func (r *retention) recheck(ctx context.Context, rest []RetentionDelete) error {
	if _, err := r.needs(ctx); err != nil {
		return err
	}
	for i := range r.in.found {
		if err := r.news(ctx, &r.in.found[i]); err != nil {
			return err
		}
	}
	kept := r.in.kept(r.in.graph())
	for _, d := range rest {
		if why, ok := kept[d.Image.Digest]; ok {
			err := fmt.Errorf("%s is %s by now: %w, it and what comes after it were not deleted", d.Image, why, stella.ErrConflict)
			return stella.WithHint(err, "run the same command with --dry-run and look at what changed")
		}
	}
	return nil
}

// news adds to a repository what was pushed under a new tag since it was read.
func (r *retention) news(ctx context.Context, repo *repository) error {
	tags, err := r.store.Tags(ctx, repo.at)
	if err != nil {
		return err
	}
	fresh := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return r.in.ours(tag) || repo.listed[tag] })
	var digests []stella.Digest
	for _, n := range r.in.needs {
		if _, known := repo.shelf.Manifests[n.Image.Digest]; !known && place(n.Image) == place(repo.at) {
			digests = append(digests, n.Image.Digest)
		}
	}
	if len(fresh)+len(digests) == 0 {
		return nil
	}
	more, err := r.store.Shelf(ctx, repo.at, fresh, digests...)
	if err != nil {
		return err
	}
	maps.Copy(repo.shelf.Manifests, more.Manifests)
	for _, tag := range fresh {
		repo.listed[tag] = true
	}
	for tag, d := range more.Tags {
		repo.shelf.Tags[tag] = d
		r.in.digests[d] = true // nobody agreed to its end
	}
	return nil
}
