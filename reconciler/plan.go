package reconciler

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/drift"
)

// Situation is all that a plan depends on. Time is in it, so that planning is
// a pure function.
type Situation struct {
	Environment *configrepo.Environment
	Desired     *configrepo.Desired
	Tree        string                  // app tree that Desired was rendered from
	Live        map[string]stella.State // by target; one that could not be observed is absent
	Now         time.Time
	// Ignores are the rules that hold on a target; nil for those of Environment.
	Ignores func(target string) []drift.Ignore
}

func (s Situation) ignores(target string) []drift.Ignore {
	if s.Ignores == nil {
		return s.Environment.Drift.Ignore
	}
	return s.Ignores(target)
}

// Compute plans how to bring every observed target to its desired state. It
// neither reads nor writes anything. A target that could not be observed has a
// part in the plan without actions.
func Compute(s Situation) Plan {
	p := emptyPlan(s.Environment.Name, s.Tree, s.Desired.Release.Version)
	p.Empty = true
	for i, batch := range Batches(s.Environment, s.Desired) {
		for _, name := range batch {
			t := TargetPlan{Target: name, Batch: i + 1, Changes: []stella.Change{}, Actions: []stella.Action{}}
			if live, ok := s.Live[name]; ok {
				want, _ := s.Desired.Target(name)
				t.Changes = append(t.Changes, drift.Compare(want, live, s.ignores(name), s.Now)...)
				t.Actions = actions(want, t.Changes)
			} else {
				p.Empty = false // nobody could tell
			}
			p.Empty = p.Empty && len(t.Actions) == 0
			p.Targets = append(p.Targets, t)
		}
	}
	p.Hash = p.hash(s.Environment)
	return p
}

// emptyPlan is a plan that says nothing yet. Its lists are there: a document's
// are never null.
func emptyPlan(env stella.EnvName, tree, release string) Plan {
	return Plan{
		Environment: env, Tree: tree, Release: release, Reverts: []string{}, Undoes: []UndoneCommit{}, Files: []FileChange{},
		Artifacts: []ArtifactCheck{}, Crosses: []Crossing{}, Overrides: []DeclaredOverride{}, Targets: []TargetPlan{},
		Warnings: []string{}, Findings: []Finding{}, Conflicts: []RevertConflict{},
	}
}

// Batches returns the targets in the order in which they are changed: a target
// comes after those that its services wait for, and within that as the
// environment's rollout says.
func Batches(env *configrepo.Environment, desired *configrepo.Desired) [][]string {
	var batches [][]string
	for _, wave := range desired.Waves() {
		batches = append(batches, env.Rollout.Batches(wave)...)
	}
	return batches
}

// actions turns the differences of one target into moves: what goes away first,
// since its ports may be needed, then the rest with dependencies before those
// that need them. Ignored differences move nothing.
func actions(want stella.State, changes []stella.Change) []stella.Action {
	byID := map[stella.ResourceID]*stella.Action{}
	var gone []stella.Action
	for _, c := range changes {
		if c.Ignored {
			continue
		}
		if c.Path == "" && c.Class == stella.Extra {
			gone = append(gone, stella.Action{
				Op: stella.OpRemove, Resource: stella.Resource{ID: c.Resource},
				Cause: goneCause(c.Resource), Changes: []stella.Change{c},
			})
			continue
		}
		a, ok := byID[c.Resource]
		if !ok {
			res, _ := want.Resource(c.Resource)
			a = &stella.Action{Op: stella.OpUpdate, Resource: res}
			byID[c.Resource] = a
		}
		if c.Path == "" && c.Class == stella.Missing {
			a.Op = stella.OpCreate
		}
		a.Changes = append(a.Changes, c)
	}
	out := append([]stella.Action{}, gone...)
	for _, id := range inOrder(want) {
		if a, ok := byID[id]; ok {
			a.Cause = cause(*a)
			out = append(out, *a)
		}
	}
	return out
}

// goneCause says why something goes. A sticker is a resource only while it is not
// what was put there: what goes is that, and a whole one comes in its place.
func goneCause(id stella.ResourceID) string {
	if strings.HasPrefix(string(id), "sticker/") {
		return "the version sticker is not what was put there"
	}
	return "not wanted any more"
}

// inOrder lists a state's resources with what a service depends on before it.
// What is no service (volumes) comes first.
func inOrder(s stella.State) []stella.ResourceID {
	var order []stella.ResourceID
	seen := map[stella.ResourceID]bool{}
	var visit func(r stella.Resource)
	visit = func(r stella.Resource) {
		if seen[r.ID] {
			return
		}
		seen[r.ID] = true
		deps, _ := r.Fields["dependsOn"].(map[string]any)
		for _, name := range sortedKeys(deps) {
			if dep, ok := s.Resource(stella.ResourceID("service/" + name)); ok {
				visit(dep)
			}
		}
		order = append(order, r.ID)
	}
	for _, services := range []bool{false, true} {
		for _, r := range s.Resources {
			if strings.HasPrefix(string(r.ID), "service/") == services {
				visit(r)
			}
		}
	}
	return order
}

// cause says in words why an action is needed.
func cause(a stella.Action) string {
	if a.Op == stella.OpCreate {
		return "does not run"
	}
	var words []string
	for _, c := range a.Changes {
		field := strings.NewReplacer("~1", "/", "~0", "~").Replace(strings.ReplaceAll(strings.TrimPrefix(c.Path, "/"), "/", " "))
		switch {
		case c.Path == "/image":
			words = append(words, fmt.Sprintf("image %s → %s", shortImage(c.Live), shortImage(c.Desired)))
		case c.Class == stella.Missing:
			words = append(words, field+" is missing")
		case c.Class == stella.Extra:
			words = append(words, field+" is not wanted")
		default:
			words = append(words, field+" differs")
		}
	}
	const most = 3
	if len(words) > most {
		words = append(words[:most], fmt.Sprintf("and %d more", len(words)-most))
	}
	return strings.Join(words, ", ")
}

// shortImage is an image for people: the tag and twelve digits of its digest.
func shortImage(v any) string {
	s, _ := v.(string)
	a, err := stella.ParseArtifact(s)
	if err != nil {
		return "nothing"
	}
	return strings.Trim(a.Tag+"@"+a.Digest.Short(), "@")
}

// hash identifies what the plan would do, and nothing else: neither the commit
// it starts from, which may move for the sake of another environment, nor what
// was observed where nothing is to be done. Which engine and project a target is
// belongs to it; env may be nil where no target is changed.
func (p Plan) hash(env *configrepo.Environment) string {
	var moves []any
	for _, t := range p.Targets {
		for _, a := range t.Actions {
			move := map[string]any{
				"target": t.Target, "batch": float64(t.Batch), "op": string(a.Op), "resource": string(a.Resource.ID), "cause": a.Cause,
			}
			if at := engineOf(env, t.Target); at != "" {
				move["engine"] = at
			}
			moves = append(moves, move)
		}
	}
	doc := map[string]any{"environment": string(p.Environment), "tree": p.Tree, "moves": moves}
	text, err := drift.Canonical(doc)
	if err != nil {
		panic("reconciler: a plan is not canonical: " + err.Error()) // strings and numbers only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// engineOf says where a target of containers is, by which names; empty for any
// other target.
func engineOf(env *configrepo.Environment, target string) string {
	if env == nil {
		return ""
	}
	i := slices.IndexFunc(env.Targets, func(t configrepo.Target) bool { return t.Name == target })
	if i < 0 || env.Targets[i].Docker == nil {
		return ""
	}
	d := env.Targets[i].Docker
	return strings.Join([]string{d.Host, d.Context, d.Project}, "\x00")
}

// String is the plan as tests compare it: one line per action.
func (p Plan) String() string {
	var b strings.Builder
	for _, t := range p.Targets {
		for _, a := range t.Actions {
			fmt.Fprintf(&b, "[%d] %s: %s %s (%s)\n", t.Batch, t.Target, a.Op, a.Resource.ID, a.Cause)
		}
	}
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "refused: %s\n", f.Message)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	if b.Len() == 0 {
		return "nothing to do\n"
	}
	return b.String()
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
