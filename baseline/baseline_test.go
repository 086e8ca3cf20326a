package baseline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/ledger"
)

const (
	commit = "6f1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a"
	tree1  = "9ab29ab29ab29ab29ab29ab29ab29ab29ab29ab2"
	tree2  = "1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a6f1c0f3a6f"
)

func digest(c string) stella.Digest { return stella.Digest("sha256:" + strings.Repeat(c, 64)) }

func api(t *testing.T, version string) stella.Artifact {
	t.Helper()
	a, err := stella.ParseArtifact("r.example.com/shop/api:" + version + "@" + string(digest(version)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func good(t *testing.T) stella.Deployment {
	t.Helper()
	end := noon().Add(-time.Hour)
	return stella.Deployment{
		ID: "prod-4", Environment: "prod", Sequence: 4, Status: stella.Succeeded, Commit: commit, Tree: tree1, Release: "a", Desired: digest("d"),
		Components: map[string]string{"api": api(t, "a").String()}, Shared: map[string]string{"shared/base": tree2}, FinishedAt: &end,
	}
}

func book(d ...stella.Deployment) ledger.Book {
	b := ledger.NewBook("prod")
	b.Deployments = d
	last := d[len(d)-1]
	b.State.Sequence, b.State.Current, b.State.LastGood, b.State.Last = last.Sequence, last.ID, last.ID, last.ID
	return b
}

// candidate is one that nothing stands against.
func candidate(t *testing.T) Candidate {
	t.Helper()
	d := good(t)
	return Candidate{
		Deployment: d, Book: book(d), InEffect: true, Commit: commit, Rendered: d.Desired, Now: noon(),
		Release: &configrepo.ReleaseFile{Release: stella.Release{Version: "a", Components: map[string]stella.Artifact{"api": api(t, "a")}}},
		Targets: []Target{{Name: "web-1", Changes: []stella.Change{{Resource: "service/api", Path: "/x", Class: stella.Modified, Ignored: true}}}},
		Checks:  []Check{{Name: "smoke", OK: true}},
	}
}

func TestEveryReasonAgainstACandidateIsNamedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(c *Candidate)
		want  string // codes
	}{
		"nothing":                            {func(*Candidate) {}, ""},
		"failed":                             {func(c *Candidate) { c.Deployment.Status = stella.Failed }, NotVerified},
		"something else touched the targets": {func(c *Candidate) { c.Book.State.Current = "" }, NotVerified},
		"an older one need not be in effect": {func(c *Candidate) { c.Book.State.Current, c.InEffect = "prod-5", false }, ""},
		"another runs": {func(c *Candidate) {
			c.Book.Deployments = append(c.Book.Deployments, stella.Deployment{ID: "prod-5", Sequence: 5, Status: stella.Running})
		}, InProgress},
		"held":                      {func(c *Candidate) { c.Hold = &stella.Hold{ID: "h", By: "ana", Reason: "5xx"} }, Held},
		"owed":                      {func(c *Candidate) { c.Book.State.Owed = []string{"web-2"} }, Owed},
		"pinned":                    {func(c *Candidate) { c.Pinned = "branch x" }, Pinned},
		"stopped":                   {func(c *Candidate) { c.Book.State.Stopped = &ledger.Stopped{How: "stopped", By: "bob", At: noon()} }, Stopped},
		"not on branch":             {func(c *Candidate) { c.Commit, c.NoCommit = "", "it is not on it" }, NotOnBranch},
		"does not render":           {func(c *Candidate) { c.Invalid = errors.New("compose.yaml:\nno") }, Unrenderable},
		"renders to something else": {func(c *Candidate) { c.Rendered = digest("e") }, Unrenderable},
		"no digest":                 {func(c *Candidate) { c.Release.Undigested = []string{"api"} }, Undigested},
		"an override ends":          {func(c *Candidate) { c.Release.Overrides = []configrepo.Override{{Until: noon().Add(time.Hour)}} }, Temporary},
		"one that ended, and one that never does": {func(c *Candidate) {
			c.Release.Overrides = []configrepo.Override{{Until: noon().Add(-time.Hour)}, {}}
		}, ""},
		"away":    {func(c *Candidate) { c.Targets[0].Err = stella.ErrUnreachable }, Unreachable},
		"sick":    {func(c *Candidate) { c.Targets[0].Trouble = "api is exited" }, Unhealthy},
		"drifted": {func(c *Candidate) { c.Targets[0].Changes[0].Ignored = false }, Drifted},
		"a check": {func(c *Candidate) { c.Checks[0].OK = false }, Unhealthy},
		"all of them": {func(c *Candidate) {
			c.Deployment.Status, c.Hold, c.Pinned, c.Rendered = stella.Partial, &stella.Hold{}, "x", digest("e")
			c.Book.State.Owed, c.Book.State.Stopped = []string{"web-2"}, &ledger.Stopped{How: "stopped", By: "bob", At: noon()}
			c.Release.Undigested, c.Targets[0].Trouble, c.Targets[0].Changes[0].Ignored, c.Checks[0].OK = []string{"api"}, "sick", false, false
		}, strings.Join([]string{NotVerified, Held, Owed, Pinned, Stopped, Undigested, Unrenderable, Unhealthy, Drifted, Unhealthy}, " ")},
	} {
		t.Run(name, func(t *testing.T) {
			cand := candidate(t)
			c.spoil(&cand)
			var codes []string
			for _, o := range cand.Objections() {
				codes = append(codes, o.Code)
				if o.Message == "" || o.Fix == "" || strings.Contains(o.Message, "\n") {
					t.Errorf("%+v", o)
				}
			}
			if got := strings.Join(codes, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestACandidateBecomesAFileThatItsOwnDeploymentAgreesWith.
func TestACandidateBecomesAFileThatItsOwnDeploymentAgreesWith(t *testing.T) {
	c := candidate(t)
	b := c.Baseline("Ana\x1b <ana@example.com>", " better\n")
	if text, err := configrepo.EncodeBaseline(b); err != nil || !strings.Contains(string(text), `\\u001B`) {
		t.Errorf("%v\n%s", err, text)
	}
	if got := Disagreements(b, c.Deployment); len(got) > 0 || b.Reason != "better\\u000a" && b.Reason != "better" {
		t.Errorf("%v, reason %q", got, b.Reason)
	}
	if !SameContent(b, c.Baseline("bob", "other")) {
		t.Error("who captured it makes no difference")
	}
	c.Deployment.Shared["shared/base"] = tree1
	if b.Shared["shared/base"] != tree2 || SameContent(b, c.Baseline("bob", "other")) {
		t.Error("a baseline is a value")
	}
}

func TestVerifyHearsEveryWitness(t *testing.T) {
	sound := func(t *testing.T) (configrepo.Baseline, Evidence) {
		c := candidate(t)
		return c.Baseline("ana", "good"), Evidence{
			Book: c.Book, Tree: tree1, Release: c.Release, Rendered: digest("d"), Today: digest("d"), Asked: true,
			Shared:    map[string]SharedTree{"shared/base": {Now: tree2}},
			Artifacts: []Artifact{{Image: "api", Where: "registry"}},
		}
	}
	gone, away := fmt.Errorf("tree: %w", stella.ErrNotFound), fmt.Errorf("git: %w", stella.ErrUnreachable)
	for name, c := range map[string]struct {
		spoil   func(b *configrepo.Baseline, ev *Evidence)
		want    string // who does not agree
		unknown bool
	}{
		"all agree":                       {func(*configrepo.Baseline, *Evidence) {}, "", false},
		"the commit was never there":      {func(_ *configrepo.Baseline, ev *Evidence) { ev.OnBranch = gone }, "commit", false},
		"git does not answer":             {func(_ *configrepo.Baseline, ev *Evidence) { ev.OnBranch = away }, "commit", true},
		"a forged tree":                   {func(b *configrepo.Baseline, _ *Evidence) { b.Tree = tree2 }, "tree ledger", false},
		"the tree is gone":                {func(_ *configrepo.Baseline, ev *Evidence) { ev.Tree, ev.TreeErr = "", gone }, "tree", false},
		"another environment's":           {func(b *configrepo.Baseline, _ *Evidence) { b.Deployment = "staging-4" }, "ledger", false},
		"one whose name only begins so":   {func(b *configrepo.Baseline, _ *Evidence) { b.Deployment = "prod-eu-4" }, "ledger", false},
		"it failed":                       {func(_ *configrepo.Baseline, ev *Evidence) { ev.Book.Deployments[0].Status = stella.Failed }, "ledger", false},
		"the ledger knows other images":   {func(_ *configrepo.Baseline, ev *Evidence) { ev.Book.Deployments[0].Components["api"] = "x" }, "ledger", false},
		"the ledger knows another dir":    {func(_ *configrepo.Baseline, ev *Evidence) { ev.Book.Deployments[0].Shared = nil }, "ledger", false},
		"the ledger was lost":             {func(_ *configrepo.Baseline, ev *Evidence) { ev.Book = ledger.NewBook("prod") }, "ledger", false},
		"the ledger forgot":               {func(b *configrepo.Baseline, _ *Evidence) { b.Deployment = "prod-3" }, "", false},
		"the ledger has not got that far": {func(b *configrepo.Baseline, _ *Evidence) { b.Deployment = "prod-40" }, "ledger", false},
		"other components":                {func(b *configrepo.Baseline, _ *Evidence) { b.Components = nil }, "ledger release", false},
		"renders to something else":       {func(_ *configrepo.Baseline, ev *Evidence) { ev.Rendered = digest("e") }, "desired", false},
		"does not render":                 {func(_ *configrepo.Baseline, ev *Evidence) { ev.RenderedErr = stella.ErrInvalid }, "desired", false},
		"operated otherwise":              {func(_ *configrepo.Baseline, ev *Evidence) { ev.Today = digest("e") }, "", false},
		"not usable today":                {func(_ *configrepo.Baseline, ev *Evidence) { ev.TodayErr = stella.ErrInvalid }, "today", false},
		"the shared directory is gone":    {func(_ *configrepo.Baseline, ev *Evidence) { ev.Shared["shared/base"] = SharedTree{Err: gone} }, "shared/base", false},
		"it is another one today":         {func(_ *configrepo.Baseline, ev *Evidence) { ev.Shared["shared/base"] = SharedTree{Now: tree1} }, "", false},
		"the image is nowhere":            {func(_ *configrepo.Baseline, ev *Evidence) { ev.Artifacts[0] = Artifact{Image: "api"} }, "api", false},
		"the registry does not answer":    {func(_ *configrepo.Baseline, ev *Evidence) { ev.Artifacts[0] = Artifact{Image: "api", Unknown: true} }, "api", true},
		"nobody was asked for images":     {func(_ *configrepo.Baseline, ev *Evidence) { ev.Artifacts, ev.Asked = []Artifact{{Image: "api"}}, false }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			b, ev := sound(t)
			c.spoil(&b, &ev)
			all := Verify(b, ev)
			var against []string
			for _, w := range all {
				if !w.OK {
					against = append(against, w.Name)
				}
			}
			if got := strings.Join(against, " "); got != c.want {
				t.Errorf("got %q, want %q: %+v", got, c.want, all)
			}
			if ok, unknown := Verdict(all); ok != (c.want == "") || unknown != c.unknown || len(Findings(all)) != len(against) {
				t.Errorf("verdict %v, unknown %v, findings %v", ok, unknown, Findings(all))
			}
		})
	}
}

func TestWhenABaselineComesByItself(t *testing.T) {
	present := func(id string, at time.Duration) *configrepo.Baseline {
		return &configrepo.Baseline{Deployment: id, CapturedAt: noon().Add(at)}
	}
	for name, c := range map[string]struct {
		spoil func(a *Automatic)
		now   bool
		at    time.Duration // after noon; 99h for never
	}{
		"not asked for":  {func(a *Automatic) { a.After = 0 }, false, 99 * time.Hour},
		"too early":      {func(*Automatic) {}, false, 23 * time.Hour},
		"due":            {func(a *Automatic) { a.Now = noon().Add(23 * time.Hour) }, true, 23 * time.Hour},
		"sick meanwhile": {func(a *Automatic) { a.Now, a.SickAt = noon().Add(23*time.Hour), noon() }, false, 24 * time.Hour},
		"sick before":    {func(a *Automatic) { a.Now, a.SickAt = noon().Add(23*time.Hour), noon().Add(-9*time.Hour) }, true, 23 * time.Hour},
		"drifted meanwhile, as the ledger knows": {func(a *Automatic) {
			ended := noon().Add(time.Hour)
			a.Now, a.Drift.Ended = noon().Add(23*time.Hour), []stella.DriftFinding{{Ended: stella.EndWentAway, EndedAt: &ended}}
		}, false, 25 * time.Hour},
		"that is ignored by now": {func(a *Automatic) {
			ended := noon().Add(time.Hour)
			a.Now, a.Drift.Ended = noon().Add(23*time.Hour), []stella.DriftFinding{{Ended: stella.EndIgnored, EndedAt: &ended}}
		}, true, 23 * time.Hour},
		"it is it already":       {func(a *Automatic) { a.Present = present("prod-4", -30*time.Minute) }, false, 99 * time.Hour},
		"an older one":           {func(a *Automatic) { a.Now, a.Present = noon().Add(25*time.Hour), present("prod-3", -2*time.Hour) }, true, 23 * time.Hour},
		"one chosen since":       {func(a *Automatic) { a.Now, a.Present = noon().Add(25*time.Hour), present("prod-3", 0) }, false, 99 * time.Hour},
		"the same content":       {func(a *Automatic) { a.Present = &configrepo.Baseline{Tree: tree1, Desired: digest("d")} }, false, 99 * time.Hour},
		"it can not be read":     {func(a *Automatic) { a.Unreadable = true }, false, 99 * time.Hour},
		"it was never verified":  {func(a *Automatic) { a.Deployment.Status = stella.Partial }, false, 99 * time.Hour},
		"nobody knows when that": {func(a *Automatic) { a.Deployment.FinishedAt = nil }, false, 99 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			a := Automatic{After: 24 * time.Hour, Deployment: good(t), Now: noon()}
			c.spoil(&a)
			want := noon().Add(c.at)
			if c.at == 99*time.Hour {
				want = time.Time{}
			}
			if now, at := a.Due(); now != c.now || !at.Equal(want) {
				t.Errorf("got %v, %s, want %v, %s", now, at, c.now, want)
			}
		})
	}
}

func TestComponentsThatDiffer(t *testing.T) {
	a, b := api(t, "a"), api(t, "b")
	got := Components(map[string]stella.Artifact{"same": a, "gone": a, "other": a}, map[string]stella.Artifact{"same": a, "other": b, "new": b})
	want := []ComponentChange{{"gone", a.String(), ""}, {"new", "", b.String()}, {"other", a.String(), b.String()}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Components(nil, nil); got != nil {
		t.Errorf("%v", got)
	}
	if got := Age(configrepo.Baseline{CapturedAt: noon()}, noon().Add(-time.Hour)); got != 0 {
		t.Errorf("from the future: %s", got)
	}
}
