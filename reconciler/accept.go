package reconciler

import (
	"context"
	"errors"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git"
)

// AcceptedHead is a ref whose new head was accepted although it does not descend
// from the last one seen.
type AcceptedHead struct {
	Ref string `json:"ref"`
	Was string `json:"was"`
	Is  string `json:"is"` // empty: the ref is gone
}

// maxRewound bounds how many heads one call accepts: a branch, the default
// branch's name and the ledgers.
const maxRewound = 1000

// AcceptHeads takes the branch and the ledger of an environment, or all ledgers
// with an empty name, as the remote has them now, whatever was seen before. It
// is for a person who knows why they were moved.
func (e *Engine) AcceptHeads(ctx context.Context, env stella.EnvName, reason string) ([]AcceptedHead, error) {
	accepted := []AcceptedHead{}
	for range maxRewound {
		err := e.see(ctx, env)
		var rewound *git.RewoundError
		if !errors.As(err, &rewound) {
			return accepted, err
		}
		if err := e.cfg.Repo.AcceptHead(rewound.Ref, rewound.Now); err != nil { //nolint:contextcheck // a local file, written at once
			return accepted, err
		}
		e.cfg.Logger.WarnContext(ctx, "accepted a rewound head", "ref", rewound.Ref, "was", rewound.Seen, "is", rewound.Now, "reason", reason)
		accepted = append(accepted, AcceptedHead{Ref: rewound.Ref, Was: string(rewound.Seen), Is: string(rewound.Now)})
	}
	return accepted, fmt.Errorf("more than %d heads were rewound: %w", maxRewound, stella.ErrTampered)
}

// see fetches what AcceptHeads is about.
func (e *Engine) see(ctx context.Context, env stella.EnvName) error {
	if env == "" {
		_, _, err := e.names(ctx, e.fetch)
		return err
	}
	if _, err := stella.ParseName(string(env)); err != nil {
		return err
	}
	_, err := e.fetch(ctx, env)
	return err
}
