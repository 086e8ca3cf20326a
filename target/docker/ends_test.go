package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/dockertest"
)

// order is what brings the target from what it is to what is wanted, as the
// engine plans it.
func (s *scene) order(t testing.TB, fence int64, release string, want ...stella.Resource) stella.Order {
	t.Helper()
	o := stella.Order{Fence: fence, Desired: stella.State{Resources: want}, Sticker: stella.Sticker{
		Environment: "production", Target: s.cfg.Name, Deployment: "production-" + release, Release: release, Commit: release,
		Components: map[string]string{}, Fence: fence,
	}}
	live, err := s.Observe(t.Context())
	must(t, err)
	seen := map[stella.ResourceID]bool{}
	for _, c := range drift.Compare(o.Desired, live, nil, time.Now()) {
		if seen[c.Resource] {
			continue
		}
		seen[c.Resource] = true
		r, wanted := o.Desired.Resource(c.Resource)
		a := stella.Action{Op: stella.OpUpdate, Resource: r}
		switch {
		case !wanted:
			a = stella.Action{Op: stella.OpRemove, Resource: stella.Resource{ID: c.Resource}}
		case c.Class == stella.Missing && c.Path == "":
			a.Op = stella.OpCreate
		}
		o.Actions = append(o.Actions, a)
	}
	return o
}

// goes prepares and applies what brings the target there.
func (s *scene) goes(t testing.TB, fence int64, release string, want ...stella.Resource) error {
	t.Helper()
	o := s.order(t, fence, release, want...)
	if err := s.Prepare(t.Context(), o.Desired, fence); err != nil {
		return err
	}
	return s.Apply(t.Context(), o, nil)
}

// there demands that the target is as wanted, with nothing beside it.
func (s *scene) there(t testing.TB, want ...stella.Resource) {
	t.Helper()
	if left := s.differs(t, want...); len(left) > 0 {
		t.Errorf("it differs from what is wanted: %v", left)
	}
}

func (s *scene) differs(t testing.TB, want ...stella.Resource) (out []string) {
	t.Helper()
	live, err := s.Observe(t.Context())
	must(t, err)
	for _, c := range drift.Compare(stella.State{Resources: want}, live, nil, time.Now()) {
		out = append(out, string(c.Class)+" "+string(c.Resource)+c.Path)
	}
	return out
}

func storage(id string, fields asJSON) stella.Resource {
	_, name, _ := strings.Cut(id, "/")
	all := asJSON{"name": name}
	maps.Copy(all, fields)
	return stella.Resource{ID: stella.ResourceID(id), Fields: all}
}

func (s *scene) web(t testing.TB, version string, more ...asJSON) stella.Resource {
	t.Helper()
	return resourceOf("web", s.image(t, version), more...)
}

// TestFilesGoWithTheirContainers wants no volume of files, a secret among them,
// to be there once nothing has it.
func TestFilesGoWithTheirContainers(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(c *Config) { c.DiscardPrevious = true })
	secret := func(text string) asJSON {
		return asJSON{"read_only": true, "secrets": asJSON{"/run/secrets/db": asJSON{"content": text}}}
	}
	count := func() int {
		t.Helper()
		list, err := s.api.VolumeList(t.Context(), client.VolumeListOptions{Filters: s.mine().Add("label", labelFiles)})
		must(t, err)
		return len(list.Items)
	}
	must(t, s.goes(t, 1, "1", s.web(t, "1", secret("hunter1"))))
	must(t, s.goes(t, 2, "2", s.web(t, "1", secret("hunter2"))))
	if n := count(); n != 1 {
		t.Errorf("with one container are %d volumes of files", n)
	}
	// A crash that left a container which fills volumes.
	v, err := s.view(t.Context())
	must(t, err)
	bp, _ := compile(s.web(t, "1", secret("hunter3")), v.scope)
	bp.config.Image = byDigest(s.image(t, "1"))
	name := s.nameFor("web", nil) + suffixNext
	plan, err := planFiles(bp)
	must(t, err)
	_, _, err = s.under(1<<40).fillVolumes(t.Context(), client.ContainerCreateOptions{Name: name, Config: &bp.config, HostConfig: &bp.host}, plan, bp.files)
	must(t, err)
	must(t, s.goes(t, 3, "3", s.web(t, "1", secret("hunter3"))))
	if n := count(); n != 1 {
		t.Errorf("after one that was broken off are %d volumes of files", n)
	}
	must(t, s.Remove(t.Context(), 4))
	if n := count(); n != 0 {
		t.Errorf("after the removal are %d volumes of files", n)
	}
}

// TestTheDefaultNetworkLosesWhatWasAskedOfIt takes what a file says of the
// default network out of it: the service is on it all the same, and not replaced.
func TestTheDefaultNetworkLosesWhatWasAskedOfIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := s.web(t, "1")
	must(t, s.goes(t, 1, "1", web, storage("network/default", asJSON{"attachable": true})))
	before := s.current(t, "web").ID
	must(t, s.goes(t, 2, "2", web))
	s.there(t, web)
	c := s.current(t, "web")
	e := c.NetworkSettings.Networks[s.cfg.Project+"_default"]
	if c.ID != before || !c.State.Running || e == nil || !e.IPAddress.IsValid() || !slices.Contains(e.Aliases, "web") {
		t.Errorf("the container was %s, is %s %s, on the network as %+v", before, c.ID, c.State.Status, e)
	}
	must(t, s.Remove(t.Context(), 3))
	if _, there, err := s.networkNamed(t.Context(), s.cfg.Project+"_default"); there || err != nil {
		t.Errorf("after the removal the network is there: %v, %v", there, err)
	}
}

// TestRenamedNetworksAndVolumesTakeTheirServicesAlong renames a network and a
// volume: the order is about them alone, and the service is on the new ones.
func TestRenamedNetworksAndVolumesTakeTheirServicesAlong(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := s.web(t, "1", asJSON{
		"networks": asJSON{"front": asJSON{}},
		"volumes":  []any{asJSON{"type": "volume", "source": "data", "target": "/data"}},
	})
	other := resourceOf("other", s.image(t, "1"))
	must(t, s.goes(t, 1, "1", web, other, storage("network/front", nil), storage("volume/data", nil)))
	untouched := s.current(t, "other").ID
	renamed := func(id, suffix string) stella.Resource {
		return storage(id, asJSON{"name": s.cfg.Project + suffix, "named": true})
	}
	want := []stella.Resource{web, other, renamed("network/front", "-net"), renamed("volume/data", "-vol")}
	must(t, s.goes(t, 2, "2", want...))
	s.there(t, want...)
	c := s.current(t, "web")
	if len(c.Mounts) != 1 || c.Mounts[0].Name != s.cfg.Project+"-vol" || c.NetworkSettings.Networks[s.cfg.Project+"-net"] == nil || !c.State.Running {
		t.Errorf("the service has %+v and is on %+v, %s", c.Mounts, c.NetworkSettings.Networks, c.State.Status)
	}
	if now := s.current(t, "other").ID; now != untouched {
		t.Error("a service that has neither was replaced")
	}
}

// TestTwoServicesChangePorts lets each of two services have the other's port.
func TestTwoServicesChangePorts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ports := freePorts(t, 2)
	on := func(name string, port int) stella.Resource {
		return resourceOf(name, s.image(t, "1"), asJSON{
			"environment": asJSON{"PORT": "80"}, "restart": "always",
			"ports": []any{asJSON{"target": 80.0, "published": fmt.Sprint(port), "protocol": "tcp"}},
		})
	}
	must(t, s.goes(t, 1, "1", on("a", ports[0]), on("b", ports[1])))
	want := []stella.Resource{on("a", ports[1]), on("b", ports[0])}
	must(t, s.goes(t, 2, "2", want...))
	s.there(t, want...)
}

// TestWhatAnEngineGivesToEveryNetworkIsNoDifference plays default-network-opts,
// which newer engines have, by adding an option to each network that is made.
func TestWhatAnEngineGivesToEveryNetworkIsNoDifference(t *testing.T) {
	t.Parallel()
	p := dockertest.Proxied(t, dockertest.Engine(t))
	p.Rewrite(func(r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/networks/create") {
			return
		}
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		options, _ := body["Options"].(map[string]any)
		if options == nil {
			options = map[string]any{}
		}
		options["com.docker.network.driver.mtu"] = "1400"
		body["Options"] = options
		raw, _ := json.Marshal(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		r.Header.Set("Content-Length", fmt.Sprint(len(raw)))
	})
	s := newScene(t, func(c *Config) { c.Engine = p.Client })
	front := storage("network/front", nil)
	web := s.web(t, "1", asJSON{"networks": asJSON{"front": asJSON{}}})
	must(t, s.goes(t, 1, "1", web, front))
	s.there(t, web, front)
	n, _, err := s.networkNamed(t.Context(), s.cfg.Project+"_front")
	must(t, err)
	if n.Options["com.docker.network.driver.mtu"] != "1400" {
		t.Fatalf("the engine gave %v", n.Options)
	}
	changed := storage("network/front", asJSON{"attachable": true})
	must(t, s.goes(t, 2, "2", web, changed))
	s.there(t, web, changed)
	l, _, err := s.readLedger(t.Context())
	must(t, err)
	if given := l.Record.Holdings.Given; len(given) != 1 {
		t.Errorf("what is remembered of networks that are gone: %v", given)
	}
}

// TestAJobThatFailsLeavesNetworksAlone changes a network in the same order as a
// job that fails: nobody is taken off it.
func TestAJobThatFailsLeavesNetworksAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	on := asJSON{"networks": asJSON{"front": asJSON{}}}
	job := resourceOf("migrate", s.image(t, "1"), asJSON{"x-stella": asJSON{"job": "pre-deploy"}, "entrypoint": []any{"/bin/false"}})
	must(t, s.goes(t, 1, "1", s.web(t, "1", on), storage("network/front", nil)))
	before, _, err := s.networkNamed(t.Context(), s.cfg.Project+"_front")
	must(t, err)
	o := s.order(t, 2, "2", s.web(t, "1", on), storage("network/front", asJSON{"attachable": true}), job)
	o.Kind = stella.KindDeploy
	must(t, s.Prepare(t.Context(), o.Desired, 2))
	if err := s.Apply(t.Context(), o, nil); !errors.Is(err, stella.ErrUnhealthy) {
		t.Errorf("a job that fails: %v", err)
	}
	after, _, err := s.networkNamed(t.Context(), s.cfg.Project+"_front")
	must(t, err)
	if diff := cmp.Diff(before.ID, after.ID); diff != "" {
		t.Errorf("the network was made anew before the job (-want +got)\n%s", diff)
	}
}

// freePorts are ports that nobody listens on.
func freePorts(t testing.TB, n int) (out []int) {
	t.Helper()
	for range n {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		must(t, err)
		defer func() { must(t, l.Close()) }()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}
