package reconciler

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// The ways in which an environment uses an image.
const (
	UsedByDeployment = "deployment" // a recorded deployment brought it
	UsedByBranch     = "branch"     // the branch asks for it now
	UsedByBaseline   = "baseline"   // the baseline names it
)

// Use is one use of an image by an environment.
type Use struct {
	Environment stella.EnvName `json:"environment"`
	How         string         `json:"how"`        // UsedByDeployment, UsedByBranch or UsedByBaseline
	Component   string         `json:"component"`  // or the service, where that names its own image
	Deployment  string         `json:"deployment"` // empty where the branch asks for it
	Status      stella.Status  `json:"status"`     // of the deployment; empty without one of these
	Current     bool           `json:"current"`    // that deployment is in effect
	Image       string         `json:"image"`      // as it is written there
}

// Uses is who uses an image.
type Uses struct {
	Uses []Use // by environment, the newest deployment first
	// Platforms are those of the targets that use it; empty where there are none.
	Platforms []artifact.Platform
	// Unread are environments that could not be read whole, with the reason.
	Unread []Unread
}

// Unread is an environment that could not be read.
type Unread struct {
	Environment stella.EnvName `json:"environment"`
	Error       string         `json:"error"`
}

// UsedBy tells which environments of the branch use an image, from their ledgers
// and the branch alone; no target is asked. An image with a digest is compared by
// that, another one by its tag. Where the config repository does not answer, what
// was seen last is told.
func (e *Engine) UsedBy(ctx context.Context, a stella.Artifact) (Uses, error) {
	h, refs, err := e.names(ctx, e.fetchOrSeen)
	if err != nil {
		return Uses{}, err
	}
	return e.usedBy(ctx, h, refs, a), nil
}

func (e *Engine) usedBy(ctx context.Context, h *head, refs []configrepo.EnvironmentRef, a stella.Artifact) Uses {
	u := Uses{Uses: []Use{}, Unread: []Unread{}}
	for _, ref := range refs {
		var found users
		err := e.guard("read "+string(ref.Name), func() error {
			found = users{env: ref.Name, of: a}
			return e.usersIn(ctx, h, &found)
		})
		u.Uses = append(u.Uses, found.uses...)
		for _, p := range found.platforms {
			if !slices.Contains(u.Platforms, p) {
				u.Platforms = append(u.Platforms, p)
			}
		}
		if err != nil {
			u.Unread = append(u.Unread, Unread{ref.Name, err.Error()})
		}
	}
	return u
}

// users are the uses of an image in one environment.
type users struct {
	env       stella.EnvName
	of        stella.Artifact
	uses      []Use
	platforms []artifact.Platform
}

// usersIn reads ledger, branch and baseline; what one of them does not tell, the
// others do.
func (e *Engine) usersIn(ctx context.Context, h *head, u *users) error {
	book, ledgerErr := e.ledger(h).Read(ctx, u.env)
	if ledgerErr == nil {
		u.deployments(book)
	}
	src, branchErr := e.read(ctx, h, u.env)
	if src != nil {
		u.branch(src)
	}
	baseline, baselineErr := configrepo.ReadBaseline(ctx, h.tree, h.project, u.env)
	if errors.Is(baselineErr, stella.ErrNotFound) {
		baselineErr = nil // most have none
	}
	if baseline != nil {
		for _, name := range sortedKeys(baseline.Components) {
			if image := baseline.Components[name].String(); u.is(image) {
				u.add(Use{How: UsedByBaseline, Component: name, Deployment: baseline.Deployment, Current: baseline.Deployment == book.State.Current, Image: image})
			}
		}
	}
	if len(u.uses) > 0 && len(u.platforms) == 0 {
		u.platforms = append(u.platforms, artifact.Host()) // where it would go back to
	}
	return errors.Join(ledgerErr, branchErr, baselineErr)
}

func (u *users) deployments(book ledger.Book) {
	for _, d := range slices.Backward(book.Deployments) {
		for _, name := range sortedKeys(d.Components) {
			if image := d.Components[name]; u.is(image) {
				u.add(Use{How: UsedByDeployment, Component: name, Deployment: d.ID, Status: d.Status, Current: d.ID == book.State.Current, Image: image})
			}
		}
	}
}

// branch finds what the branch asks for, with overrides. The platform is that of
// the service where it names one, else this machine's, as for a preflight.
func (u *users) branch(src *source) {
	if src.desired == nil || src.env == nil {
		return
	}
	seen := map[string]bool{}
	for _, t := range src.env.Targets {
		state, _ := src.desired.Target(t.Name)
		for _, r := range state.Resources {
			image, _ := r.Fields["image"].(string)
			if !u.is(image) {
				continue
			}
			text, _ := r.Fields["platform"].(string)
			if p := platformOf(text); !slices.Contains(u.platforms, p) {
				u.platforms = append(u.platforms, p)
			}
			if name := strings.TrimPrefix(string(r.ID), "service/"); !seen[name] {
				seen[name] = true
				u.add(Use{How: UsedByBranch, Component: name, Image: image})
			}
		}
	}
}

// platformOf reads "os/architecture[/variant]"; anything else is this machine's.
func platformOf(text string) artifact.Platform {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return artifact.Host()
	}
	p := artifact.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p
}

func (u *users) add(use Use) {
	use.Environment = u.env
	u.uses = append(u.uses, use)
}

// is reports whether a recorded image is the one that is asked about.
func (u *users) is(image string) bool {
	a, err := stella.ParseArtifact(image)
	switch {
	case err != nil || a.Registry != u.of.Registry || a.Repository != u.of.Repository:
		return false
	case u.of.Digest != "":
		return a.Digest == u.of.Digest
	}
	return a.Tag == u.of.Tag
}

// ArtifactReport is what is known of an image: what its registry tells, and who
// uses it.
type ArtifactReport struct {
	artifact.Inspection

	Depth  artifact.Depth
	UsedBy []Use
	Unread []Unread // environments that may use it: they could not be read whole
}

// Artifact inspects an image in its registry, for the platforms of the targets
// that use it or, where nobody is known to, for all that it is for. The report
// holds what was found out where the error says that a part is missing, or could
// not be asked for.
func (e *Engine) Artifact(ctx context.Context, a stella.Artifact, depth artifact.Depth) (ArtifactReport, error) {
	r := ArtifactReport{Depth: depth, UsedBy: []Use{}, Unread: []Unread{}}
	h, refs, err := e.names(ctx, e.fetchOrSeen)
	if err != nil {
		return r, err
	}
	r.Inspection, err = e.cfg.Artifacts(h.project).Inspect(ctx, a, artifact.Look{Depth: depth, Needed: func(ctx context.Context, a stella.Artifact) []artifact.Platform {
		u := e.usedBy(ctx, h, refs, a)
		r.UsedBy, r.Unread = u.Uses, u.Unread
		if len(u.Unread) > 0 {
			return nil // nobody knows what they need
		}
		return u.Platforms
	}})
	return r, err
}
