package reconciler

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// How much of a component's output a report shows, and of how many.
const (
	tailLines  = 20
	tailBytes  = 4 << 10
	mostTails  = 20
	tailsLimit = 30 * time.Second
)

// tails reads the end of what components wrote on the targets that the
// deployment did not verify. Such text may hold secrets: it is read from where
// it is, for whoever asks, and goes neither to the ledger nor to a journal.
func (e *Engine) tails(ctx context.Context, sc *scene, d stella.Deployment) []LogTail {
	ctx, cancel := context.WithTimeout(ctx, tailsLimit)
	defer cancel()
	sv := e.openSites(ctx, sc.project, sc.env, sc.book)
	out := []LogTail{}
	for _, t := range d.Targets {
		site := sv.site(t.Name)
		switch t.Status {
		case stella.TargetVerified, stella.TargetUntouched, stella.TargetPrepared:
			continue // as it should be, or as it was
		case stella.TargetApplied, stella.TargetFailed, stella.TargetOwed, stella.TargetUnknown:
		}
		if site == nil {
			continue
		}
		if site.err != nil {
			out = append(out, LogTail{Target: t.Name, Error: site.unreachable()})
			continue
		}
		out = append(out, site.tails(ctx, e.guard)...)
	}
	return out[:min(len(out), mostTails)]
}

// tails reads all components of a target at once: those that do not run well, or
// all of them where all seem to.
func (s *site) tails(ctx context.Context, guard func(string, func() error) error) []LogTail {
	logger, ok := s.target.(Logger)
	if !ok || s.live.Observed == nil {
		return nil
	}
	components := slices.Clone(s.live.Observed.Components)
	if sick := slices.DeleteFunc(slices.Clone(components), well); len(sick) > 0 {
		components = sick
	}
	out := make([]LogTail, min(len(components), mostTails))
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			out[i] = LogTail{Target: s.spec.Name, Component: components[i].Name}
			var text []byte
			err := guard("read the log of "+components[i].Name, func() (err error) {
				text, err = logger.Logs(ctx, components[i].Name, tailBytes)
				return err
			})
			if err != nil && !errors.Is(err, stella.ErrNotFound) {
				out[i].Error = err.Error()
			}
			out[i].Text = drift.Mask(lastLines(text), drift.SecretTexts(s.live.Resources...))
		})
	}
	wg.Wait()
	return slices.DeleteFunc(out, func(t LogTail) bool { return t.Text == "" && t.Error == "" })
}

func well(c stella.ComponentStatus) bool {
	return c.State == stella.RunRunning && c.Health != stella.RunHealthUnhealthy && c.Health != stella.RunHealthStarting
}

// lastLines returns the end of a text, at most tailLines and tailBytes of it,
// from the start of a line on.
func lastLines(text []byte) string {
	if cut := len(text) - tailBytes; cut > 0 {
		text = text[cut:]
		if _, rest, ok := bytes.Cut(text, []byte("\n")); ok {
			text = rest
		}
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.ToValidUTF8(strings.Join(lines[max(0, len(lines)-tailLines):], "\n"), "?")
}
