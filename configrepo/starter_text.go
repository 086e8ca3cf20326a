package configrepo

import (
	"fmt"
	"strconv"
	"strings"

	stella "github.com/stella-ops/stella"
)

// The port of the first environment of a starter; each further one has the
// next.
const starterPort = 8080

func starterProject(name string) string {
	return "# 'stella schema Project' prints every field there is.\n" +
		"apiVersion: stella/v1\nkind: Project\nname: " + yamlName(name) + "\n"
}

// yamlName returns a name as YAML reads it as text: "no" and "1e3" are not.
func yamlName(name string) string {
	switch lower := strings.ToLower(name); {
	case oldBoolean(name), lower == "true", lower == "false", lower == "null", name[0] >= '0' && name[0] <= '9':
		return strconv.Quote(name)
	}
	return name
}

// starterEnvironment is the i-th environment: one bare host, this machine.
func starterEnvironment(o StarterOptions, names []stella.EnvName, i int, app *starter) string {
	name, port := names[i], starterPort+i
	var b strings.Builder
	b.WriteString("# 'stella schema Environment' prints every field there is.\n" +
		"apiVersion: stella/v1\nkind: Environment\nname: " + yamlName(string(name)) + "\n")
	if name == "production" {
		b.WriteString("protected: true                   # confirm changes by typing the name; scripts pass --plan-hash\n")
	}
	b.WriteString("targets:\n- name: local\n")
	if app.own {
		fmt.Fprintf(&b, "  address: \"127.0.0.1:%d\"\n  variables: {HTTP_PORT: \"%d\"}\n", port, port)
	}
	if o.Engine != "" {
		b.WriteString(starterEngine(o, app))
	} else {
		fmt.Fprintf(&b, "  host: {root: /srv/%s/%s}\n", o.Name, name)
		b.WriteString("# docker: {host: unix:///var/run/docker.sock}   # a container engine, in place of host\n")
	}
	b.WriteString("rollout:\n  strategy: rolling\n  batch: 1\n  onFailure: rollback\n" +
		"verify:\n  timeout: 1m\n  stableFor: 5s\n")
	if app.own {
		b.WriteString("  checks:\n  - name: web answers\n    http: {url: \"http://${target.address}/healthz\"}\n")
	}
	if i > 0 {
		fmt.Fprintf(&b, "# drift:                           # what 'stella orch env config diff %s --with %s' is not to count\n"+
			"#   intended: [{with: %[2]s, resource: service/web, path: /environment/LOG_LEVEL, reason: says more}]\n", name, names[0])
	}
	return b.String()
}

func starterCompose() string {
	return `# The Compose Specification. What runs is the component of the service's name in
# release.yaml; ${…} is of its variables and the target's, and of nothing else.
services:
  web:
    environment:
      HTTP_PORT: "${HTTP_PORT}"
      LOG_LEVEL: "${LOG_LEVEL}"
    configs:
    - source: app
      target: /etc/app.conf
    restart: unless-stopped
    stop_grace_period: 10s
configs:
  app:
    file: ./config/app.conf
`
}

func starterRelease(name string) string {
	return `# Replace the image by one of yours, then run 'stella validate --fix': it pins the
# tag to its digest.
apiVersion: stella/v1
kind: Release
version: 1.0.0
components:
  web: registry.example.com/` + name + `/web:1.0.0@` + string(placeholderDigest) + `
variables:
  LOG_LEVEL: info
`
}

// starterReadme says what to do next.
func starterReadme(name string, names []stella.EnvName, app *starter) string {
	first := string(names[0])
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\nWhat runs where, as Stella deploys it.\n\n", name)
	b.WriteString("| File | Says |\n|---|---|\n" +
		"| `stella.yaml` | the project |\n" +
		"| `envs/NAME/environment.yaml` | how an environment is operated: targets, rollout, verification |\n" +
		"| `envs/NAME/app/release.yaml` | what is released: version, component → image with its digest |\n" +
		"| `envs/NAME/app/compose.yaml` | the app, in the Compose Specification |\n\n## Next\n\n")
	if app.own {
		fmt.Fprintf(&b, "1. Name your image in `envs/%s/app/release.yaml`.\n", first)
	} else {
		fmt.Fprintf(&b, "1. Look through `envs/%s/app/`: no secret belongs in it.\n", first)
	}
	b.WriteString("2. `stella validate --fix` checks everything and pins tags to digests.\n" +
		"3. `git init && git add . && git commit -m \"Start\"`, and push it to where Stella is to read it.\n")
	fmt.Fprintf(&b, "4. `stella plan %s` shows what would change, `stella reconcile %s` brings it there.\n", first, first)
	fmt.Fprintf(&b, "5. `stella rollback %s` goes back. `stella orch env status %s` says where things stand.\n", first, first)
	return b.String()
}
