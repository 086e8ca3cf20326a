package reconciler

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
)

// RetentionPlan is what keeping to the retention would change in registries.
// The same plan is carried out with and without DryRun.
type RetentionPlan struct {
	Hash      string            `json:"hash"`      // of what would be done
	Protected []RetentionTag    `json:"protected"` // protecting tags that are set
	Released  []RetentionTag    `json:"released"`  // protecting tags that are removed
	Deleted   []RetentionDelete `json:"deleted"`   // in the order in which it is done
	Kept      []RetentionKept   `json:"kept"`      // versions that are not needed and stay; only where it may delete
	// Left is how many versions more could be deleted than one run may.
	Left int `json:"left"`
}

// RetentionTag is one protecting tag.
type RetentionTag struct {
	Image stella.Artifact `json:"image"` // that it names, with its digest
	Tag   string          `json:"tag"`
}

// RetentionDelete is one manifest that is deleted.
type RetentionDelete struct {
	Image   stella.Artifact `json:"image"`   // by digest
	Tags    []string        `json:"tags"`    // that go with it, sorted; empty for what an index had for itself
	Created time.Time       `json:"created"` // when it was made, or last deployed
}

// RetentionKept is one version that stays though nothing protected is it.
type RetentionKept struct {
	Image string `json:"image"`
	Why   string `json:"why"`
}

// repository is one repository as it was found. Where nothing may be deleted it
// has its tags alone: of the protecting ones with what they name.
type repository struct {
	at     stella.Artifact // registry and repository alone
	shelf  artifact.Shelf
	listed map[string]bool // all tags that it had
	// missing are the digests that are needed of it and are not there.
	missing map[stella.Digest]bool
}

// retentionInput is all that a plan depends on.
type retentionInput struct {
	project   string // what tells this config repository's tags from another's
	needs     []Protection
	digests   map[stella.Digest]bool      // needed, from whichever repository
	used      map[stella.Digest]time.Time // when a deployment last brought it
	found     []repository
	unsure    map[stella.EnvName]bool // targets of it did not answer: its tags stay
	partly    bool                    // not all environments are looked at: nothing is removed
	prune     bool
	olderThan time.Time // what was made or used since stays
	limit     int       // versions that may be deleted
}

// keepTagRE is a protecting tag. Its end names the config repository whose it
// is: two that share a repository of images, and have environments of the same
// name, never remove each other's.
var keepTagRE = regexp.MustCompile(`^stella-keep-([a-z0-9-]{1,63})-([0-9a-f]{12})\.([0-9a-f]{8})$`)

// keepPrefix begins all protecting tags: an expression for a registry's own
// clean-up rules.
const keepPrefix = "stella-keep-"

// keepTag names the protecting tag of an environment's image.
func keepTag(env stella.EnvName, d stella.Digest, project string) string {
	return fmt.Sprintf("%s%s-%.12s.%s", keepPrefix, env, d.Hex(), project)
}

// projectMark tells one config repository from another: by the name that
// stella.yaml gives it, and where in the repository that is.
func projectMark(p *configrepo.Project) string {
	sum := sha256.Sum256([]byte(p.Name + "\x00" + p.Root))
	return hex.EncodeToString(sum[:4])
}

// ours reports whether a protecting tag is of this config repository.
func (in *retentionInput) ours(tag string) bool {
	m := keepTagRE.FindStringSubmatch(tag)
	return m != nil && m[3] == in.project
}

// released reports whether a protecting tag that is not wanted may go.
func (in *retentionInput) released(tag string) bool {
	m := keepTagRE.FindStringSubmatch(tag)
	return m != nil && m[3] == in.project && !in.partly && !in.unsure[stella.EnvName(m[1])]
}

// lastTags are the manifests that nobody would find again without the tags that
// are not wanted any more. Where versions are deleted these keep theirs until
// they are old enough to go as well: what they need would else be taken for free.
func (in *retentionInput) lastTags(r repository, wanted map[string]RetentionTag) map[stella.Digest]bool {
	out := map[stella.Digest]bool{}
	if !in.prune {
		return out
	}
	for d, tags := range tagsOf(r) {
		out[d] = !slices.ContainsFunc(tags, func(tag string) bool {
			_, want := wanted[place(r.at)+":"+tag]
			return !want && !in.released(tag)
		})
	}
	for _, w := range wanted {
		if place(w.Image) == place(r.at) {
			delete(out, w.Image.Digest) // has its own
		}
	}
	return out
}

// planRetention decides what is done. It is pure; what it deletes is reached by
// nothing that stays.
func planRetention(in retentionInput) RetentionPlan {
	p := RetentionPlan{Protected: []RetentionTag{}, Released: []RetentionTag{}, Deleted: []RetentionDelete{}, Kept: []RetentionKept{}}
	wanted := in.wantedTags()
	if in.prune {
		in.plan(&p)
	}
	gone := map[string]bool{}
	for _, d := range p.Deleted {
		for _, tag := range d.Tags {
			gone[place(d.Image)+":"+tag] = true
		}
	}
	for _, r := range in.found {
		last := in.lastTags(r, wanted)
		for _, tag := range sortedKeys(r.shelf.Tags) {
			key := place(r.at) + ":" + tag
			if _, want := wanted[key]; !want && !gone[key] && !last[r.shelf.Tags[tag]] && in.released(tag) {
				p.Released = append(p.Released, RetentionTag{Image: at(r.at, r.shelf.Tags[tag]), Tag: tag})
			}
		}
		for _, key := range sortedKeys(wanted) {
			if want := wanted[key]; place(want.Image) == place(r.at) && r.shelf.Tags[want.Tag] != want.Image.Digest && !r.missing[want.Image.Digest] {
				p.Protected = append(p.Protected, want)
			}
		}
	}
	p.Hash = p.hash()
	return p
}

// wantedTags are the protecting tags that there should be, by repository and tag.
// Of two images that begin with the same twelve digits the first has it.
func (in *retentionInput) wantedTags() map[string]RetentionTag {
	out := map[string]RetentionTag{}
	for _, n := range in.needs {
		tag := keepTag(n.Environment, n.Image.Digest, in.project)
		key := place(n.Image) + ":" + tag
		if _, taken := out[key]; !taken {
			out[key] = RetentionTag{Image: at(n.Image, n.Image.Digest), Tag: tag}
		}
	}
	return out
}

// place names a repository.
func place(a stella.Artifact) string { return a.Registry + "/" + a.Repository }

// at is an image of a repository by digest alone.
func at(a stella.Artifact, d stella.Digest) stella.Artifact {
	return stella.Artifact{Registry: a.Registry, Repository: a.Repository, Digest: d}
}

// hash is of what would be done, in canonical form.
func (p *RetentionPlan) hash() string {
	text, err := json.Marshal([]any{p.Protected, p.Released, p.Deleted})
	if err != nil {
		panic(err) // texts and times
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Empty reports whether there is nothing to do.
func (p *RetentionPlan) Empty() bool { return len(p.Protected)+len(p.Released)+len(p.Deleted) == 0 }

// graph is what reaches what, over all repositories: by digest, since the same
// image may be in several.
type graph struct {
	needs    map[stella.Digest][]stella.Digest // children and subject
	neededBy map[stella.Digest][]stella.Digest
	about    map[stella.Digest][]stella.Digest // what has it as its subject
}

func (in *retentionInput) graph() *graph {
	g := &graph{
		needs: map[stella.Digest][]stella.Digest{}, neededBy: map[stella.Digest][]stella.Digest{}, about: map[stella.Digest][]stella.Digest{},
	}
	edge := func(from, to stella.Digest) {
		if !slices.Contains(g.needs[from], to) {
			g.needs[from], g.neededBy[to] = append(g.needs[from], to), append(g.neededBy[to], from)
		}
	}
	for _, r := range in.found {
		for _, d := range sortedKeys(r.shelf.Manifests) {
			m := r.shelf.Manifests[d]
			for _, child := range m.Children {
				edge(d, child)
			}
			if m.Subject != "" {
				edge(d, m.Subject)
				g.about[m.Subject] = append(g.about[m.Subject], d)
			}
		}
	}
	return g
}

// reach marks what a digest needs and what is about it, and so on.
func (g *graph) reach(from stella.Digest, why string, kept map[stella.Digest]string) {
	if _, ok := kept[from]; ok {
		return
	}
	kept[from] = why
	todo := []stella.Digest{from}
	for len(todo) > 0 {
		d := todo[0]
		todo = todo[1:]
		for _, next := range append(slices.Clip(g.needs[d]), g.about[d]...) {
			if _, ok := kept[next]; !ok {
				kept[next], todo = "belongs to "+from.Short()+", which is "+why, append(todo, next)
			}
		}
	}
}

// plan adds to the plan what is deleted and what is not.
func (in *retentionInput) plan(p *RetentionPlan) {
	g := in.graph()
	kept := in.kept(g)
	n := 0
	for _, r := range in.found {
		del, left, why := in.pruneOne(r, g, kept, in.limit-n)
		for _, d := range del {
			if len(d.Tags) > 0 {
				n++
			}
		}
		p.Deleted, p.Left, p.Kept = append(p.Deleted, del...), p.Left+left, append(p.Kept, why...)
	}
}

// kept is what stays and why, by digest: what is protected first, then what is
// too young, of which nobody can tell, or protected by others, each with all that
// it reaches.
func (in *retentionInput) kept(g *graph) map[stella.Digest]string {
	kept := map[stella.Digest]string{}
	for _, n := range in.needs {
		g.reach(n.Image.Digest, fmt.Sprintf("needed by %s (%s)", n.Environment, n.Why[0]), kept)
	}
	for _, d := range sortedKeys(in.digests) {
		g.reach(d, "seen on a target", kept)
	}
	for _, r := range in.found {
		tags := tagsOf(r)
		for _, d := range sortedKeys(r.shelf.Manifests) {
			if why := in.spare(r, d, tags[d]); why != "" {
				g.reach(d, why, kept)
			}
		}
	}
	for again := true; again; {
		again = false
		for _, r := range in.found {
			again = in.holders(r, g, kept) || again
		}
	}
	return kept
}

// holders keeps what alone leads to a manifest that stays and has no tag: without
// it nobody would find that again, and a registry's garbage collection would take
// it. It reports whether there was any.
func (in *retentionInput) holders(r repository, g *graph, kept map[stella.Digest]string) bool {
	tags, found := tagsOf(r), false
	own := map[stella.Digest]bool{} // gets a tag
	for _, n := range in.needs {
		own[n.Image.Digest] = own[n.Image.Digest] || place(n.Image) == place(r.at)
	}
	for _, d := range sortedKeys(r.shelf.Manifests) {
		if _, stays := kept[d]; stays {
			continue
		}
		for _, child := range r.shelf.Manifests[d].Children {
			_, stays := kept[child]
			held := slices.ContainsFunc(g.neededBy[child], func(p stella.Digest) bool {
				_, stays := kept[p]
				return stays && slices.Contains(r.shelf.Manifests[p].Children, child)
			})
			if stays && !held && len(tags[child]) == 0 && !own[child] {
				g.reach(d, "what alone leads to "+child.Short()+", which stays", kept)
				found = true
				break
			}
		}
	}
	return found
}

// spare says why a manifest stays for its own sake; empty where it need not.
// What is untagged and below an index is as old as that.
func (in *retentionInput) spare(r repository, d stella.Digest, tags []string) string {
	m := r.shelf.Manifests[d]
	made := in.madeOrUsed(r, d)
	switch i := slices.IndexFunc(tags, func(t string) bool { return strings.HasPrefix(t, keepPrefix) && !in.ours(t) }); {
	case i >= 0:
		return "kept by another config repository, with tag " + tags[i]
	case m.Unread != "":
		return "not understood: " + m.Unread
	case len(tags) == 0:
		return ""
	case made.IsZero():
		return "of unknown age"
	case !made.Before(in.olderThan):
		return "younger than " + in.olderThan.UTC().Format(time.RFC3339)
	}
	return ""
}

// undated reports whether a time is before any image was made: builds that are to
// be the same each time say 1970, or 1980 where a zip file has a part in it.
func undated(t time.Time) bool { return t.Year() < 1990 }

// madeOrUsed is the later of when a manifest was made, by its own word, and when
// a deployment last brought it; zero where neither is known. What is about
// another manifest and has no date is as old as that.
func (in *retentionInput) madeOrUsed(r repository, d stella.Digest) time.Time {
	m := r.shelf.Manifests[d]
	made := m.Created
	if subject, ok := r.shelf.Manifests[m.Subject]; undated(made) && ok {
		made = subject.Created
	}
	if undated(made) {
		made = time.Time{}
	}
	if used := in.used[d]; used.After(made) {
		return used
	}
	return made
}

// pruneOne chooses what is deleted of a repository: the oldest versions first, as
// many as may be, nothing before all that needs it, and with each what it alone
// had.
func (in *retentionInput) pruneOne(r repository, g *graph, kept map[stella.Digest]string, limit int) (del []RetentionDelete, left int, why []RetentionKept) {
	tags := tagsOf(r)
	protected := map[stella.Digest]bool{}
	for _, n := range in.needs {
		protected[n.Image.Digest] = true
	}
	var list []stella.Digest
	for _, d := range sortedKeys(r.shelf.Manifests) {
		switch reason, stays := kept[d]; {
		case !stays && r.shelf.Manifests[d].Unread == "":
			list = append(list, d)
		case stays && len(tags[d]) > 0 && !protected[d]:
			why = append(why, RetentionKept{Image: at(r.at, d).String(), Why: reason})
		}
	}
	slices.SortStableFunc(list, func(a, b stella.Digest) int { return in.madeOrUsed(r, a).Compare(in.madeOrUsed(r, b)) })
	here := func(d stella.Digest) bool { _, ok := r.shelf.Manifests[d]; return ok }
	gone, chosen := map[stella.Digest]bool{}, 0
	for again := true; again; {
		again = false
		for _, d := range list {
			free := !slices.ContainsFunc(g.neededBy[d], func(p stella.Digest) bool { return here(p) && !gone[p] })
			if gone[d] || !free || len(tags[d]) > 0 && chosen >= limit {
				continue
			}
			if len(tags[d]) > 0 {
				chosen++
			}
			gone[d], again = true, true
			del = append(del, RetentionDelete{Image: at(r.at, d), Tags: tags[d], Created: in.madeOrUsed(r, d)})
		}
	}
	for _, d := range list {
		if !gone[d] && len(tags[d]) > 0 {
			left++
		}
	}
	return del, left, why
}

// tagsOf are the tags of each digest, sorted.
func tagsOf(r repository) map[stella.Digest][]string {
	out := map[stella.Digest][]string{}
	for _, tag := range sortedKeys(r.shelf.Tags) {
		out[r.shelf.Tags[tag]] = append(out[r.shelf.Tags[tag]], tag)
	}
	return out
}
