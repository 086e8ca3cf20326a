package acceptance_test

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
	"github.com/stella-ops/stella/internal/git/gittest"
	"github.com/stella-ops/stella/internal/registry"
)

// The faults of crash_test.go on container engines: a rolling deploy that only
// the second engine can not bear.

// faultyVariable names the binary of faultyStella to the process inside.
const faultyVariable = "STELLA_TEST_FAULTY"

// sampledOnEngines are the effects that are tried without -every-fault, by mode:
// a round takes some ten seconds. The driver's own tests try every effect of one
// order.
func sampledOnEngines() map[string]stride {
	return map[string]stride{"before": {engineSample, 1, engineSample}, "after": {engineSample + 12, 1, engineSample + 12}}
}

// engineSample is in the middle of the first target's replacement.
const engineSample = 29

// secondCanNot is a deploy that is fine on the first engine and not on the second.
func secondCanNot() scenario {
	return scenario{
		name: "bad deploy on engines", verify: "  timeout: 5s\n", engines: true,
		modes: []string{"before", "after"}, ready: readyToDeploy("-bad"), end: (*crashed).deployedBadly,
	}
}

func TestWhateverFailsOnTheSecondOfTwoEnginesAllIsBack(t *testing.T) {
	binary, err := faultyStella()
	if err != nil {
		t.Fatal(err)
	}
	with := inside{
		args: []string{fmt.Sprintf("-every-nth=%d", *everyNth), fmt.Sprintf("-every-fault=%v", *everyFault), fmt.Sprintf("-first-effect=%d", *firstEffect), "-fault-table=" + *faultTable},
		env:  []string{faultyVariable + "=" + binary},
	}
	onlyInside(t, with, func() {
		s := secondCanNot()
		for _, mode := range s.modes {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				effects := sampledOnEngines()[mode]
				if *everyFault {
					effects = stride{*firstEffect, *everyNth, 10_000}
				}
				enumerate(t, s, mode, effects)
			})
		}
	})
}

// newCrashedOnEngines is newCrashed with two engines.
func newCrashedOnEngines(t *testing.T, s scenario) *crashed {
	t.Helper()
	w := newWorld(t, plan{targets: 2, engines: true, app: halfBad{}, more: "rollout: {strategy: rolling, batch: 1, onFailure: rollback}\n", verify: s.verify})
	w.pages("/www", "/second")
	w.must("reconcile", production)
	w.agreed(first)
	return &crashed{killed: &killed{world: w, good: first, checked: w.head()}, scenario: s}
}

// pages gives each target a variable PAGES.
func (w *world) pages(dirs ...string) {
	w.t.Helper()
	const environment = "envs/production/environment.yaml"
	text := w.git("show", "main:"+environment) + "\n"
	for i, target := range w.targets {
		variable := "    ADDRESS: " + target.address + "\n"
		text = strings.Replace(text, variable, variable+"    PAGES: "+dirs[i]+"\n", 1)
	}
	gittest.Seed(w.t, w.bare, map[string]string{environment: text})
}

// halfBad is tiny with two directories of pages: a bad version is healthy in the
// first.
type halfBad struct{ tiny }

func (halfBad) files(w *world) map[string]string {
	text := strings.ReplaceAll(publishedFile(w), "command: [", "command: [\"-h\", \"${PAGES}\", ")
	return map[string]string{composeFile: text}
}

func (a halfBad) image(w *world, version string) image {
	w.t.Helper()
	i := a.tiny.image(w, version)
	ok := registry.File{Name: "www/healthz", Mode: 0o644, Content: []byte("ok\n")}
	i.own = []registry.File{ok, {Name: "second/"}, {Name: "second/version", Mode: 0o644, Content: []byte(version)}}
	if !bad(version) {
		ok.Name = "second/healthz"
		i.own = append(i.own, ok)
	}
	i.config = v1.Config{Entrypoint: i.config.Entrypoint, Env: i.config.Env}
	return i
}

// ofService are the containers of a service, running or not.
func (k *crashed) ofService(target target, service string) []container.Summary {
	k.t.Helper()
	list, err := target.engine.Client.ContainerList(k.t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "com.docker.compose.project=shop-production", "com.docker.compose.service="+service),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return list.Items
}

// wholeOnEngine checks that a service has a container, whatever its name is just
// then, and that no two run side by side.
func (k *crashed) wholeOnEngine(target target) {
	k.t.Helper()
	for _, s := range k.services {
		running, all := 0, k.ofService(target, s)
		for _, c := range all {
			if c.State == container.StateRunning {
				running++
			}
		}
		if len(all) == 0 || running > 1 {
			k.t.Errorf("at %q: %s has %d containers of %s, of which %d run", k.fault.effect, target.name, len(all), s, running)
		}
	}
}

// tidyOnEngine checks that of each service nothing is there but its container and
// the one before it, and of the target one record.
func (k *crashed) tidyOnEngine(target target) {
	k.t.Helper()
	for _, s := range k.services {
		name := "/shop-production-" + s + "-1"
		for _, c := range k.ofService(target, s) {
			switch {
			case len(c.Names) == 1 && c.Names[0] == name && c.State == container.StateRunning:
			case len(c.Names) == 1 && c.Names[0] == name+".previous" && c.State != container.StateRunning:
			default:
				k.t.Errorf("at %q: on %s %v is %s", k.fault.effect, target.name, c.Names, c.State)
			}
		}
	}
	list, err := target.engine.Client.ContainerList(k.t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "stella.record"),
	})
	if err != nil || len(list.Items) != 1 {
		k.t.Errorf("at %q: %s has %d records (%v), want 1", k.fault.effect, target.name, len(list.Items), err)
	}
}

func (w *world) engineOf(name string) *dockertest.Daemon {
	for _, t := range w.targets {
		if t.name == name {
			return t.engine
		}
	}
	return nil
}

// madeOf checks that the container of a process is of an image: the engine knows
// what it pulled by which digest.
func (k *crashed) madeOf(engine *dockertest.Daemon, name, service string, a stella.Artifact) {
	k.t.Helper()
	c, err := engine.Client.ContainerInspect(k.t.Context(), "shop-production-"+service+"-1", client.ContainerInspectOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	i, err := engine.Client.ImageInspect(k.t.Context(), c.Container.Image)
	if err != nil || !strings.Contains(strings.Join(i.RepoDigests, " "), string(a.Digest)) {
		k.t.Errorf("at %q: %s runs an image of %v (%v), want %s", k.fault.effect, name, i.RepoDigests, err, a)
	}
}
