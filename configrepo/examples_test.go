package configrepo

import (
	"io/fs"
	"strings"
	"testing"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/examples"
)

// exampleFiles returns the example repository with some of it replaced.
func exampleFiles(t *testing.T, replace ...string) fileTree {
	files := fileTree{}
	err := fs.WalkDir(examples.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(examples.Files(), path)
		files[path] = []byte(strings.NewReplacer(replace...).Replace(string(content)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheExampleRenders(t *testing.T) {
	// What quickstart replaces, by values that are as unlike as they can be.
	replace := []string{"127.0.0.1:5000", "127.0.0.1:43210", "8081", "34567", "8082", "34568", "/srv/shop", "/home/someone/dir with space/hosts"}
	for _, files := range []fileTree{exampleFiles(t), exampleFiles(t, replace...)} {
		if err := Validate(t.Context(), files); err != nil {
			t.Fatal(err)
		}
		p, err := ReadProject(t.Context(), files)
		if err != nil {
			t.Fatal(err)
		}
		for name, targets := range map[stella.EnvName]int{"production": 2, "staging": 1} {
			e, err := ReadEnvironment(t.Context(), files, p, name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := ReadRelease(t.Context(), files, p, name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Render(t.Context(), files, p, e, r)
			if err != nil {
				t.Fatal(err)
			}
			checkExample(t, e, d, targets)
		}
	}
}

// checkExample checks that each target serves on a port of its own and is asked
// there.
func checkExample(t *testing.T, e *Environment, d *Desired, targets int) {
	if len(d.Targets) != targets || len(d.Waves()) != 1 || len(d.Notes) > 0 {
		t.Errorf("%s: %d targets, waves %v, notes %v", e.Name, len(d.Targets), d.Waves(), d.Notes)
	}
	ports := map[string]bool{}
	for i, target := range d.Targets {
		web, ok := target.State.Resource("service/web")
		env, isMap := web.Fields["environment"].(map[string]any)
		port, isText := env["PORT"].(string)
		if !ok || !isMap || !isText || len(target.State.Resources) != 1 {
			t.Fatalf("%s: %v", target.Name, target.State)
		}
		ports[port] = true
		checks := e.ChecksFor(e.Targets[i])
		if len(checks) != 1 || checks[0].HTTP == nil || checks[0].HTTP.URL != "http://127.0.0.1:"+port+"/healthz" {
			t.Errorf("%s: checks %v for port %s", target.Name, checks, port)
		}
		configs, _ := web.Fields["configs"].(map[string]any)
		if _, ok := configs["/etc/greeting"]; !ok {
			t.Errorf("%s: configs %v", target.Name, configs)
		}
	}
	if len(ports) != targets {
		t.Errorf("%s: ports %v", e.Name, ports)
	}
}

// TestTheExampleOnAnEngineRenders checks what the example is there to show.
func TestTheExampleOnAnEngineRenders(t *testing.T) {
	files := exampleFiles(t)
	p, err := ReadProject(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ReadEnvironment(t.Context(), files, p, "docker")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadRelease(t.Context(), files, p, "docker")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Render(t.Context(), files, p, e, r)
	if err != nil {
		t.Fatal(err)
	}
	if e.Targets[0].Docker == nil || e.Targets[0].Docker.Project != "shop-docker" || len(d.Notes) > 0 {
		t.Errorf("target %+v, notes %v", e.Targets[0], d.Notes)
	}
	state := d.Targets[0].State
	for _, id := range []stella.ResourceID{"service/web", "service/worker", "service/db", "volume/data"} {
		if _, ok := state.Resource(id); !ok {
			t.Errorf("%s is not there", id)
		}
	}
	web, _ := state.Resource("service/web")
	db, _ := state.Resource("service/db")
	worker, _ := state.Resource("service/worker")
	for field, of := range map[string]stella.Resource{"configs": web, "healthcheck": db, "dependsOn": worker, "secrets": db, "volumes": db} {
		if of.Fields[field] == nil {
			t.Errorf("%s has no %s: %v", of.ID, field, of.Fields)
		}
	}
	if len(db.Secrets) == 0 {
		t.Errorf("the password of %s is no secret", db.ID)
	}
}
