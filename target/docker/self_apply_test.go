package docker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/fstest"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

// TestWhateverIsAskedItStays runs orders as a daemon in one of the containers.
func TestWhateverIsAskedItStays(t *testing.T) {
	t.Parallel()
	engine := dockertest.Engine(t)
	image := dockertest.Image(t, "1.0.0")
	d, err := Open(t.Context(), Config{Environment: "stay", Name: "here", Project: "stay", Engine: engine.Client, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.root = fstest.MapFS{}
		if err := d.Remove(context.WithoutCancel(t.Context()), 100); err != nil {
			t.Error(err)
		}
	})
	service := func(name, version string) stella.Resource {
		return stella.Resource{ID: stella.ResourceID("service/" + name), Fields: map[string]any{
			"image": image.String(), "environment": map[string]any{"V": version}, "restart": "no",
		}}
	}
	order := func(fence int64, op stella.Op, r stella.Resource, all ...stella.Resource) stella.Order {
		return stella.Order{Fence: fence, Actions: []stella.Action{{Op: op, Resource: r}}, Desired: stella.State{Resources: all}}
	}
	web, own := service("web", "1"), service("stella", "1")
	first := stella.Order{Fence: 1, Desired: stella.State{Resources: []stella.Resource{own, web}}}
	for _, r := range first.Desired.Resources {
		first.Actions = append(first.Actions, stella.Action{Op: stella.OpCreate, Resource: r})
	}
	if err := d.Apply(t.Context(), first, nil); err != nil {
		t.Fatal(err)
	}
	c, err := d.component(t.Context(), "stella")
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{T: t, engine: engine, api: engine.Client}
	d.root = y.inside(c.ID)
	newer := service("stella", "2")
	for what, do := range map[string]func() error{
		"prepare": func() error {
			return d.Prepare(t.Context(), stella.State{Resources: []stella.Resource{newer, web}}, 2)
		},
		"update": func() error { return d.Apply(t.Context(), order(2, stella.OpUpdate, newer, newer, web), nil) },
		"remove": func() error {
			return d.Apply(t.Context(), order(2, stella.OpRemove, stella.Resource{ID: own.ID}, web), nil)
		},
		"stop":   func() error { return d.Stop(t.Context(), 2) },
		"delete": func() error { return d.Remove(t.Context(), 2) },
	} {
		d.trip = func(effect string, _ bool) error {
			t.Errorf("%s: touched: %s", what, effect)
			return nil
		}
		if err := do(); !errors.Is(err, stella.ErrRefused) || stella.Hint(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	d.trip = nil
	newWeb := service("web", "2")
	if err := d.Apply(t.Context(), order(2, stella.OpUpdate, newWeb, own, newWeb), nil); err != nil {
		t.Errorf("another service could not be updated: %v", err)
	}
	if now, err := d.component(t.Context(), "stella"); err != nil || now.ID != c.ID || !now.State.Running || now.State.StartedAt != c.State.StartedAt {
		t.Errorf("it is another container: %v", err)
	}
}
