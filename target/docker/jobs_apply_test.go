package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/dockertest"
)

// release is an app with a service and a job, and applies it as the engine does.
type release struct {
	*yard
	fence int64
}

func (r *release) service(name, version, script string, more map[string]any) stella.Resource {
	fields := map[string]any{"image": dockertest.Image(r.T, version).String()}
	if script != "" {
		fields["entrypoint"] = []any{"/bin/sh", "-c", script}
	}
	maps.Copy(fields, more)
	return stella.Resource{ID: serviceID(name), Fields: fields}
}

// apply brings the target to a release and returns the deployment's id.
func (r *release) apply(kind stella.Kind, version, id string, services ...stella.Resource) error {
	r.Helper()
	r.fence++
	want := stella.State{Resources: services}
	live, err := r.d.Observe(r.Context())
	r.must(err)
	acts := map[stella.ResourceID]*stella.Action{}
	o := stella.Order{Kind: kind, Fence: r.fence, Desired: want, Sticker: stella.Sticker{
		Environment: "prod", Target: r.d.cfg.Name, Deployment: id, Release: version, Commit: version, Components: map[string]string{}, Fence: r.fence,
	}}
	for _, c := range drift.Compare(want, live, nil, time.Now()) {
		if acts[c.Resource] == nil {
			a := &stella.Action{Op: stella.OpUpdate, Changes: []stella.Change{c}}
			a.Resource, _ = want.Resource(c.Resource)
			if c.Class == stella.Missing && c.Path == "" {
				a.Op = stella.OpCreate
			}
			acts[c.Resource] = a
			o.Actions = append(o.Actions, *a)
		}
	}
	for _, s := range services {
		o.Sticker.Components[strings.TrimPrefix(string(s.ID), servicePrefix)] = s.Fields["image"].(string)
	}
	if err := r.d.Prepare(r.Context(), want, r.fence); err != nil {
		return err
	}
	return r.d.Apply(r.Context(), o, nil)
}

// state says how a service's container is, by id, and that there is no drift.
func (r *release) id(name string) string {
	r.Helper()
	c, err := r.d.component(r.Context(), name)
	r.must(err)
	return c.ID
}

func TestJobsRunWithTheDeploymentsTheyBelongTo(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "jobsapply")
	d, err := Open(t.Context(), Config{Environment: "prod", Name: "jobsapply", Project: "jobsapply", Engine: y.api, Logger: y.d.log})
	y.must(err)
	y.d = d
	r := &release{yard: y, fence: 100}
	t.Cleanup(func() {
		if err := d.Remove(context.WithoutCancel(t.Context()), 10_000); err != nil {
			t.Log(err)
		}
	})
	job := func(when string) map[string]any {
		return map[string]any{"x-stella": map[string]any{"job": when}}
	}
	app := func(version, script string) []stella.Resource {
		web := r.service("web", version, "", map[string]any{
			"dependsOn": map[string]any{"migrate": map[string]any{"condition": "service_completed_successfully", "restart": false, "required": true}},
		})
		return []stella.Resource{
			r.service("backup", version, "echo saved", job("pre-rollback")),
			r.service("migrate", version, script, job("pre-deploy")),
			r.service("smoke", version, "echo fine", job("post-deploy")),
			web,
		}
	}
	one := app("1.0.0", "echo migrated")
	y.must(r.apply(stella.KindDeploy, "1.0.0", "prod-1", one...))
	check := func(what string, want map[string]string) {
		t.Helper()
		live, err := d.Observe(t.Context())
		y.must(err)
		for _, c := range live.Observed.Components {
			if w, ok := want[c.Name]; ok && !strings.Contains(fmt.Sprint(c.State, " ", c.Detail), w) {
				t.Errorf("%s: %s is %s %q, want %q", what, c.Name, c.State, c.Detail, w)
			}
		}
		if len(live.Observed.Components) != 4 {
			t.Errorf("%s: components %+v", what, live.Observed.Components)
		}
	}
	noDrift := func(what string, want []stella.Resource) {
		t.Helper()
		live, err := d.Observe(t.Context())
		y.must(err)
		if diff := drift.Compare(stella.State{Resources: want}, live, nil, time.Now()); len(diff) > 0 {
			t.Errorf("%s: it differs: %+v", what, diff)
		}
	}
	check("deployed", map[string]string{"migrate": "exited completed", "smoke": "exited completed", "backup": "exited not due", "web": "running"})
	noDrift("deployed", one)

	migrate, web := r.id("migrate"), r.id("web")
	y.must(r.apply(stella.KindDeploy, "1.0.0", "prod-2", one...))
	if r.id("migrate") != migrate {
		t.Error("a job ran again in a deployment of the same release")
	}
	two := app("2.0.0", "echo table is locked; exit 5")
	err = r.apply(stella.KindDeploy, "2.0.0", "prod-3", two...)
	if !errors.Is(err, stella.ErrUnhealthy) || !strings.Contains(err.Error(), "exited with 5") || !strings.Contains(err.Error(), "table is locked") {
		t.Errorf("a migration that fails: %v", err)
	}
	if r.id("web") != web {
		t.Error("a service was touched after a migration had failed")
	}
	check("failed", map[string]string{"migrate": "exited exited with 5", "web": "running"})

	y.must(r.apply(stella.KindRollback, "1.0.0", "prod-4", one...))
	check("rolled back", map[string]string{"migrate": "exited not due", "backup": "exited completed", "web": "running"})
	noDrift("rolled back", one)
	if r.id("web") != web {
		t.Error("a rollback touched a service that had stayed")
	}
	two = app("2.0.0", "echo migrated")
	y.must(r.apply(stella.KindDeploy, "2.0.0", "prod-5", two...))
	check("deployed again", map[string]string{"migrate": "exited completed", "smoke": "exited completed", "web": "running"})
	noDrift("deployed again", two)
	ran := r.id("migrate")
	y.must(r.apply(stella.KindDeploy, "2.0.0", "prod-5", two...))
	if r.id("migrate") != ran {
		t.Error("a job ran twice in one deployment")
	}
	_, err = y.api.ContainerRemove(t.Context(), ran, client.ContainerRemoveOptions{Force: true})
	y.must(err)
	y.must(r.apply(stella.KindHeal, "2.0.0", "prod-6", two...))
	check("healed", map[string]string{"migrate": "exited not due"})
	noDrift("healed", two)
}
