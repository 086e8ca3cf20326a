package configrepo_test

import (
	"strings"
	"testing"

	"github.com/stella-ops/stella/configrepo"
)

func TestAStarterOfAProjectThatRunsCanBeAdopted(t *testing.T) {
	for name, c := range map[string]struct {
		compose string
		want    []string // in environment.yaml
		notes   []string
	}{
		"its directory names the project": {
			"services:\n  web: {image: 'r.example.com/web:1'}\n",
			[]string{`docker: {host: "unix:///var/run/docker.sock", project: myshop}`},
			nil,
		},
		"it names itself": {
			"name: other\nservices:\n  web: {image: 'r.example.com/web:1'}\n", []string{"project: other}"}, nil,
		},
		"it mounts its directory": {
			"services:\n  web:\n    image: r.example.com/web:1\n    volumes: ['./conf:/conf:ro']\n",
			[]string{`bindRoots: ["/srv/My.Shop"]`},
			[]string{"write it as /srv/My.Shop/conf"},
		},
		"it mounts its directory by its whole name": {
			"services:\n  web:\n    image: r.example.com/web:1\n    volumes: ['/srv/My.Shop/conf:/conf:ro']\n",
			[]string{`bindRoots: ["/srv/My.Shop"]`},
			nil,
		},
		"it is built on the machine": {
			"services:\n  web: {build: .}\n", nil, []string{"'docker push'"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := configrepo.Starter(t.Context(), configrepo.StarterOptions{
				Name: "shop", Compose: []byte(c.compose), Engine: "unix:///var/run/docker.sock", WorkingDir: "/srv/My.Shop",
			})
			if err != nil {
				t.Fatal(err)
			}
			env := string(s.Files["envs/production/environment.yaml"])
			for _, want := range c.want {
				if !strings.Contains(env, want) {
					t.Errorf("want %s in\n%s", want, env)
				}
			}
			notes := strings.Join(s.Notes, "\n")
			for _, want := range c.notes {
				if !strings.Contains(notes, want) {
					t.Errorf("want %s in\n%s", want, notes)
				}
			}
			if !strings.Contains(env, "project:") {
				t.Errorf("environment.yaml\n%s", env)
			}
		})
	}
}
