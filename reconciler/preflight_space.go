package reconciler

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// unpackFactor is how much room an image takes while it is fetched, for each
// byte that it has in the registry: itself, and about twice as much unpacked.
// Programs pack to between a third and a half.
const unpackFactor = 3

// spaceTimeout bounds the question how much room a target has.
const spaceTimeout = 10 * time.Second

// room refuses where a target has too little space for what it has to fetch.
// That one does not know is a warning: what is really needed shows itself before
// anything that runs is touched.
func (in *inspection) room(ctx context.Context) {
	need := map[*site]int64{}
	for _, i := range in.images {
		for _, s := range i.lacking {
			need[s] += i.sizeBytes * unpackFactor * int64(i.copies[s])
		}
	}
	free := make([]int64, len(in.survey.sites))
	errs := make([]error, len(in.survey.sites))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for n, s := range in.survey.sites {
		if spacer, ok := s.target.(Spacer); ok && need[s] > 0 {
			g.Go(func() error {
				ctx, cancel := context.WithTimeout(ctx, spaceTimeout)
				defer cancel()
				errs[n] = in.survey.guard("ask "+s.spec.Name, func() (err error) {
					free[n], err = spacer.Space(ctx)
					return err
				})
				return nil
			})
		} else {
			delete(need, s)
		}
	}
	_ = g.Wait() // results are by place
	for n, s := range in.survey.sites {
		switch {
		case need[s] == 0:
		case errs[n] != nil:
			in.warn("%s: whether there is room for what it has to fetch, about %s, is not known: %v", s.spec.Name, byteSize(need[s]), errs[n])
		case free[n] < need[s]:
			in.find(FindingSpace, s.spec.Name,
				fmt.Sprintf("%s has %s free and needs about %s for what it has to fetch", s.spec.Name, byteSize(free[n]), byteSize(need[s])),
				fmt.Sprintf("free at least %s on %s ('df -h' shows where), then run the same command again", byteSize(need[s]-free[n]), s.spec.Name))
		}
	}
}

// byteSize is a number of bytes for people, with two or three digits.
func byteSize(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	value, units := float64(n), "kMGTPE"
	for i := range units {
		value /= unit
		if value < unit || i == len(units)-1 {
			if value < 10 {
				return fmt.Sprintf("%.1f %cB", value, units[i])
			}
			return fmt.Sprintf("%.0f %cB", value, units[i])
		}
	}
	return ""
}
