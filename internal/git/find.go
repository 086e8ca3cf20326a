package git

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/safe"
)

// prefixRE is an id or the beginning of one: as short as git itself writes them.
var prefixRE = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// Find returns the commit whose id begins with a prefix of at least seven
// digits, among a commit and all its ancestors; history that is not here is
// fetched, all of it for a prefix. Errors: stella.ErrInvalid for what is no
// prefix or begins several ids, stella.ErrNotFound, and those of a fetch.
func (r *Repo) Find(ctx context.Context, prefix string, from ID) (Commit, error) {
	prefix = strings.ToLower(prefix)
	if !prefixRE.MatchString(prefix) {
		return Commit{}, fmt.Errorf("commit %q: %w: want 7 to 40 hexadecimal digits", safe.Clip(prefix, 50), stella.ErrInvalid)
	}
	if id := ID(prefix); len(prefix) == len(zeroHex) {
		ok, err := r.IsAncestor(ctx, id, from)
		if err == nil && !ok {
			err = fmt.Errorf("commit %s in the history of %s: %w", id.Short(), from.Short(), stella.ErrNotFound)
		}
		if err != nil {
			return Commit{}, err
		}
		return r.Commit(ctx, id)
	}
	found, err := r.findAll(ctx, prefix, from)
	switch {
	case err != nil:
		return Commit{}, fmt.Errorf("look for commit %s: %w", prefix, err)
	case len(found) == 0:
		return Commit{}, fmt.Errorf("commit %s in the history of %s: %w", prefix, from.Short(), stella.ErrNotFound)
	case len(found) > 1:
		return Commit{}, fmt.Errorf("commit %s: %w: %s and %s begin with it", prefix, stella.ErrInvalid, found[0], found[1])
	}
	return r.Commit(ctx, found[0])
}

// findAll returns the ancestors whose ids begin with a prefix, fetching history
// until it is whole.
func (r *Repo) findAll(ctx context.Context, prefix string, from ID) ([]ID, error) {
	if _, err := r.Commit(ctx, from); err != nil {
		return nil, err
	}
	for depth := firstDepth; ; depth = deeper(depth) {
		found, whole, err := r.findHere(ctx, prefix, from)
		if err != nil || whole || depth == pastEverything {
			return found, err
		}
		if err := r.deepen(ctx, from, depth); err != nil {
			return nil, err
		}
	}
}

// findHere looks through the history that is here; whole says that no parent
// is missing.
func (r *Repo) findHere(ctx context.Context, prefix string, from ID) (found []ID, whole bool, err error) {
	seen, todo := map[ID]bool{from: true}, []ID{from}
	whole = true
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		c, err := r.local(id)
		switch {
		case errors.Is(err, odb.ErrMissing):
			whole = false
			continue
		case err != nil:
			return nil, false, err
		case ctx.Err() != nil:
			return nil, false, context.Cause(ctx)
		}
		if strings.HasPrefix(string(id), prefix) {
			found = append(found, id)
		}
		for _, p := range c.Parents {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return found, whole, nil
}
