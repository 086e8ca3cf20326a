package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/ledger"
)

// DetectRequest asks for one scan for drift.
type DetectRequest struct {
	Environments []stella.EnvName // empty for all
}

// maxLooked bounds how many environments are looked at for drift at once; the
// targets of each are asked in parallel as well.
const maxLooked = 8

// Detect looks once whether environments drifted: whether what runs is what the
// deployment in effect wants. It remembers in the ledger what began and what
// ended, and heals nothing. It is the same for the command, for a cron job and
// for the daemon's schedule. One environment that can not be read is in the list
// with the reason; a name that the branch does not have is an error of class
// stella.ErrNotFound.
func (e *Engine) Detect(ctx context.Context, req DetectRequest) ([]Diff, error) {
	h, envs, err := e.chosen(ctx, e.fetchOrSeen, req.Environments)
	if err != nil {
		return nil, err
	}
	all := make([]Diff, len(envs))
	var g errgroup.Group
	g.SetLimit(maxLooked)
	for i, env := range envs {
		g.Go(func() error {
			all[i] = nothingSeen(env)
			err := e.guard("look at "+string(env), func() error {
				sc, err := e.sceneAt(ctx, h, env)
				if err != nil {
					return err
				}
				s, _, err := e.lookForDrift(ctx, sc)
				if s != nil {
					all[i] = s.diff
				}
				return err
			})
			if err != nil {
				all[i].Error = err.Error()
			}
			return nil
		})
	}
	return all, errors.Join(g.Wait(), context.Cause(ctx))
}

// maxLooks bounds how often a look that somebody else overtook is repeated.
const maxLooks = 3

// lookForDrift compares an environment with the deployment in effect and
// remembers what changed. What a deployment overtook is looked at anew: what it
// brought has not drifted. Where that does not end, nobody can tell. That it could
// not be written stops nobody, and is said; s.unrecorded is why.
func (e *Engine) lookForDrift(ctx context.Context, sc *scene) (*sight, drift.Turn, error) {
	for n := 1; ; n++ {
		s := e.sight(ctx, sc)
		if s.want == nil {
			return s, s.unchanged(), nil
		}
		turn, book, err := e.rememberDrift(ctx, s)
		switch {
		case err == nil:
			sc.book = book
			return s, turn, nil
		case !errors.Is(err, errOvertaken):
			e.unwritten(ctx, s, err)
			return s, turn, nil
		case n == maxLooks || context.Cause(ctx) != nil:
			s.overtaken(err)
			return s, s.unchanged(), nil //nolint:nilerr // said with what was seen: it could not be recorded
		}
		if sc, err = e.glimpse(ctx, sc.name); err != nil {
			return nil, drift.Turn{}, err
		}
	}
}

// unchanged is the turn of a look that saw nothing.
func (s *sight) unchanged() drift.Turn {
	d := s.sc.book.Drift
	return drift.Turn{Open: d.Open, Uncounted: d.Uncounted}
}

// overtaken takes back what was seen of another moment than the one it was
// compared with.
func (s *sight) overtaken(why error) {
	was := s.diff
	s.want, s.diff = nil, nothingSeen(s.sc.name)
	s.diff.Against, s.diff.Sync, s.diff.Error = was.Against, was.Sync, why.Error()
}

// unwritten says that what a look found is not in the ledger.
func (e *Engine) unwritten(ctx context.Context, s *sight, err error) {
	e.cfg.Logger.WarnContext(ctx, "record drift", "environment", s.sc.name, "err", err)
	s.unrecorded = err
	s.diff.Notes = append(s.diff.Notes, "it could not be recorded: "+firstLine(err.Error()))
	e.events.notify(Warned{Environment: s.sc.name, Text: "what was found is not recorded: " + firstLine(err.Error())})
}

// sight is one environment as it was looked at for drift.
type sight struct {
	sc     *scene
	want   *source // what it was compared with; nil where nothing was compared
	in     stella.Deployment
	survey *survey
	diff   Diff
	// unrecorded is why what was found is not in the ledger; nil where it is.
	unrecorded error
}

func nothingSeen(env stella.EnvName) Diff {
	return Diff{
		Environment: env, Targets: []TargetDiff{}, Overrides: []DeclaredOverride{}, Owed: []string{}, Expired: []drift.Cover{}, Notes: []string{},
		Standing: Standing{Files: []FileChange{}},
	}
}

// driftMode is what the environment wants done about drift; empty where its file
// can not be read.
func (sc *scene) driftMode() string {
	if sc.branch.env == nil {
		return ""
	}
	return sc.branch.env.Drift.Mode
}

// underWay says who is at work on an environment; empty for nobody. What is half
// changed has not drifted.
func (e *Engine) underWay(sc *scene, now time.Time) string {
	if busy := atWork(sc.book); busy != "" {
		return busy
	}
	lock := sc.book.State.Lock
	if lock == nil || lock.ByHand || sc.book.Lock(now) == nil {
		return ""
	}
	if dead, _ := e.stale(sc.ledger, sc.name, lock); dead {
		return ""
	}
	return fmt.Sprintf("locked by %s: %s", lock.Holder, lock.Purpose)
}

// sight compares an environment with the deployment in effect, where there is one
// and nobody is at work on it: what is half changed, or was stopped on purpose,
// has not drifted.
func (e *Engine) sight(ctx context.Context, sc *scene) *sight {
	s := &sight{sc: sc, diff: nothingSeen(sc.name)}
	s.diff.Sync = e.statusOf(sc).Sync
	want, in, err := e.inEffect(ctx, sc)
	s.diff.Against = in.ID
	switch busy, stopped := e.underWay(sc, e.cfg.Now()), sc.book.State.Stopped; {
	case errors.Is(err, errNothingInEffect):
		s.diff.Notes = append(s.diff.Notes, "nothing was deployed yet: there is nothing that could drift")
		return s
	case stopped != nil && atWork(sc.book) == "":
		s.diff.Notes = append(s.diff.Notes, stoppedWords(*stopped)+fmt.Sprintf("; run 'stella reconcile %s' to start it", sc.name))
		return s
	case busy != "":
		s.diff.Error = busy + ": what is half changed has not drifted"
		return s
	}
	if err != nil {
		s.diff.Error = err.Error()
		return s
	}
	s.want, s.in = want, in
	s.survey = e.sites(ctx, want, sc.book)
	sync := s.diff.Sync
	s.diff = e.compareSurvey(s.survey, e.asBrought(ctx, sc, want, in), sc.book, in.ID)
	s.diff.Sync, s.diff.Files = sync, []FileChange{}
	if !s.verified() {
		s.diff.Notes = append(s.diff.Notes, fmt.Sprintf("%s is %s: what runs was not verified, and what differs is not recorded as drift", in.ID, in.Status))
	}
	return s
}

// atWork says who changes the targets now, or did until its end came too soon;
// empty for nobody.
func atWork(b ledger.Book) string {
	d, ok := b.Running()
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s, a %s by %s, runs since %s", d.ID, d.Kind, d.Actor, d.StartedAt.UTC().Format(time.RFC3339))
}

func stoppedWords(s ledger.Stopped) string {
	words := fmt.Sprintf("%s on its targets by %s since %s", s.How, s.By, s.At.UTC().Format(time.RFC3339))
	if s.Reason != "" {
		words += ": " + s.Reason
	}
	return words
}

// verified reports whether what it was compared with is known to have run: on all
// targets, or on all but those that are owed.
func (s *sight) verified() bool {
	return s.sc.book.State.Current != "" || facts{scene: s.sc, newest: newest(s.sc.book)}.owesOnly()
}

// owesOnly is owes for who need not know whether anything was deployed.
func (f facts) owesOnly() bool { return f.newest != nil && f.owes() }
