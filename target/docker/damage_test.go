package docker

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/target/targettest"
)

const webID = stella.ResourceID("service/web")

func one(class stella.Class, id stella.ResourceID, path string) []targettest.Difference {
	return []targettest.Difference{{Class: class, Resource: id, Path: path}}
}

// unknown is what differs of a service of which nobody knows what it was asked for.
func unknown() []targettest.Difference {
	all := one(stella.Extra, webID, drift.Pointer(fieldSpec))
	for field := range full(stella.Resource{Fields: asJSON{"image": ""}}).Fields {
		all = append(all, targettest.Difference{Class: stella.Missing, Resource: webID, Path: drift.Pointer(field)})
	}
	return all
}

// damages are what can be done by somebody who may use the engine.
func (s *scene) damages() map[string]targettest.Damage {
	stickerID := stella.ResourceID(stickerPrefix + s.cfg.Name)
	const own = "a container may write to its own files: what it makes of them is no difference"
	all := map[string]targettest.Damage{
		"process killed":    {Want: one(stella.Missing, webID, ""), Do: func(t *testing.T, _ stella.Resource) { s.kill(t, "web") }},
		"supervisor killed": {Cannot: "the engine supervises every container on it"},
		"what names the release changed": {Runs: true, Want: one(stella.Extra, webID, drift.Pointer(fieldMisnamed)), Do: func(t *testing.T, _ stella.Resource) {
			_, err := s.api.ContainerRename(t.Context(), s.current(t, "web").ID, client.ContainerRenameOptions{NewName: s.cfg.Project + "-other"})
			must(t, err)
		}},
		"what names the release removed": {Cannot: "a container has a name"},
		"file of the release changed":    {Cannot: own},
		"file of the release added":      {Cannot: own},
		"file of the release removed":    {Cannot: own},
		"record is a directory":          {Cannot: "a record is a label"},
		"directory unreadable":           {Cannot: "the engine reads everything"},
		"sticker edited": {Runs: true, Want: one(stella.Extra, stickerID, ""), Do: func(t *testing.T, _ stella.Resource) {
			s.editRecord(t, func(label string) string { return strings.Replace(label, `"release":"`, `"release":"9`, 1) })
		}},
		"sticker removed": {Runs: true, Want: one(stella.Extra, stickerID, ""), Do: func(t *testing.T, _ stella.Resource) {
			s.editRecord(t, nil)
		}},
		"record edited":  {Want: unknown(), Do: s.remade(func(c *container.Config) { c.Labels[labelSpec] = "{" })},
		"record removed": {Want: unknown(), Do: s.remade(func(c *container.Config) { delete(c.Labels, labelSpec) })},
		"extra service":  {Runs: true, Want: one(stella.Extra, "service/evil", ""), Do: s.extra},
		"environment changed": {Want: one(stella.Modified, webID, "/environment/A"), Do: s.remade(func(c *container.Config) {
			for i, v := range c.Env {
				if v == "A=1" {
					c.Env[i] = "A=evil"
				}
			}
		})},
		"environment added": {Want: one(stella.Extra, webID, "/environment/LD_PRELOAD"), Do: s.remade(func(c *container.Config) {
			c.Env = append(c.Env, "LD_PRELOAD=evil")
		})},
		"command changed": {Want: one(stella.Modified, webID, "/command/0"), Do: s.remade(func(c *container.Config) {
			c.Cmd = []string{"shorter"}
		})},
	}
	maps.Copy(all, s.fileDamages())
	return all
}

func (s *scene) fileDamages() map[string]targettest.Damage {
	const conf = "/configs/~1etc~1a.conf"
	by := func(script string) func(*testing.T, stella.Resource) {
		return func(t *testing.T, _ stella.Resource) {
			_, err := s.Exec(t.Context(), "web", []string{"/bin/sh", "-c", script})
			must(t, err)
		}
	}
	return map[string]targettest.Damage{
		"config content changed": {Want: append(one(stella.Modified, webID, conf+"/content"), one(stella.Modified, webID, conf+"/digest")...), Do: by("printf b > /etc/a.conf")},
		"config mode changed":    {Want: one(stella.Extra, webID, conf+"/mode"), Do: by("busybox chmod 400 /etc/a.conf")},
		"config owner changed":   {Want: one(stella.Extra, webID, conf+"/uid"), Do: by("busybox chown 1234 /etc/a.conf")},
		"config removed":         {Want: one(stella.Missing, webID, conf), Do: by("rm /etc/a.conf")},
	}
}

// remade makes web's container anew with something else, as is done by hand to
// change what can not be changed while it runs.
func (s *scene) remade(change func(*container.Config)) func(*testing.T, stella.Resource) {
	return func(t *testing.T, web stella.Resource) {
		t.Helper()
		old := s.current(t, "web")
		v, err := s.view(t.Context())
		must(t, err)
		bp, errs := compile(web, v.scope)
		must(t, errorsOf(errs))
		_, err = s.api.ContainerRemove(t.Context(), old.ID, client.ContainerRemoveOptions{Force: true})
		must(t, err)
		config, host := bp.config, bp.host
		config.Image, config.Labels = old.Config.Image, old.Config.Labels
		change(&config)
		id, _, err := s.under(1<<40).createWithFiles(t.Context(), client.ContainerCreateOptions{
			Name: strings.TrimPrefix(old.Name, "/"), Config: &config, HostConfig: &host,
			NetworkingConfig: endpoints(bp),
		}, bp.files)
		must(t, err)
		_, err = s.api.ContainerStart(t.Context(), id, client.ContainerStartOptions{})
		must(t, err)
	}
}

// extra starts a container that says of itself that it is a service of ours.
func (s *scene) extra(t *testing.T, _ stella.Resource) {
	old := s.current(t, "web")
	labels := maps.Clone(old.Config.Labels)
	labels[labelResource], labels[composeService] = "service/evil", "evil"
	c, err := s.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: s.nameFor("evil", nil), Config: &container.Config{Image: old.Config.Image, Labels: labels}, HostConfig: &container.HostConfig{},
	})
	must(t, err)
	_, err = s.api.ContainerStart(t.Context(), c.ID, client.ContainerStartOptions{})
	must(t, err)
}

// editRecord makes the record anew with another label, or removes it.
func (s *scene) editRecord(t *testing.T, edit func(string) string) {
	t.Helper()
	l, _, err := s.readLedger(t.Context())
	must(t, err)
	for _, r := range l.found {
		res, err := s.api.ContainerInspect(t.Context(), r.id, client.ContainerInspectOptions{})
		must(t, err)
		_, err = s.api.ContainerRemove(t.Context(), r.id, client.ContainerRemoveOptions{Force: true})
		must(t, err)
		if edit == nil {
			continue
		}
		config := *res.Container.Config
		was := config.Labels[labelRecord]
		config.Labels[labelRecord] = edit(was)
		if config.Labels[labelRecord] == was {
			t.Fatalf("the record is not changed: %s", was)
		}
		_, err = s.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Name: s.recordPrefix() + strconv.FormatInt(r.revision, 10), Config: &config, HostConfig: &container.HostConfig{NetworkMode: "none"},
		})
		must(t, err)
	}
}

// wreck breaks web's files, its name and the record, and kills it.
func (s *scene) wreck(t *testing.T, _ stella.Resource) {
	for _, name := range []string{"config content changed", "sticker removed"} {
		s.damages()[name].Do(t, stella.Resource{})
	}
	s.kill(t, "web")
	s.damages()["what names the release changed"].Do(t, stella.Resource{})
}

// programs change what is seen of them, as any may.
func (s *scene) programs(versions map[string]stella.Artifact) map[string]func(string) stella.Resource {
	run := func(script string, more ...asJSON) func(string) stella.Resource {
		return func(name string) stella.Resource {
			more := append([]asJSON{{"entrypoint": []any{"/bin/sh", "-c"}, "command": []any{script}, "stopGracePeriodSeconds": 1.0}}, more...)
			return resourceOf(name, versions["1"], more...)
		}
	}
	return map[string]func(string) stella.Resource{
		"a shell that executes another program": run("export A=2; unset PATH; echo starts; exec /bin/sleep 1000", asJSON{"environment": asJSON{"A": "1"}}),
		"one that leaves its directory":         run("cd /; echo starts; sleep 1000; true", asJSON{"workingDir": "/etc"}),
		"one that writes to its own files":      run("echo x > /etc/hosts; echo y > /tmp/y; rm /etc/group; echo starts; sleep 1000; true"),
		"one that changes who it is":            run("echo starts; exec busybox su app -s /bin/sh -c 'sleep 1000'"),
		"one with files":                        run("echo starts; sleep 1000; true", asJSON{"configs": asJSON{"/etc/x": config("x")}}),
	}
}
