//go:build linux

package host

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/reconciler"
	"github.com/stella-ops/stella/target/targettest"
)

var (
	_ reconciler.Target    = (*Host)(nil)
	_ reconciler.Preparer  = (*Host)(nil)
	_ reconciler.Keeper    = (*Host)(nil)
	_ reconciler.Executor  = (*Host)(nil)
	_ reconciler.Stopper   = (*Host)(nil)
	_ reconciler.Logger    = (*Host)(nil)
	_ reconciler.Watcher   = (*Host)(nil)
	_ reconciler.Suspecter = (*Host)(nil)
)

func TestConformance(t *testing.T) {
	targettest.Run(t, func(t *testing.T) targettest.Fixture { return newFixture(t) })
}

var errInjected = errors.New("injected")

func newFixture(t *testing.T) targettest.Fixture {
	s := newScene(t)
	images := map[string]stella.Artifact{}
	image := func(version string) stella.Artifact {
		if _, ok := images[version]; !ok {
			images[version] = s.image(t, version)
		}
		return images[version]
	}
	open := func() *Host { return reopen(t, s.cfg, s.store) }
	return targettest.Fixture{
		Target: s.Host, Name: "edge", Environment: "production",
		Reopen:  func(*testing.T) reconciler.Target { return open() },
		Service: func(name, version string) stella.Resource { return serviceOf(name, image(version)) },
		Set: func(r stella.Resource, key, value string) stella.Resource {
			r.Fields = maps.Clone(r.Fields)
			env, _ := r.Fields["environment"].(fields)
			env = maps.Clone(env)
			if env == nil {
				env = fields{}
			}
			env[key] = value
			r.Fields["environment"] = env
			return r
		},
		Full: full,
		Volume: func(name string) stella.Resource {
			return stella.Resource{ID: stella.ResourceID(volumePrefix + name), Fields: fields{"name": name}}
		},
		Kill: func(t *testing.T, name string) {
			if err := syscall.Kill(s.pid(t, name), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "its end is seen", func() bool { return s.component(t, name).State == stella.RunExited })
		},
		Offline: func(t *testing.T) { s.store.forget(t) },
		Foreign: func(t *testing.T) func(*testing.T) { return foreign(t, s) },
		Faulty: func(t *testing.T, n int, persist bool) (reconciler.Target, func() int) {
			h, count := open(), 0
			h.trip = func(effect string, done bool) error {
				if !done {
					count++
				}
				if count == n && done == persist {
					return errInjected
				}
				return nil
			}
			return h, func() int { return count }
		},
		Damages: damages(s), Wreck: s.wreck, Programs: programs(t, s),
		Say:    func(text string) []string { return []string{"/bin/app", "say", text} },
		Output: "waiting",
	}
}

// full sets every field but those that need another resource.
func full(r stella.Resource) stella.Resource {
	r.Fields = maps.Clone(r.Fields)
	maps.Copy(r.Fields, fields{
		"entrypoint": []any{"/bin/app", "wait"}, "command": []any{"longer"}, "workingDir": "/etc",
		"environment": fields{"A": "1", "B": "2"}, "labels": fields{"team": "shop", "tier": "web"},
		"configs":    fields{"/etc/a.conf": fields{"content": "a"}, "/etc/b.conf": fields{"content": "b"}},
		"stopSignal": "SIGINT", "stopGracePeriodSeconds": 2.0, "restart": "no",
		"healthcheck": fields{"test": []any{"NONE"}},
	})
	return r
}

// foreign puts files and directories of other people below the root.
func foreign(t *testing.T, s *scene) func(*testing.T) {
	for _, dir := range []string{"services/theirs/releases", "volumes/theirs", "other"} {
		if err := os.MkdirAll(filepath.Join(s.cfg.Root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(s.cfg.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, file := range []string{"README", "services/theirs/file", "services/note", "volumes/theirs/file", "other/file"} {
		want[file] = "theirs: " + file
		if err := os.WriteFile(filepath.Join(s.cfg.Root, file), []byte(want[file]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(t *testing.T) {
		t.Helper()
		got := map[string]string{}
		for file := range want {
			data, err := os.ReadFile(filepath.Join(s.cfg.Root, file))
			if err != nil {
				t.Error(err)
			}
			got[file] = string(data)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what stella did not make was touched (-want +got)\n%s", diff)
		}
	}
}
