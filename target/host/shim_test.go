//go:build linux

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stella-ops/stella"
)

func kill(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

func command(args ...any) fields { return fields{"command": args} }

func TestRestartPolicies(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1")
	for _, tt := range []struct {
		name, policy string
		command      fields
		present      bool
		state        stella.RunState
		restarts     int
		detail       string
	}{
		{"without a policy it is not started again", "", command("exit", "3"), false, stella.RunExited, 0, "exited with 3: leaving with 3"},
		{"no", "no", command("exit", "1"), false, stella.RunExited, 0, "exited with 1: leaving with 1"},
		{"a one-shot that succeeds completed", "", command("exit", "0"), true, stella.RunExited, 0, completed},
		{"on-failure leaves success alone", "on-failure", command("exit", "0"), true, stella.RunExited, 0, completed},
		{"on-failure gives up", "on-failure:2", command("exit", "4"), false, stella.RunExited, 2, "exited with 4: leaving with 4"},
		{"a program that can not be executed", "", fields{"entrypoint": []any{"/version"}}, false, stella.RunMissing, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			web := serviceOf("web", image, tt.command)
			if tt.policy != "" {
				web.Fields["restart"] = tt.policy
			}
			err := s.tryDeploy(t.Context(), web)
			if tt.detail == "" {
				if err == nil {
					t.Error("it was deployed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "it ends", func() bool { _, lives := s.lay.shimOf("web"); return !lives })
			live := s.observe(t)
			c := live.Observed.Components[0]
			if _, present := live.Resource("service/web"); present != tt.present || c.State != tt.state || c.Restarts != tt.restarts || c.Detail != tt.detail {
				t.Errorf("present %v, %+v", present, c)
			}
			if c.Running != "" {
				t.Errorf("it is said to run %s", c.Running)
			}
		})
	}
}

func TestAKilledProcessIsStartedAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), fields{"restart": "always"})
	s.deploy(t, web)
	shim := s.shimPID(t, "web")
	for n := 1; n <= 2; n++ {
		kill(t, s.pid(t, "web"), syscall.SIGKILL)
		eventually(t, "it runs again", func() bool {
			c := s.component(t, "web")
			return c.Restarts == n && c.State == stella.RunRunning
		})
	}
	if s.shimPID(t, "web") != shim {
		t.Error("it has another shim")
	}
}

func TestBetweenTwoTriesAServiceIsStarting(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), command("exit", "9"), fields{"restart": "unless-stopped"})
	s.deploy(t, web)
	eventually(t, "it was tried again a few times", func() bool { return s.component(t, "web").Restarts >= 3 })
	eventually(t, "it waits", func() bool {
		live := s.observe(t)
		c := live.Observed.Components[0]
		_, present := live.Resource("service/web")
		return present && c.State == stella.RunStarting && strings.HasPrefix(c.Detail, "exited with 9")
	})
	s.deploy(t, web) // an order that took effect does not touch it
	if s.component(t, "web").Restarts < 3 {
		t.Error("it was started anew")
	}
}

func TestTheShimOutlivesWhoStartedIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	want := stateOf(serviceOf("web", s.image(t, "1")))
	_, killed := crash(t, s.Host, s.store, crashOrder{Order: orderOf(1, stella.OpCreate, want, "service/web"), Prepare: true})
	if killed {
		t.Fatal("it was killed")
	}
	if c := s.component(t, "web"); c.State != stella.RunRunning {
		t.Errorf("component %+v", c)
	}
}

func TestAKilledShimTakesItsProcessAlong(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), command("fork"), fields{"restart": "always"})
	s.deploy(t, web)
	s.logHas(t, "web", "forked")
	main, family := s.pid(t, "web"), s.processesOf("web")
	kill(t, s.shimPID(t, "web"), syscall.SIGKILL)
	eventually(t, "the main process dies", func() bool { return !alive(main) })
	live := s.observe(t)
	if c := live.Observed.Components[0]; c.State != stella.RunMissing || c.Running != "" {
		t.Errorf("component %+v", c)
	}
	if len(live.Resources) != 0 {
		t.Errorf("resources %+v", live.Resources)
	}
	// What it had forked runs on, in nobody's care. It is said, and ended.
	if !slices.ContainsFunc(live.Observed.Notes, func(n string) bool { return strings.Contains(n, "without a supervisor") }) {
		t.Errorf("notes %q", live.Observed.Notes)
	}
	s.deploy(t, web)
	for _, pid := range family {
		if alive(pid) {
			t.Errorf("process %d of the old instance runs", pid)
		}
	}
	if c := s.component(t, "web"); c.State != stella.RunRunning {
		t.Errorf("component %+v", c)
	}
}

func TestForksLeaveNoChildren(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1")
	s.deploy(t, serviceOf("web", image, command("fork")))
	s.logHas(t, "web", "forked")
	eventually(t, "its children are there", func() bool { return len(s.processesOf("web")) == 3 })
	family := s.processesOf("web")
	s.deploy(t, serviceOf("web", image, command("fork", "gone")))
	for _, pid := range family {
		if alive(pid) {
			t.Errorf("process %d outlived its service", pid)
		}
	}
	eventually(t, "the main process ends", func() bool { return s.component(t, "web").Detail == completed })
	if left := s.processesOf("web"); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestStopSignalAndGrace(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1", func(c *imageConfig) { c.StopSignal = "SIGUSR1" })
	s.deploy(t,
		serviceOf("image", image, command("polite")),
		serviceOf("own", image, fields{"stopSignal": "SIGTERM"}),
		serviceOf("stubborn", image, command("stubborn"), fields{"stopGracePeriodSeconds": 0.2}),
	)
	for _, name := range []string{"image", "own", "stubborn"} {
		s.logHas(t, name, "waiting")
	}
	s.fence++
	began := time.Now()
	if err := s.Stop(t.Context(), s.fence); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("stopping took %s", took)
	}
	s.logHas(t, "image", "got user defined signal 1")
	s.logHas(t, "own", "got terminated")
	s.logHas(t, "stubborn", "did not end within 200ms")
	for _, c := range s.observe(t).Observed.Components {
		if c.State != stella.RunExited || c.Detail != "stopped" {
			t.Errorf("component %+v", c)
		}
	}
}

func TestAShimThatDoesNotAnswerIsKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), fields{"stopGracePeriodSeconds": 0.1})
	s.deploy(t, web)
	main := s.pid(t, "web")
	kill(t, s.shimPID(t, "web"), syscall.SIGSTOP)
	s.slack = 200 * time.Millisecond
	s.fence++
	if err := s.Stop(t.Context(), s.fence); err != nil {
		t.Fatal(err)
	}
	if alive(main) || len(s.processesOf("web")) > 0 {
		t.Error("the process runs on")
	}
}

func TestALogIsBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1"), command("flood")))
	s.logHas(t, "web", "flooded\nwaiting\n")
	entries, err := os.ReadDir(s.lay.logs("web"))
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += fi.Size()
	}
	if total > 2*maxLogBytes || total < maxLogBytes || len(entries) != 2 {
		t.Errorf("%d bytes in %d files", total, len(entries))
	}
	end, err := s.Logs(t.Context(), "web", 3000)
	if err != nil || len(end) > 3000 || !strings.HasPrefix(string(end), "xxx") || !strings.HasSuffix(string(end), "waiting\n") {
		t.Errorf("the end of the log is %d bytes, %v: %.40q…", len(end), err, end)
	}
}

func TestAVanishedRootEndsItsShims(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1")))
	main, shim := s.pid(t, "web"), s.shimPID(t, "web")
	if err := removeTree(s.lay.root); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are gone", func() bool { return !alive(main) && !alive(shim) })
	if _, err := os.Stat(s.lay.root); err == nil {
		t.Error("the shim made its root again")
	}
}

func TestARootThatWasMovedEndsItsShims(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1"), fields{"restart": "always"}))
	main, shim := s.pid(t, "web"), s.shimPID(t, "web")
	if err := os.Rename(s.lay.root, s.lay.root+".moved"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are gone", func() bool { return !alive(main) && !alive(shim) })
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1", func(c *imageConfig) {
		c.Healthcheck = &imageHealth{Test: []string{"CMD", "/bin/app", "exists", "/version"}, IntervalSeconds: 0.05, Retries: 2}
	})
	check := func(test ...any) fields {
		return fields{"healthcheck": fields{"test": test, "intervalSeconds": 0.05, "timeoutSeconds": 1.0, "retries": 2.0}}
	}
	for _, tt := range []struct {
		name   string
		more   fields
		want   stella.RunHealth
		detail string
	}{
		{"the image's own", nil, stella.RunHealthHealthy, ""},
		{"the service's before the image's", check("CMD", "/bin/app", "exists", "/nothing"), stella.RunHealthUnhealthy, "healthcheck exited with 1: stat /nothing: no such file or directory"},
		{"switched off", check("NONE"), stella.RunHealthNone, ""},
		{
			"a probe that hangs",
			fields{"healthcheck": fields{"test": []any{"CMD", "app", "fork"}, "intervalSeconds": 0.05, "timeoutSeconds": 0.1, "retries": 1.0}},
			stella.RunHealthUnhealthy, "healthcheck took longer than 100ms",
		},
		{
			"failures during the start period do not count",
			fields{"healthcheck": fields{"test": []any{"CMD", "/bin/app", "exists", "/nothing"}, "intervalSeconds": 0.02, "retries": 1.0, "startPeriodSeconds": 600.0}},
			stella.RunHealthStarting, "healthcheck exited with 1: stat /nothing: no such file or directory",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			more := tt.more
			if os.Geteuid() != 0 && more == nil {
				more = check("CMD", "/bin/app", "exists", "version")
			}
			s.deploy(t, serviceOf("web", image, more))
			eventually(t, fmt.Sprintf("it is %s", tt.want), func() bool {
				c := s.component(t, "web")
				return c.Health == tt.want && c.Detail == tt.detail && c.State == stella.RunRunning
			})
		})
	}
}

func TestAServiceGetsSickAndWell(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	port := freePort(t)
	s.deploy(t, serviceOf("web", s.image(t, "1"), command("serve"), fields{
		"environment": fields{"PORT": portText(port)},
		"healthcheck": fields{
			"test":            []any{"CMD", "/bin/app", "get", "127.0.0.1:" + portText(port), "/healthz"},
			"intervalSeconds": 0.05, "retries": 2.0,
		},
	}))
	is := func(h stella.RunHealth) {
		t.Helper()
		eventually(t, fmt.Sprintf("it is %s", h), func() bool { return s.component(t, "web").Health == h })
	}
	is(stella.RunHealthHealthy)
	if !asRoot(t) {
		return
	}
	sick := filepath.Join("/proc", fmt.Sprint(s.pid(t, "web")), "root/tmp/sick")
	if err := os.WriteFile(sick, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	is(stella.RunHealthUnhealthy)
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	is(stella.RunHealthHealthy)
}

func TestHealthStates(t *testing.T) {
	began := time.Unix(1000, 0)
	check := healthcheck{interval: 10 * time.Second, startPeriod: 30 * time.Second, startInterval: 5 * time.Second, retries: 3}
	const up, starting, down = stella.RunHealthHealthy, stella.RunHealthStarting, stella.RunHealthUnhealthy
	type probe struct {
		second int
		ok     bool
		want   stella.RunHealth
	}
	for _, tt := range []struct {
		name   string
		probes []probe
	}{
		{"the first success is enough", []probe{{1, false, starting}, {2, true, up}}},
		{"after the start period failures count, once per interval", []probe{
			{29, false, starting}, {31, false, starting}, {32, false, starting}, {33, false, starting}, {41, false, starting}, {51, false, down},
		}},
		{"a healthy one needs retries in a row", []probe{{1, true, up}, {11, false, up}, {21, false, up}, {31, true, up}, {41, false, up}, {51, false, up}, {61, false, down}}},
		{"an unhealthy one is well at once", []probe{{40, false, starting}, {50, false, starting}, {60, false, down}, {70, true, up}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := healthState{check: check, began: began, health: starting}
			for i, p := range tt.probes {
				if got := h.next(p.ok, began.Add(time.Duration(p.second)*time.Second)); got != p.want {
					t.Fatalf("probe %d: %s, want %s", i, got, p.want)
				}
			}
		})
	}
}

func TestShimUsage(t *testing.T) {
	for _, args := range [][]string{
		nil, {"--root", "/x"}, {"--service", "web"}, {"--root", "x", "--service", "web"}, {"--root", "/x", "--service", "../web"}, {"--nope"},
	} {
		var stderr strings.Builder
		if got := Shim(t.Context(), args, &stderr); got != shimUsage || stderr.Len() == 0 {
			t.Errorf("Shim(%q) = %d, %q", args, got, stderr.String())
		}
	}
}
