package reconciler

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

var retentionNow = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// shelfDigestOf is the digest of the manifest with a number.
func shelfDigestOf(n int) stella.Digest {
	return stella.Digest("sha256:" + fmt.Sprintf("%012x%052x", n, n))
}

// drawRetention makes repositories with indexes, shared children, referrers and
// tags of all kinds, and environments that need some of it.
func drawRetention(t *rapid.T) retentionInput {
	in := retentionInput{
		project: "0a0b0c0d", prune: true, olderThan: retentionNow.Add(-24 * time.Hour), digests: map[stella.Digest]bool{},
		used: map[stella.Digest]time.Time{}, unsure: map[stella.EnvName]bool{}, limit: rapid.IntRange(1, 12).Draw(t, "limit"),
	}
	const most = 10
	age := func(name string) time.Time {
		return rapid.SampledFrom([]time.Time{{}, time.Unix(0, 0), retentionNow.Add(-time.Hour), retentionNow.Add(-48 * time.Hour), retentionNow.Add(-96 * time.Hour)}).Draw(t, name)
	}
	made := map[stella.Digest]artifact.Stored{}
	for n := range most {
		m := artifact.Stored{Created: age("created")}
		for child := range n {
			if rapid.IntRange(0, 3).Draw(t, "child") == 0 {
				m.Children = append(m.Children, shelfDigestOf(child))
			}
		}
		if n > 0 && rapid.IntRange(0, 3).Draw(t, "referrer") == 0 {
			m.Subject = shelfDigestOf(rapid.IntRange(0, n-1).Draw(t, "subject"))
		}
		made[shelfDigestOf(n)] = m
	}
	for _, name := range []string{"shop/api", "shop/web"} {
		repo := repository{at: stella.Artifact{Registry: "r.example.com", Repository: name}, missing: map[stella.Digest]bool{}}
		repo.shelf = artifact.Shelf{Tags: map[string]stella.Digest{}, Manifests: map[stella.Digest]artifact.Stored{}}
		for i := range rapid.IntRange(0, 8).Draw(t, "tags") {
			d := shelfDigestOf(rapid.IntRange(0, most-1).Draw(t, "tagged"))
			tag := rapid.SampledFrom([]string{
				fmt.Sprintf("v%d", i), keepTag("prod", d, in.project), keepTag("gone", d, in.project), keepTag("prod", d, "ffffffff"), "stella-keep-odd",
			}).Draw(t, "tag")
			repo.shelf.Tags[tag] = d
		}
		in.found = append(in.found, repo)
	}
	for range rapid.IntRange(0, 3).Draw(t, "needs") {
		in.needs = append(in.needs, Protection{
			Environment: rapid.SampledFrom([]stella.EnvName{"prod", "staging"}).Draw(t, "env"), Why: []string{"in effect"},
			Image: stella.Artifact{Registry: "r.example.com", Repository: rapid.SampledFrom([]string{"shop/api", "shop/web"}).Draw(t, "where"), Digest: shelfDigestOf(rapid.IntRange(0, most-1).Draw(t, "needed"))},
		})
	}
	for n := range most {
		if rapid.IntRange(0, 4).Draw(t, "used") == 0 {
			in.used[shelfDigestOf(n)] = age("last used")
		}
	}
	settle(&in, made)
	return in
}

// settle reads the repositories as Shelf does: what is tagged or needed, and all
// below. A digest that was deleted is not there.
func settle(in *retentionInput, made map[stella.Digest]artifact.Stored) {
	for i := range in.found {
		r := &in.found[i]
		r.missing = map[stella.Digest]bool{}
		from := slices.Collect(maps.Values(r.shelf.Tags))
		had := r.shelf.Manifests
		r.shelf.Manifests = map[stella.Digest]artifact.Stored{}
		var read func(d stella.Digest)
		read = func(d stella.Digest) {
			m := made[d]
			if _, there := had[d]; len(had) > 0 && !there {
				m = artifact.Stored{Unread: "it is not there", Absent: true}
			}
			r.shelf.Manifests[d] = m
			for _, child := range m.Children {
				read(child)
			}
		}
		for _, d := range from {
			read(d)
		}
		for _, n := range in.needs {
			if place(n.Image) == place(r.at) {
				read(n.Image.Digest)
				r.missing[n.Image.Digest] = r.shelf.Manifests[n.Image.Digest].Absent
			}
		}
	}
}

// clone is a registry that can be changed without the other.
func (in retentionInput) clone() retentionInput {
	in.found = slices.Clone(in.found)
	for i, r := range in.found {
		in.found[i].shelf = artifact.Shelf{Tags: maps.Clone(r.shelf.Tags), Manifests: maps.Clone(r.shelf.Manifests)}
	}
	return in
}

// step is one change of a registry, as carryOut makes them in order.
func (p *RetentionPlan) steps() []func(in *retentionInput) {
	var out []func(in *retentionInput)
	repo := func(in *retentionInput, a stella.Artifact) *repository {
		return &in.found[slices.IndexFunc(in.found, func(r repository) bool { return place(r.at) == place(a) })]
	}
	for _, tag := range p.Protected {
		out = append(out, func(in *retentionInput) { repo(in, tag.Image).shelf.Tags[tag.Tag] = tag.Image.Digest })
	}
	for _, tag := range p.Released {
		out = append(out, func(in *retentionInput) { delete(repo(in, tag.Image).shelf.Tags, tag.Tag) })
	}
	for _, d := range p.Deleted {
		out = append(out, func(in *retentionInput) {
			r := repo(in, d.Image)
			delete(r.shelf.Manifests, d.Image.Digest)
			maps.DeleteFunc(r.shelf.Tags, func(_ string, named stella.Digest) bool { return named == d.Image.Digest })
		})
	}
	return out
}

// mustStay is what a set of digests reaches, told in another way than the plan:
// by repeating over all manifests until nothing is added.
func mustStay(in retentionInput) map[stella.Digest]bool {
	stay := map[stella.Digest]bool{}
	for _, n := range in.needs {
		stay[n.Image.Digest] = true
	}
	for _, r := range in.found {
		for tag, d := range r.shelf.Tags {
			if tag == "stella-keep-odd" || tag == keepTag("prod", d, "ffffffff") {
				stay[d] = true
			}
		}
	}
	for before := -1; before != len(stay); {
		before = len(stay)
		for _, r := range in.found {
			for d, m := range r.shelf.Manifests {
				if stay[m.Subject] {
					stay[d] = true
				}
				if stay[d] && m.Subject != "" {
					stay[m.Subject] = true
				}
				for _, child := range m.Children {
					if stay[d] {
						stay[child] = true
					}
				}
			}
		}
	}
	return stay
}

func TestNothingThatIsNeededIsDeleted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawRetention(t)
		stay := mustStay(in)
		p := planRetention(in)
		after := in.clone()
		for i, step := range p.steps() {
			step(&after)
			wantWhole(t, in, after, fmt.Sprintf("after step %d of %+v", i, p))
		}
		deleted := 0
		for _, d := range p.Deleted {
			if stay[d.Image.Digest] {
				t.Fatalf("%s is needed and deleted: %+v", d.Image.Digest, p)
			}
			if len(d.Tags) > 0 {
				deleted++
			}
		}
		if deleted > in.limit {
			t.Fatalf("%d versions deleted, allowed are %d", deleted, in.limit)
		}
		for _, n := range in.needs {
			r := after.found[slices.IndexFunc(after.found, func(r repository) bool { return place(r.at) == place(n.Image) })]
			if got := r.shelf.Tags[keepTag(n.Environment, n.Image.Digest, in.project)]; got != n.Image.Digest {
				t.Fatalf("%s is protected by a tag of %q", n.Image.Digest, got)
			}
		}
	})
}

// wantWhole fails where a manifest that is left lacks something that it had.
func wantWhole(t *rapid.T, before, now retentionInput, when string) {
	t.Helper()
	for i, r := range now.found {
		for tag, d := range r.shelf.Tags {
			if _, ok := r.shelf.Manifests[d]; !ok {
				t.Fatalf("%s: tag %s names nothing", when, tag)
			}
		}
		for d, m := range r.shelf.Manifests {
			for _, need := range append(slices.Clone(m.Children), m.Subject) {
				_, was := before.found[i].shelf.Manifests[need]
				if _, is := r.shelf.Manifests[need]; was && !is {
					t.Fatalf("%s: %s lacks %s", when, d, need)
				}
			}
		}
	}
}

// TestTwoRetentionsAreOne: broken off anywhere and repeated, in one run or in
// many small ones, what is left is the same.
func TestTwoRetentionsAreOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawRetention(t)
		made := map[stella.Digest]artifact.Stored{}
		for _, r := range in.found {
			maps.Copy(made, r.shelf.Manifests)
		}
		whole, small := in.clone(), in.clone()
		whole.limit = 100
		p := planRetention(whole)
		for _, step := range p.steps() {
			step(&whole)
		}
		settle(&whole, made)
		if again := planRetention(whole); !again.Empty() || again.Left > 0 {
			t.Fatalf("the first run did %+v\nand the second would do %+v", p, again)
		}
		first := planRetention(small)
		if again := planRetention(in.clone()); again.Hash != first.Hash {
			t.Fatal("two looks at the same thing are two plans")
		}
		steps := first.steps()
		for _, step := range steps[:rapid.IntRange(0, len(steps)).Draw(t, "broken off after")] {
			step(&small)
		}
		settle(&small, made)
		for range 30 {
			p := planRetention(small)
			if p.Empty() {
				break
			}
			for _, step := range p.steps() {
				step(&small)
			}
			settle(&small, made)
		}
		for i := range whole.found {
			if diff := cmp.Diff(whole.found[i].shelf.Tags, small.found[i].shelf.Tags); diff != "" {
				t.Fatalf("in one run and in many (-one +many)\n%s", diff)
			}
		}
	})
}
