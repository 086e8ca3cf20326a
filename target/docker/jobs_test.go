package docker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

func aJob(when string) stella.Resource {
	return stella.Resource{ID: "service/migrate", Fields: map[string]any{"x-stella": map[string]any{"job": when}}}
}

func TestWhenAJobIsDue(t *testing.T) {
	old := &stella.Sticker{Deployment: "prod-1", Release: "1.0.0", Commit: "a", Components: map[string]string{"migrate": "m"}}
	next := stella.Sticker{Deployment: "prod-2", Release: "2.0.0", Commit: "b"}
	same := stella.Sticker{Deployment: "prod-2", Release: "1.0.0", Commit: "b"}
	made := stella.Action{Op: stella.OpCreate, Resource: stella.Resource{ID: "service/migrate"}}
	changed := stella.Action{Op: stella.OpUpdate, Resource: stella.Resource{ID: "service/migrate"}}
	done := lastRun{deployment: "prod-1", started: true, succeeded: true}
	for name, c := range map[string]struct {
		job     string
		kind    stella.Kind
		before  *stella.Sticker
		after   stella.Sticker
		actions []stella.Action
		last    lastRun
		want    bool
	}{
		"the first deployment":                         {"pre-deploy", stella.KindDeploy, nil, next, nil, lastRun{}, true},
		"another release":                              {"pre-deploy", stella.KindDeploy, old, next, nil, done, true},
		"the same release again":                       {"pre-deploy", stella.KindDeploy, old, same, nil, done, false},
		"the job was changed":                          {"post-deploy", stella.KindDeploy, old, same, []stella.Action{changed}, done, true},
		"its container was cleaned up":                 {"pre-deploy", stella.KindDeploy, old, same, []stella.Action{made}, lastRun{}, false},
		"the job is new":                               {"pre-deploy", stella.KindDeploy, &stella.Sticker{Release: "1.0.0"}, same, []stella.Action{made}, lastRun{}, true},
		"it failed last time":                          {"pre-deploy", stella.KindDeploy, old, same, nil, lastRun{deployment: "prod-1", started: true}, true},
		"it succeeded in this deployment":              {"pre-deploy", stella.KindDeploy, old, next, nil, lastRun{"prod-2", true, true}, false},
		"it was interrupted in this deployment":        {"pre-deploy", stella.KindDeploy, old, next, nil, lastRun{"prod-2", true, false}, true},
		"a deploy's job in a rollback":                 {"pre-deploy", stella.KindRollback, old, next, nil, done, false},
		"a rollback's job in a deploy":                 {"pre-rollback", stella.KindDeploy, old, next, nil, lastRun{}, false},
		"a rollback":                                   {"post-rollback", stella.KindRollback, old, next, nil, lastRun{}, true},
		"a rollback of configuration within a release": {"pre-rollback", stella.KindRollback, old, same, nil, lastRun{}, true},
		"a reset": {"pre-rollback", stella.KindReset, old, next, nil, lastRun{}, true},
		"a heal":  {"pre-deploy", stella.KindHeal, old, next, []stella.Action{made}, lastRun{}, false},
	} {
		o := stella.Order{Kind: c.kind, Sticker: c.after, Actions: c.actions}
		if got := isDue(aJob(c.job), o, c.before, c.last); got != c.want {
			t.Errorf("%s: due %v, want %v", name, got, c.want)
		}
	}
	if err := checkJob(stella.Resource{ID: "service/migrate", Fields: map[string]any{
		"restart": "always", "x-stella": map[string]any{"job": "pre-deploy"},
	}}); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a job that is always restarted: %v", err)
	}
}

func TestJobsOnAnEngine(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "jobs")
	create := func(name, script, restart string) string {
		c, err := y.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Name:   "jobs-" + name + "-1",
			Config: &container.Config{Image: y.image, Entrypoint: []string{"/bin/sh", "-c", script}, Labels: y.labels("service/" + name)},
			HostConfig: &container.HostConfig{RestartPolicy: container.RestartPolicy{
				Name: container.RestartPolicyMode(restart), MaximumRetryCount: map[string]int{"on-failure": 2}[restart],
			}},
		})
		y.must(err)
		t.Cleanup(func() {
			_, _ = y.api.ContainerRemove(context.WithoutCancel(t.Context()), c.ID, client.ContainerRemoveOptions{Force: true})
		})
		return c.ID
	}
	see := func(id string) container.InspectResponse {
		c, err := y.api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		y.must(err)
		return c.Container
	}
	migrate := aJob("pre-deploy")
	migrate.Fields["secrets"] = map[string]any{"/run/secrets/db": map[string]any{"content": "hunter22"}}
	migrate.Secrets = []string{"/secrets/~1run~1secrets~1db/content"}

	works := create("works", "echo migrated", "no")
	if text, fine := jobDetail(see(works)); text != detailNotDue || !fine {
		t.Errorf("a job that did not run: %q, %v", text, fine)
	}
	if err := y.d.under(1<<40).runJob(t.Context(), migrate, works); err != nil {
		t.Errorf("a job that works: %v", err)
	}
	if text, fine := jobDetail(see(works)); text != detailCompleted || !fine {
		t.Errorf("a job that ended well: %q, %v", text, fine)
	}
	fails := create("fails", "echo connecting with hunter22; echo table is locked >&2; exit 5", "no")
	err := y.d.under(1<<40).runJob(t.Context(), migrate, fails)
	if !errors.Is(err, stella.ErrUnhealthy) || !strings.Contains(err.Error(), "pre-deploy service/migrate exited with 5") ||
		!strings.Contains(err.Error(), "table is locked") || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("a job that fails: %v", err)
	}
	if text, fine := jobDetail(see(fails)); fine || !strings.Contains(text, "exited with 5") {
		t.Errorf("a job that failed: %q, %v", text, fine)
	}
	again := create("again", "echo try >> /tmp/tries; [ $(grep -c try /tmp/tries) = 3 ]", "on-failure")
	if err := y.d.under(1<<40).runJob(t.Context(), migrate, again); err != nil || see(again).RestartCount != 2 {
		t.Errorf("a job that works at the third try: %v, restarted %d times", err, see(again).RestartCount)
	}
	hangs := create("hangs", "trap 'exit 1' TERM; echo waiting; sleep 3600 & wait", "no")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := y.d.under(1<<40).runJob(ctx, migrate, hangs); !errors.Is(err, stella.ErrTimeout) || see(hangs).State.Running {
		t.Errorf("a job that does not end: %v, still runs: %v", err, see(hangs).State.Running)
	}
	slow := create("slow", "sleep 2", "no")
	_, err = y.api.ContainerStart(t.Context(), slow, client.ContainerStartOptions{})
	y.must(err)
	began := see(slow).State.StartedAt
	if err := y.d.under(1<<40).runJob(t.Context(), migrate, slow); err != nil || see(slow).State.StartedAt != began {
		t.Errorf("a job that runs already is waited for, not started again: %v", err)
	}
}
