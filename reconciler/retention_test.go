package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/registry"
	"github.com/stella-ops/stella/reconciler"
)

// distribution starts Debian's docker-registry, with deletion on, on a free port
// of loopback.
func distribution(t *testing.T) (host string) {
	t.Helper()
	binary, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("docker-registry is missing: apt-get install docker-registry")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.yml")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\nhttp: {addr: %q}\n", t.TempDir(), host)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // t.Context ends before the clean-ups
	cmd := exec.CommandContext(ctx, binary, "serve", file)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // REGISTRY_… would change its configuration
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	up, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(up, "tcp", host)
		if err == nil {
			_ = conn.Close()
			return host
		}
		select {
		case <-tick.C:
		case <-up.Done():
			t.Fatalf("docker-registry does not listen: %v", err)
		}
	}
}

// shop is a world whose images are in a real registry.
type shop struct {
	*world

	host   string
	client *interfering
	images map[string]stella.Artifact
	config reconciler.Config
}

// interfering is a registry's client that lets something happen before deletions.
type interfering struct {
	*artifact.Client

	before func(n int)
	n      int
}

func (i *interfering) Delete(ctx context.Context, a stella.Artifact) error {
	if i.before != nil {
		i.before(i.n)
	}
	i.n++
	return i.Client.Delete(ctx, a)
}

// newShop has so many releases 1, 2, … in its registry, of which all are made
// before this day; the ones named are deployed in that order.
func newShop(t *testing.T, releases int, deployed ...string) *shop {
	t.Helper()
	host := distribution(t)
	s := &shop{world: newWorld(t), host: host, images: map[string]stella.Artifact{}}
	for n := range releases {
		tag := fmt.Sprint(n + 1)
		a, err := registry.Push(t.Context(), host, "shop/web", tag, registry.Build{
			Layers:  [][]registry.File{{{Name: "app", Content: []byte(tag)}}},
			Config:  artifact.ImageConfig{Cmd: []string{"/app"}},
			Created: time.Date(2026, 1, n+1, 0, 0, 0, 0, time.UTC),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.images[tag] = a
	}
	s.client = &interfering{Client: artifact.New(artifact.Config{PlainHTTP: []string{host}})}
	s.config = s.world.config("ana", nil)
	s.config.Artifacts = func(*configrepo.Project) reconciler.Artifacts { return s.client }
	s.Engine = reconciler.New(s.config)
	for i, v := range deployed {
		if i == 0 {
			s.commitFile("stella.yaml", "apiVersion: stella/v1\nkind: Project\nname: shop\nretention: {minVersions: 1}\n", "Keep one")
			s.commitFile("envs/prod/app/compose.yaml", "services:\n  web: {}\n", "From the registry")
			for _, env := range []string{"prod", "staging"} {
				s.commitFile("envs/"+env+"/app/release.yaml", "apiVersion: stella/v1\nkind: Release\nversion: x\ncomponents:\n  web: "+s.images[v].String()+"\n", "From the registry")
			}
		}
		out, err := s.Deploy(t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"": s.images[v]}})
		if err != nil || out.Deployment == nil && !out.Nothing {
			t.Fatalf("deploy %s: %+v, %v", v, out, err)
		}
	}
	return s
}

// tags are those of the repository, protecting ones as "keep ENVIRONMENT TAG".
func (s *shop) tags() string {
	s.t.Helper()
	all, err := s.client.Tags(s.t.Context(), s.images["1"])
	if err != nil {
		s.t.Fatal(err)
	}
	for i, tag := range all {
		for version, a := range s.images {
			for _, env := range []string{"prod", "staging"} {
				if strings.HasPrefix(tag, "stella-keep-"+env+"-"+a.Digest.Hex()[:12]+".") {
					all[i] = "keep-" + env + "-" + version
				}
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (s *shop) retain(req reconciler.RetentionRequest) reconciler.RetentionReport {
	s.t.Helper()
	r, err := s.Retain(s.t.Context(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// later is an engine for which months have passed.
func (s *shop) later() {
	c := s.config
	c.Now = func() time.Time { return time.Now().AddDate(0, 3, 0) }
	s.Engine = reconciler.New(c)
}

func TestRetentionProtectsAndDeletesInARealRegistry(t *testing.T) {
	s := newShop(t, 6, "1", "2", "3", "4")
	s.reconcileAll()
	if got, want := s.tags(), "1 2 3 4 5 6"; got != want {
		t.Fatalf("tags %s, want %s", got, want)
	}
	dry := s.retain(reconciler.RetentionRequest{DryRun: true})
	if got, want := s.tags(), "1 2 3 4 5 6"; got != want || len(dry.Protected) == 0 {
		t.Errorf("a dry run did %s", got)
	}
	if r := s.retain(reconciler.RetentionRequest{}); r.Hash != dry.Hash || r.Done != len(dry.Protected) {
		t.Errorf("the run was %+v, the dry run %+v", r, dry)
	}
	// What prod's machines run is 1: they are staging's too.
	const protected = "1 2 3 4 5 6 keep-prod-1 keep-prod-3 keep-prod-4 keep-staging-1"
	if got := s.tags(); got != protected {
		t.Errorf("tags %s, want %s", got, protected)
	}
	if r := s.retain(reconciler.RetentionRequest{}); !r.Empty() {
		t.Errorf("a second run would do %+v", r)
	}
	if r := s.retain(reconciler.RetentionRequest{Prune: true}); len(r.Deleted) != 2 { // 5 and 6 were never deployed; 2 was, today
		t.Errorf("a prune deleted %+v", r.Deleted)
	}
	s.later()
	s.retain(reconciler.RetentionRequest{Prune: true})
	if got, want := s.tags(), "1 3 4 keep-prod-1 keep-prod-3 keep-prod-4 keep-staging-1"; got != want {
		t.Errorf("tags %s, want %s", got, want)
	}
	for _, v := range []string{"1", "3", "4"} {
		if r, err := s.client.Check(t.Context(), s.images[v]); err != nil || !r.Available {
			t.Errorf("%s: %+v, %v", v, r, err)
		}
	}
	if r := s.retain(reconciler.RetentionRequest{Prune: true}); !r.Empty() {
		t.Errorf("another prune would do %+v", r)
	}
}

// reconcileAll brings staging to what its files say too.
func (s *shop) reconcileAll() {
	s.t.Helper()
	if _, err := s.Reconcile(s.t.Context(), reconciler.ReconcileRequest{Environment: "staging"}); err != nil {
		s.t.Fatal(err)
	}
}

// TestAPruneStopsWhereARollbackWantsWhatIsToGo is R12 of the design: what is
// needed is read again while it deletes.
func TestAPruneStopsWhereARollbackWantsWhatIsToGo(t *testing.T) {
	s := newShop(t, 5, "1", "2", "3", "4")
	s.later()
	old := s.images["2"]
	s.client.before = func(int) { t.Error("something was deleted") }
	plan := s.retain(reconciler.RetentionRequest{Prune: true, DryRun: true})
	if !slices.ContainsFunc(plan.Deleted, func(d reconciler.RetentionDelete) bool { return d.Image.Digest == old.Digest }) {
		t.Fatalf("2 is not to go: %+v", plan.Deleted)
	}
	// Somebody goes back to it after the plan was agreed to.
	if out, err := s.Rollback(t.Context(), reconciler.RollbackRequest{Environment: prod, To: "prod-2", Options: reconciler.Options{Reason: "4 is broken"}}); err != nil || out.Deployment.Status != stella.Succeeded {
		t.Fatalf("%+v, %v", out.Deployment, err)
	}
	_, err := s.Retain(t.Context(), reconciler.RetentionRequest{Prune: true, PlanHash: plan.Hash})
	if !errors.Is(err, stella.ErrConflict) {
		t.Errorf("another plan: %v", err)
	}
	if r, err := s.client.Check(t.Context(), old); err != nil || !r.Available {
		t.Errorf("what runs: %+v, %v", r, err)
	}
}

// TestAPruneThatIsOvertakenStops: between two deletions somebody deploys one of
// those that are to go.
func TestAPruneThatIsOvertakenStops(t *testing.T) {
	s := newShop(t, 14, "14")
	s.later()
	last := s.images["13"]
	s.client.before = func(n int) {
		if n != 2 {
			return
		}
		if _, err := s.Deploy(t.Context(), reconciler.DeployRequest{Environment: prod, Artifacts: map[string]stella.Artifact{"": last}}); err != nil {
			t.Error(err)
		}
	}
	r, err := s.Retain(t.Context(), reconciler.RetentionRequest{Prune: true})
	if !errors.Is(err, stella.ErrConflict) || len(r.Deleted) != 13 || s.client.n != 10 {
		t.Errorf("%d of %d deleted: %v", s.client.n, len(r.Deleted), err)
	}
	if r, err := s.client.Check(t.Context(), last); err != nil || !r.Available {
		t.Errorf("what was deployed meanwhile: %+v, %v", r, err)
	}
}

func TestNothingIsDeletedWhileATargetOrALedgerIsSilent(t *testing.T) {
	s := newShop(t, 3, "1", "2")
	s.machines["a"].down = true
	_, err := s.Retain(t.Context(), reconciler.RetentionRequest{Prune: true})
	if !errors.Is(err, stella.ErrUnreachable) || stella.Hint(err) == "" {
		t.Errorf("a target is away: %v", err)
	}
	s.retain(reconciler.RetentionRequest{}) // protecting goes on
	s.machines["a"].down = false
	s.commitFile("envs/prod/app/release.yaml", "version: [\n", "Break it")
	if _, err := s.Retain(t.Context(), reconciler.RetentionRequest{Prune: true}); err == nil {
		t.Error("an environment can not be read and something is deleted")
	}
	if got := s.tags(); !strings.HasPrefix(got, "1 2 3 ") {
		t.Errorf("tags %s", got)
	}
}

func TestTwoConfigRepositoriesKeepTheirTagsApart(t *testing.T) {
	s := newShop(t, 3, "1", "2")
	theirs := "stella-keep-prod-" + s.images["3"].Digest.Hex()[:12] + ".0a0b0c0d"
	if err := s.client.Tag(t.Context(), s.images["3"], theirs); err != nil {
		t.Fatal(err)
	}
	s.later()
	r := s.retain(reconciler.RetentionRequest{Prune: true})
	if len(r.Deleted)+len(r.Released) > 0 || !strings.Contains(s.tags(), "keep-prod-3") {
		t.Errorf("what is another's: %+v", r)
	}
	if len(r.Kept) != 1 || !strings.Contains(r.Kept[0].Why, "another config repository") {
		t.Errorf("kept %+v", r.Kept)
	}
}

func TestSetRetentionIsACommit(t *testing.T) {
	w := newWorld(t)
	before := w.head()
	set, err := w.SetRetention(t.Context(), 8, "audits")
	if err != nil || set.Was != 5 || set.Commit == before || set.Commit != w.head() {
		t.Fatalf("%+v, %v", set, err)
	}
	if again, err := w.SetRetention(t.Context(), 8, ""); err != nil || again.Commit != "" || w.head() != set.Commit {
		t.Errorf("once more: %+v, %v", again, err)
	}
	if _, err := w.SetRetention(t.Context(), 0, ""); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("none: %v", err)
	}
}
