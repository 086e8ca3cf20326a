package baseline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

// Evidence is what was found out about a baseline. Of each error the class
// decides: one that says what the world is like is an answer, any other means
// that nobody can tell.
type Evidence struct {
	Book     ledger.Book
	OnBranch error  // nil where the commit is on the branch
	Tree     string // of the app at the commit
	TreeErr  error
	// Release is release.yaml at the commit; nil where it could not be read.
	Release *configrepo.ReleaseFile
	// Rendered is what the commit renders to; Today what its app renders to as the
	// environment is operated today.
	Rendered, Today       stella.Digest
	RenderedErr, TodayErr error
	Shared                map[string]SharedTree // by directory, of those that the baseline records
	Artifacts             []Artifact
	// Asked: targets and registries were asked for the artifacts.
	Asked bool
}

// SharedTree is what is known of a shared directory.
type SharedTree struct {
	Err error  // why the recorded tree can not be had
	Now string // its tree on the branch; empty where it is gone
}

// Artifact is where an image can be had.
type Artifact struct {
	Image   string
	Where   string // empty: nowhere
	Unknown bool   // a place could not be asked
	Why     string
}

// Witness is what one of those who know says of a baseline.
type Witness struct {
	Name    string // "commit", "tree", "ledger", "desired", "shared/base", an image
	OK      bool
	Unknown bool   // it could not be asked
	Why     string // what it says, also where it agrees and there is more to know
}

// The names of witnesses.
const (
	WitnessCommit  = "commit"
	WitnessTree    = "tree"
	WitnessLedger  = "ledger"
	WitnessRelease = "release"
	WitnessDesired = "desired"
	WitnessToday   = "today"
)

// Verify hears every witness of a baseline.
func Verify(b configrepo.Baseline, ev Evidence) []Witness {
	out := []Witness{
		branch(b, ev), tree(b, ev), record(b, ev.Book), release(b, ev), rendered(b, ev), today(b, ev),
	}
	for _, dir := range slices.Sorted(maps.Keys(b.Shared)) {
		out = append(out, shared(dir, b.Shared[dir], ev.Shared[dir]))
	}
	if !ev.Asked {
		return out
	}
	for _, a := range ev.Artifacts {
		w := Witness{Name: a.Image, OK: a.Where != "", Unknown: a.Where == "" && a.Unknown, Why: a.Why}
		if w.OK {
			w.Why = "the " + a.Where + " has it"
		}
		out = append(out, w)
	}
	return out
}

// against is a witness that an error speaks for.
func against(name string, err error) Witness {
	return Witness{Name: name, Unknown: !certain(err), Why: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// certain reports whether an error says what the world is like, rather than that
// nobody can tell.
func certain(err error) bool {
	return errors.Is(err, stella.ErrNotFound) || errors.Is(err, stella.ErrInvalid) ||
		errors.Is(err, stella.ErrTampered) || errors.Is(err, stella.ErrUnsupported)
}

func branch(b configrepo.Baseline, ev Evidence) Witness {
	switch {
	case errors.Is(ev.OnBranch, stella.ErrNotFound):
		return Witness{Name: WitnessCommit, Why: fmt.Sprintf("commit %.12s was never on the branch", b.Commit)}
	case ev.OnBranch != nil:
		return against(WitnessCommit, ev.OnBranch)
	}
	return Witness{Name: WitnessCommit, OK: true}
}

func tree(b configrepo.Baseline, ev Evidence) Witness {
	switch {
	case ev.TreeErr != nil:
		return against(WitnessTree, ev.TreeErr)
	case ev.Tree != b.Tree:
		return Witness{Name: WitnessTree, Why: fmt.Sprintf("commit %.12s has tree %.12s, not %.12s", b.Commit, ev.Tree, b.Tree)}
	}
	return Witness{Name: WitnessTree, OK: true}
}

// record hears the ledger. That it has forgotten is fine where it only remembers
// so many: what it never knew is not.
func record(b configrepo.Baseline, book ledger.Book) Witness {
	w := Witness{Name: WitnessLedger}
	d, known, why := Recorded(b, book)
	switch {
	case why != "":
		w.Why = why
	case !known && older(b, book):
		w.OK, w.Why = true, fmt.Sprintf("%s is older than what the ledger remembers; the branch has to bear it out", b.Deployment)
	case !known:
		w.Why = fmt.Sprintf("the ledger has never seen %s: it was lost, or begun anew", b.Deployment)
	default:
		w.Why = strings.Join(Disagreements(b, d), "; ")
		w.OK = w.Why == ""
	}
	return w
}

// older reports whether the ledger has had the deployment of a baseline and has
// let it go.
func older(b configrepo.Baseline, book ledger.Book) bool {
	seq, err := sequence(b)
	return err == nil && len(book.Deployments) > 0 && seq < book.Deployments[0].Sequence
}

func release(b configrepo.Baseline, ev Evidence) Witness {
	w := Witness{Name: WitnessRelease}
	if ev.Release == nil {
		err := cmp.Or(ev.RenderedErr, ev.TreeErr, stella.ErrNotFound)
		return against(WitnessRelease, err)
	}
	var differ []string
	if b.Release != "" && ev.Release.Release.Version != b.Release {
		differ = append(differ, fmt.Sprintf("commit %.12s has release %s, not %s", b.Commit, ev.Release.Release.Version, b.Release))
	}
	for _, c := range components(b.Components, ev.Release.Release.Components) {
		differ = append(differ, fmt.Sprintf("commit %.12s has %s for %s, not %s", b.Commit, cmp.Or(c.To, "nothing"), c.Name, cmp.Or(c.From, "nothing")))
	}
	w.Why, w.OK = strings.Join(differ, "; "), len(differ) == 0
	return w
}

func rendered(b configrepo.Baseline, ev Evidence) Witness {
	switch {
	case ev.RenderedErr != nil:
		return against(WitnessDesired, ev.RenderedErr)
	case ev.Rendered != b.Desired:
		return Witness{Name: WitnessDesired, Why: fmt.Sprintf("commit %.12s renders to %s, not to %s", b.Commit, ev.Rendered.Short(), b.Desired.Short())}
	}
	return Witness{Name: WitnessDesired, OK: true}
}

func today(b configrepo.Baseline, ev Evidence) Witness {
	w := Witness{Name: WitnessToday, OK: true}
	switch {
	case ev.TodayErr != nil:
		w = against(WitnessToday, ev.TodayErr)
		w.Why = "as the environment is operated today it does not render: " + w.Why
	case ev.Today != b.Desired:
		w.Why = "the environment is operated otherwise today: what comes back is the app, not environment.yaml"
	}
	return w
}

func shared(dir, id string, s SharedTree) Witness {
	switch {
	case s.Err != nil:
		return against(dir, s.Err)
	case s.Now == "":
		return Witness{Name: dir, OK: true, Why: "it is gone from the branch; --include-shared restores it"}
	case s.Now != id:
		return Witness{Name: dir, OK: true, Why: "it is another one today; --include-shared restores it"}
	}
	return Witness{Name: dir, OK: true}
}

// Verdict sums witnesses up: whether all agree, and whether somebody could not be
// asked while nobody speaks against it.
func Verdict(all []Witness) (ok, unknown bool) {
	ok = true
	for _, w := range all {
		if !w.OK {
			ok = false
		}
		unknown = unknown || w.Unknown
	}
	return ok, unknown
}

// Findings are what the witnesses hold against a baseline, in words.
func Findings(all []Witness) []string {
	out := []string{}
	for _, w := range all {
		if !w.OK {
			out = append(out, w.Name+": "+w.Why)
		}
	}
	return out
}
