package reconciler

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// glance is one look at an environment while several ways back are weighed: its
// targets are opened and observed once, and each image is looked for once. It
// is for reading only, and for one environment; one goroutine uses it at a time.
type glance struct {
	targets []configrepo.Target // that the survey is of
	survey  *survey
}

// sites are the targets of what is wanted, as they are now or, within a glance,
// as they were found at its beginning.
func (e *Engine) sites(ctx context.Context, want *source, book ledger.Book) *survey {
	g := want.glance
	if g == nil {
		return e.openSites(ctx, want.project, want.env, book)
	}
	if g.survey == nil || !reflect.DeepEqual(g.targets, want.env.Targets) {
		g.targets, g.survey = want.env.Targets, e.openSites(ctx, want.project, want.env, book)
		g.survey.artifacts = &checkedOnce{Artifacts: g.survey.artifacts, known: map[string]func() (artifact.Report, error){}}
	}
	return g.survey
}

// checkedOnce looks for each image once, however many ask.
type checkedOnce struct {
	Artifacts

	mu    sync.Mutex // guards known
	known map[string]func() (artifact.Report, error)
}

// Check implements Artifacts.
func (c *checkedOnce) Check(ctx context.Context, a stella.Artifact, p ...artifact.Platform) (artifact.Report, error) {
	return c.once("registry", a, p, func() (artifact.Report, error) { return c.Artifacts.Check(ctx, a, p...) })
}

// CheckBackup implements Artifacts.
func (c *checkedOnce) CheckBackup(ctx context.Context, a stella.Artifact, p ...artifact.Platform) (artifact.Report, error) {
	return c.once("backup", a, p, func() (artifact.Report, error) { return c.Artifacts.CheckBackup(ctx, a, p...) })
}

func (c *checkedOnce) once(where string, a stella.Artifact, p []artifact.Platform, check func() (artifact.Report, error)) (artifact.Report, error) {
	key := fmt.Sprint(where, a, p)
	c.mu.Lock()
	look, ok := c.known[key]
	if !ok {
		look = sync.OnceValues(check)
		c.known[key] = look
	}
	c.mu.Unlock()
	return look()
}
