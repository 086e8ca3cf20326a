package git

import (
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/wire"
	"github.com/stella-ops/stella/internal/safe"
)

type refKind int

const (
	elsewhere refKind = iota
	atOld
	atNew
)

// refState is where the refs of a push are.
type refState struct {
	kind    refKind
	refs    map[string]ID
	updates []Update
}

func stateOf(a *wire.Advert, updates []Update) refState {
	s := refState{refs: map[string]ID{}, updates: updates}
	olds, news := 0, 0
	for _, u := range updates {
		now := idOf(a.Refs[u.Ref])
		s.refs[u.Ref] = now
		if now == u.Old {
			olds++
		}
		if now == u.New {
			news++
		}
	}
	switch len(updates) {
	case olds:
		s.kind = atOld
	case news:
		s.kind = atNew
	}
	return s
}

// verdict of refs that are not at Old.
func (s refState) verdict() verdict {
	if s.kind == atNew {
		return verdict{landed: true}
	}
	for _, u := range s.updates {
		now := s.refs[u.Ref]
		switch {
		case now == u.Old:
		case now == "":
			return verdict{err: fmt.Errorf("%w: %s is gone, it was expected at %s", stella.ErrConflict, safe.Line(u.Ref), u.Old.Short())}
		case u.Old == "":
			return verdict{err: fmt.Errorf("%w: %s exists already, at %s", stella.ErrConflict, safe.Line(u.Ref), now.Short())}
		default:
			return verdict{err: fmt.Errorf("%w: %s is at %s, it was expected at %s", stella.ErrConflict, safe.Line(u.Ref), now.Short(), u.Old.Short())}
		}
	}
	return verdict{err: stella.ErrConflict}
}
