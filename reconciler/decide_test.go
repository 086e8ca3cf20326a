package reconciler

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/git"
	"github.com/stella-ops/stella/ledger"
)

// history writes deployments as "kind tree status", oldest first; the last
// succeeded one is in effect unless a later one touched the targets.
type past struct {
	kind   stella.Kind
	tree   string
	status stella.Status
}

func book(history []past, holds ...stella.Hold) ledger.Book {
	b := ledger.NewBook("prod")
	b.State.Holds = holds
	for i, p := range history {
		d := stella.Deployment{
			ID: ledger.DeploymentID("prod", int64(i+1)), Sequence: int64(i + 1), Environment: "prod", Kind: p.kind, Status: p.status,
			Tree: p.tree, Desired: stella.Digest(p.tree), Release: p.tree,
		}
		b.State.Sequence = d.Sequence
		switch p.status {
		case stella.Succeeded:
			b.State.Current, b.State.LastGood, b.State.Last = d.ID, d.ID, d.ID
		case stella.Failed, stella.Partial, stella.Aborted:
			b.State.Current, b.State.Last = "", d.ID
		}
		b.Deployments = append(b.Deployments, d)
	}
	return b
}

// wants is a scene in which the branch asks for a tree.
func wants(tree string, b ledger.Book) *scene {
	return &scene{book: b, source: &source{
		head: &head{commit: "c0ffee"}, name: "prod", app: git.ID(tree),
		desired: &configrepo.Desired{Digest: stella.Digest(tree), Targets: []configrepo.TargetState{{Name: "t", State: stella.State{
			Resources: []stella.Resource{{ID: "service/web", Fields: map[string]any{"image": tree}}},
		}}}},
	}}
}

func TestDecide(t *testing.T) {
	const (
		deploy   = stella.KindDeploy
		rollback = stella.KindRollback
		heal     = stella.KindHeal
		reset    = stella.KindReset
		good     = stella.Succeeded
	)
	heldB := stella.Hold{ID: "h", Tree: "B", Release: "B", Reason: "bad"}
	type got struct {
		Act      act
		Sync     stella.Sync
		Kind     stella.Kind
		Restores string
	}
	for name, c := range map[string]struct {
		head    string
		history []past
		holds   []stella.Hold
		change  func(*scene)
		locked  bool
		retry   bool
		want    got
	}{
		"a new environment is deployed": {head: "A", want: got{actApply, stella.OutOfSync, deploy, ""}},
		"what is deployed and asked for is left alone": {
			head: "A", history: []past{{deploy, "A", good}}, want: got{actNothing, stella.Synced, heal, "prod-1"},
		},
		"a new commit is deployed": {
			head: "B", history: []past{{deploy, "A", good}}, want: got{actApply, stella.OutOfSync, deploy, ""},
		},
		"the same app, operated differently, is deployed": {
			head: "A", history: []past{{deploy, "A", good}}, change: func(s *scene) { s.desired.Digest = "other" },
			want: got{actApply, stella.OutOfSync, deploy, ""},
		},
		"a commit that brings an earlier release back is a rollback to it": {
			head: "A", history: []past{{deploy, "A", good}, {deploy, "B", good}}, want: got{actApply, stella.OutOfSync, rollback, "prod-1"},
		},
		"a failed commit waits for a person": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Failed}}, want: got{actStop, stella.SyncFailed, "", ""},
		},
		"a person may try a failed commit again": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Failed}}, retry: true,
			want: got{actApply, stella.OutOfSync, deploy, ""},
		},
		"a partial one waits for a person too": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Partial}}, want: got{actStop, stella.SyncPartial, "", ""},
		},
		"one that touched nothing is tried again": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Errored}}, want: got{actApply, stella.OutOfSync, deploy, ""},
		},
		"one whose driver died is tried again": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Running}}, want: got{actApply, stella.OutOfSync, deploy, ""},
		},
		"a revert after a failure brings the verified release back": {
			head: "A", history: []past{{deploy, "A", good}, {deploy, "B", stella.Failed}}, want: got{actApply, stella.OutOfSync, rollback, "prod-1"},
		},
		"a rollback of a part whose driver died is finished as a rollback": {
			head: "C", history: []past{{deploy, "A", good}, {deploy, "B", good}, {rollback, "C", stella.Running}},
			want: got{actApply, stella.OutOfSync, rollback, ""},
		},
		"a rollback whose driver died is finished as one": {
			head: "A", history: []past{{deploy, "A", good}, {deploy, "B", stella.Failed}, {rollback, "A", stella.Aborted}},
			want: got{actApply, stella.OutOfSync, rollback, "prod-1"},
		},
		"a heal whose driver died is finished as one": {
			head: "A", history: []past{{deploy, "A", good}, {heal, "A", stella.Aborted}}, want: got{actApply, stella.OutOfSync, heal, ""},
		},
		"a reset whose driver died is finished as one": {
			head: "A", history: []past{{deploy, "A", good}, {deploy, "B", good}, {reset, "A", stella.Running}},
			want: got{actApply, stella.OutOfSync, reset, "prod-1"},
		},
		"a reset that had touched nothing when its driver died is finished as one": {
			head: "A", history: []past{{deploy, "A", good}, {deploy, "B", good}, {reset, "A", stella.Errored}},
			want: got{actApply, stella.OutOfSync, reset, "prod-1"},
		},
		"a reset to what is in effect whose driver died is finished as one": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", good}, {reset, "B", stella.Aborted}},
			want: got{actApply, stella.OutOfSync, reset, "prod-2"},
		},
		"a reset to what the ledger forgot is finished as one": {
			head: "Z", history: []past{{deploy, "A", good}, {deploy, "B", good}, {reset, "Z", stella.Aborted}},
			want: got{actApply, stella.OutOfSync, reset, ""},
		},
		"a reset that died before its commit landed is finished although the head is held": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Failed}, {reset, "A", stella.Running}},
			holds: []stella.Hold{heldB}, want: got{actGoBack, stella.Held, reset, "prod-1"},
		},
		"a rejected reset is not tried again by itself": {
			head: "A", history: []past{{deploy, "A", good}, {deploy, "B", good}, {reset, "A", stella.Failed}}, want: got{actStop, stella.SyncFailed, "", ""},
		},
		"resets that can not begin are not tried for ever": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Failed}, {reset, "A", stella.Errored}, {rollback, "A", stella.Errored}, {reset, "A", stella.Errored}},
			holds: []stella.Hold{heldB}, want: got{actStop, stella.Held, "", ""},
		},
		"what was reset away from and is asked for again is deployed": {
			head: "C", history: []past{{deploy, "A", good}, {deploy, "B", good}, {reset, "A", good}}, want: got{actApply, stella.OutOfSync, deploy, ""},
		},
		"what is held is not deployed": {
			head: "B", history: []past{{deploy, "A", good}}, holds: []stella.Hold{heldB}, want: got{actStop, stella.Held, "", ""},
		},
		"not even when a person asks": {
			head: "B", history: []past{{deploy, "A", good}}, holds: []stella.Hold{heldB}, retry: true, want: got{actStop, stella.Held, "", ""},
		},
		"a rollback that died before its commit landed is finished although the head is held": {
			head: "B", history: []past{{deploy, "A", good}, {deploy, "B", stella.Failed}, {rollback, "A", stella.Running}},
			holds: []stella.Hold{heldB}, want: got{actGoBack, stella.Held, rollback, "prod-1"},
		},
		"the held change under another tree is held": {
			head: "C", history: []past{{deploy, "A", good}}, change: func(s *scene) { s.desired.Targets[0].State.Resources[0].Fields["image"] = "B" },
			holds: []stella.Hold{{ID: "h", Tree: "B", Resources: fingerprints(wants("B", ledger.Book{}).desired)}},
			want:  got{actStop, stella.Held, "", ""},
		},
		"a change of the guilty part passes": {
			head: "C", history: []past{{deploy, "A", good}},
			holds: []stella.Hold{{ID: "h", Tree: "B", Resources: fingerprints(wants("B", ledger.Book{}).desired)}},
			want:  got{actApply, stella.OutOfSync, deploy, ""},
		},
		"an invalid commit leaves everything alone": {
			head: "B", history: []past{{deploy, "A", good}}, change: func(s *scene) { s.invalid = errors.New("no") },
			want: got{actStop, stella.Invalid, "", ""},
		},
		"somebody who is at it comes first": {
			head: "B", history: []past{{deploy, "A", good}}, locked: true, want: got{actWait, stella.Progressing, "", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sc := wants(c.head, book(c.history, c.holds...))
			if c.change != nil {
				c.change(sc)
			}
			if c.locked {
				sc.book.State.Lock = &stella.Lock{Holder: "ana", Purpose: "deploy B", ExpiresAt: time.Now().Add(time.Minute)}
			}
			v := sc.decide(c.locked, c.retry)
			have := got{Act: v.act, Sync: v.sync, Kind: v.kind}
			if v.restores != nil {
				have.Restores = v.restores.ID
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Errorf("%s (-want +got):\n%s", v.reason, diff)
			}
		})
	}
}
