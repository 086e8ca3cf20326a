package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// settle compares what was fetched with the last-seen heads and takes over what
// descends from them.
func (r *Repo) settle(ctx context.Context, refs Refs, wanted map[string]ID, before heads, w Want) error {
	accepted := map[string]ID{}
	var errs []error
	for _, ref := range slices.Sorted(maps.Keys(wanted)) {
		seen, now := before.Heads[ref], wanted[ref]
		if seen == now || w.Unchecked && !(w.Branch && ref == refs.Default) {
			continue
		}
		ok := seen == ""
		if !ok {
			var err error
			if ok, err = r.descends(ctx, seen, now); err != nil {
				errs = append(errs, fmt.Errorf("compare %s with its last-seen head: %w", safe.Line(ref), err))
				continue
			}
		}
		if !ok {
			errs = append(errs, rewound(&RewoundError{Ref: ref, Seen: seen, Now: now}))
			continue
		}
		accepted[ref] = now
	}
	errs = append(errs, w.gone(refs, before)...)
	branch := ""
	if w.Branch {
		branch = refs.Default
		if before.Default != "" && before.Default != branch {
			errs = append(errs, renamed(before.Default, branch, refs))
			branch = before.Default
			// The other branch is not trusted until somebody says so.
			delete(accepted, refs.Default)
		}
	}
	return errors.Join(append(errs, r.remember(ctx, before, accepted, branch))...)
}

// gone finds refs that were seen, are wanted and do not exist any longer.
func (w Want) gone(refs Refs, before heads) (errs []error) {
	if w.Unchecked {
		return nil
	}
	for _, ref := range slices.Sorted(maps.Keys(before.Heads)) {
		if _, there := refs.IDs[ref]; !there && (slices.Contains(w.Names, ref) || w.hasPrefix(ref)) {
			errs = append(errs, rewound(&RewoundError{Ref: ref, Seen: before.Heads[ref]}))
		}
	}
	return errs
}

func rewound(e *RewoundError) error {
	return stella.WithHint(e, fmt.Sprintf("find out who moved %s; then run 'stella orch repair --accept-head --reason …'", safe.Line(e.Ref)))
}

func renamed(was, now string, refs Refs) error {
	note := fmt.Sprintf("the default branch was %s and is now %s", safe.Line(was), safe.Line(now))
	if _, ok := refs.IDs[was]; !ok {
		note += ", and the former is gone"
	}
	return rewound(&RewoundError{Ref: "HEAD", Note: note})
}

// remember writes heads that were accepted. Another process may have written
// meanwhile, newer ones even: those stay.
func (r *Repo) remember(ctx context.Context, before heads, accepted map[string]ID, branch string) error {
	if len(accepted) == 0 && (branch == "" || branch == before.Default) {
		return nil
	}
	return r.locked(ctx, func() error {
		return r.seen.update(func(h *heads) bool {
			changed := false
			for ref, id := range accepted {
				now := h.Heads[ref]
				if now == id || now != before.Heads[ref] && r.relate(now, id).state != isAncestor {
					continue
				}
				h.Heads[ref], changed = id, true
			}
			if branch != "" && h.Default == before.Default && h.Default != branch {
				h.Default, changed = branch, true
			}
			return changed
		})
	})
}

// descends reports whether a head descends from the one that was last seen,
// fetching as much history as it takes to know.
func (r *Repo) descends(ctx context.Context, seen, now ID) (bool, error) {
	for depth := firstDepth; ; depth = deeper(depth) {
		rel := r.relate(seen, now)
		if rel.err != nil {
			return false, rel.err
		}
		if rel.state != unknown {
			return rel.state == isAncestor, nil
		}
		if depth == pastEverything {
			return false, nil
		}
		if err := r.deepen(ctx, now, depth); err != nil {
			return false, err
		}
	}
}

// branchOf returns a ref whose last-seen head leads to a commit, the default
// branch first; empty when none is known to.
func (r *Repo) branchOf(id ID) string {
	h, err := r.seen.read()
	if err != nil {
		return ""
	}
	names := slices.SortedFunc(maps.Keys(h.Heads), func(a, b string) int {
		if (a == h.Default) != (b == h.Default) {
			if a == h.Default {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if h.Heads[name] == id {
			return name
		}
	}
	for _, name := range names {
		if r.relate(id, h.Heads[name]).state == isAncestor {
			return name
		}
	}
	return ""
}
