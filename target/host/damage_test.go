//go:build linux

package host

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/target/targettest"
)

const webID = stella.ResourceID("service/web")

func one(class stella.Class, id stella.ResourceID, path string) []targettest.Difference {
	return []targettest.Difference{{Class: class, Resource: id, Path: path}}
}

// damages are what can be done to a bare host by somebody who may write there.
func damages(s *scene) map[string]targettest.Damage {
	all := map[string]targettest.Damage{
		"process killed": {Want: one(stella.Missing, webID, ""), Do: func(t *testing.T, _ stella.Resource) {
			kill(t, s.pid(t, "web"), syscall.SIGKILL)
		}},
		"supervisor killed": {Want: one(stella.Missing, webID, ""), Do: func(t *testing.T, _ stella.Resource) {
			kill(t, s.shimPID(t, "web"), syscall.SIGKILL)
		}},
		"what names the release changed": {Runs: true, Want: one(stella.Extra, webID, "/current"), Do: func(t *testing.T, _ stella.Resource) {
			must(t, os.Remove(s.lay.current("web")))
			must(t, os.Symlink("releases/other", s.lay.current("web")))
		}},
		"what names the release removed": {Runs: true, Want: one(stella.Extra, webID, "/current"), Do: func(t *testing.T, _ stella.Resource) {
			must(t, os.Remove(s.lay.current("web")))
		}},
		"sticker edited": {Runs: true, Want: one(stella.Extra, s.stickerID(), ""), Do: func(t *testing.T, _ stella.Resource) {
			replaceIn(t, s.lay.sticker(), `"release":"`, `"release":"9`)
		}},
		"sticker removed": {Runs: true, Want: one(stella.Extra, s.stickerID(), ""), Do: func(t *testing.T, _ stella.Resource) {
			must(t, os.Remove(s.lay.sticker()))
		}},
		"record edited": {
			Runs: true, Want: append(one(stella.Extra, webID, "/spec.json"), one(stella.Extra, webID, "/status.json")...),
			Do: func(t *testing.T, _ stella.Resource) {
				replaceIn(t, s.lay.spec("web"), `"longer"`, `"shorter"`)
				replaceIn(t, s.lay.status("web"), `"restarts":0`, `"restarts":7`)
			},
		},
		"record removed": {
			Runs: true, Want: append(one(stella.Extra, webID, "/spec.json"), one(stella.Extra, webID, "/status.json")...),
			Do: func(t *testing.T, _ stella.Resource) {
				must(t, os.Remove(s.lay.spec("web")))
				must(t, os.Remove(s.lay.status("web")))
			},
		},
		"record is a directory": {
			Runs: true, Want: append(append(one(stella.Extra, webID, "/spec.json"), one(stella.Extra, webID, "/status.json")...), one(stella.Extra, s.stickerID(), "")...),
			Do: func(t *testing.T, _ stella.Resource) {
				for _, file := range []string{s.lay.spec("web"), s.lay.status("web"), s.lay.history("web"), s.lay.sticker()} {
					must(t, os.Remove(file))
					inPlaceOf()["directory"](t, file)
				}
			},
		},
		"extra service": {Runs: true, Want: one(stella.Extra, "service/evil", ""), Do: s.extraService},
	}
	maps.Copy(all, fileDamages(s))
	maps.Copy(all, restartDamages(s))
	return all
}

// fileDamages are done to the files of the release that runs.
func fileDamages(s *scene) map[string]targettest.Damage {
	const conf = "/configs/~1etc~1a.conf"
	in := func(t *testing.T, web stella.Resource, name string) string {
		return filepath.Join(s.rootOf(t, web), name)
	}
	all := map[string]targettest.Damage{
		"config content changed": {Want: one(stella.Modified, webID, conf+"/content"), Do: func(t *testing.T, web stella.Resource) {
			must(t, os.WriteFile(in(t, web, "etc/a.conf"), []byte("b"), 0o600))
			must(t, os.Chmod(in(t, web, "etc/a.conf"), 0o444))
		}},
		"config mode changed": {Want: one(stella.Extra, webID, conf+"/mode"), Do: func(t *testing.T, web stella.Resource) {
			must(t, os.Chmod(in(t, web, "etc/a.conf"), 0o400))
		}},
		"config owner changed": {Want: one(stella.Extra, webID, conf+"/uid"), Do: func(t *testing.T, web stella.Resource) {
			must(t, os.Lchown(in(t, web, "etc/a.conf"), 1234, -1))
		}},
		"config removed": {Want: one(stella.Missing, webID, conf), Do: func(t *testing.T, web stella.Resource) {
			s.without(t, in(t, web, "etc"), "a.conf")
		}},
		"file of the release changed": {Want: one(stella.Extra, webID, "/files"), Do: func(t *testing.T, web stella.Resource) {
			must(t, os.Chmod(in(t, web, "version"), 0o644))
			must(t, os.WriteFile(in(t, web, "version"), []byte("evil"), 0o644))
		}},
		"file of the release added": {Want: one(stella.Extra, webID, "/files"), Do: func(t *testing.T, web stella.Resource) {
			s.overwrite(t, in(t, web, "bin/sh"), "evil")
		}},
		"file of the release removed": {Want: one(stella.Extra, webID, "/files"), Do: func(t *testing.T, web stella.Resource) {
			s.without(t, in(t, web, "."), "version")
		}},
		"directory unreadable": {Want: one(stella.Extra, webID, "/files"), Do: func(t *testing.T, web stella.Resource) {
			must(t, os.Chmod(in(t, web, "bin"), 0))
		}},
	}
	if os.Geteuid() == 0 {
		all["directory unreadable"] = targettest.Damage{Cannot: "root reads everything"}
	}
	if !s.chroots {
		const why = "only root can give files away, and only root can write to those of another user"
		all["config owner changed"] = targettest.Damage{Cannot: why}
		// The owner of a read-only file has to make it writable first.
		d := all["config content changed"]
		do := d.Do
		d.Do = func(t *testing.T, web stella.Resource) {
			must(t, os.Chmod(in(t, web, "etc/a.conf"), 0o644))
			do(t, web)
		}
		all["config content changed"] = d
	}
	return all
}

// restartDamages stop a service and start it by hand with something else: the
// only way to change what a process was started with.
func restartDamages(s *scene) map[string]targettest.Damage {
	by := func(edit func(r fields)) func(*testing.T, stella.Resource) {
		return func(t *testing.T, _ stella.Resource) {
			must(t, s.stopShim(t.Context(), "web"))
			spec, err := s.lay.readSpec("web")
			must(t, err)
			edit(spec.Resource.Fields)
			must(t, writeJSON(s.lay.spec("web"), spec))
			must(t, s.startShim("web"))
		}
	}
	variable := func(key string) func(fields) {
		return func(f fields) { f["environment"].(fields)[key] = "evil" }
	}
	return map[string]targettest.Damage{
		"environment changed": {Want: one(stella.Modified, webID, "/environment/A"), Do: by(variable("A"))},
		"environment added":   {Want: one(stella.Extra, webID, "/environment/LD_PRELOAD"), Do: by(variable("LD_PRELOAD"))},
		"command changed": {Want: one(stella.Modified, webID, "/command/0"), Do: by(func(f fields) {
			f["command"] = []any{"shorter"}
		})},
	}
}

// wreck kills a service with all that it forked and breaks its files.
func (s *scene) wreck(t *testing.T, web stella.Resource) {
	root := s.rootOf(t, web)
	kill(t, s.shimPID(t, "web"), syscall.SIGKILL)
	s.without(t, root, "version")
	s.without(t, filepath.Join(root, "etc"), "a.conf")
	must(t, os.Chmod(filepath.Join(root, "etc/b.conf"), 0o600))
	must(t, os.Remove(s.lay.current("web")))
	must(t, os.Mkdir(s.lay.current("web"), 0o755))
	for _, file := range []string{s.lay.spec("web"), s.lay.status("web"), s.lay.running("web"), s.lay.history("web"), s.lay.sticker()} {
		must(t, os.WriteFile(file, []byte("{"), 0o600))
	}
	for _, file := range []string{filepath.Join(filepath.Dir(root), sealName), s.lay.history("web"), s.lay.running("web"), s.lay.nextSpec("web")} {
		must(t, ignoreMissing(os.Remove(file)))
		inPlaceOf()["directory"](t, file)
	}
}

// extraService puts a service there that nobody asked for, and starts it.
func (s *scene) extraService(t *testing.T, _ stella.Resource) {
	must(t, s.lay.makeDirs("evil"))
	out, err := exec.CommandContext(t.Context(), "cp", "-a", s.lay.releases("web")+"/.", s.lay.releases("evil")).CombinedOutput()
	if err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	spec, err := s.lay.readSpec("web")
	must(t, err)
	spec.Resource.ID = serviceID("evil")
	must(t, writeJSON(s.lay.spec("evil"), spec))
	must(t, s.link("evil", spec.Release))
	must(t, s.startShim("evil"))
}

// rootOf is where the files of a service lie that runs as desired.
func (s *scene) rootOf(t *testing.T, r stella.Resource) string {
	t.Helper()
	svc, errs := decodeService(r)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	release, err := releaseName(svc)
	must(t, err)
	return s.lay.rootfs(svc.name, release)
}

// without removes a file from a read-only directory, which stays so.
func (s *scene) without(t *testing.T, dir, name string) {
	t.Helper()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Remove(filepath.Join(dir, name)))
	must(t, os.Chmod(dir, 0o555))
}

func replaceIn(t *testing.T, file, old, with string) {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	text := strings.Replace(string(data), old, with, 1)
	if text == string(data) {
		t.Fatalf("%s has no %s: %s", file, old, data)
	}
	must(t, os.WriteFile(file, []byte(text), 0o600))
}

// programs are services whose processes change what /proc says of them.
func programs(t *testing.T, s *scene) map[string]func(string) stella.Resource {
	run := func(more ...fields) func(string) stella.Resource {
		return func(name string) stella.Resource { return serviceOf(name, s.image(t, "1"), more...) }
	}
	env := fields{"environment": fields{"A": "1", "PATH": "/bin"}}
	all := map[string]func(string) stella.Resource{
		"one that waits": run(env, command("wait")),
		"one that executes itself again and again": run(env, command("chain", "5")),
		"one that writes over its arguments":       run(env, command("title")),
		"one that leaves its directory":            run(env, command("away")),
		"one that forks":                           run(env, command("fork")),
		"one with files":                           run(env, configField("x"), fields{"workingDir": "/etc"}),
	}
	if program, ok := busybox(t); ok {
		all["a shell that executes another program"] = func(name string) stella.Resource {
			image := s.store.push(t, "1", imageConfig{Entrypoint: []string{"/bin/sh", "-c"}, Env: []string{"PATH=/bin"}},
				fakeFile{name: "bin/", dir: true}, fakeFile{name: "bin/sh", content: program}, fakeFile{name: "bin/sleep", content: program},
			)
			return serviceOf(name, image, env, command("export A=2; unset PATH; echo waiting; exec /bin/sleep 1000"))
		}
		all["a shell that waits for another program"] = func(name string) stella.Resource {
			image := s.store.push(t, "1", imageConfig{Entrypoint: []string{"/bin/sh", "-c"}, Env: []string{"PATH=/bin"}},
				fakeFile{name: "bin/", dir: true}, fakeFile{name: "bin/sh", content: program}, fakeFile{name: "bin/sleep", content: program},
			)
			return serviceOf(name, image, env, command("echo waiting; sleep 1000; true"))
		}
	}
	return all
}

// TestAProgramThatGivesUpRootIsNoDifference is how most images start.
func TestAProgramThatGivesUpRootIsNoDifference(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	s := newScene(t, func(c *Config) { c.AllowRoot = true })
	web := serviceOf("web", s.image(t, "1"), command("drop", "1234"))
	s.deploy(t, web)
	s.logHas(t, "web", "waiting")
	if f, err := readFacts(s.pid(t, "web")); err != nil || f.user() != "1234:1234" {
		t.Fatalf("it runs as %+v, %v", f, err)
	}
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("changes %v", got)
	}
}
