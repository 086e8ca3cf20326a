package configrepo

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/strictyaml"
)

var (
	contextRE        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]+$`) // as the engine's own command accepts it
	composeProjectRE = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	profileRE        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
)

func dockerShape() strictyaml.Shape[*DockerTarget] {
	const want = "want unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST"
	host := strictyaml.Text(strictyaml.TextRule{Want: want, Most: 255}).Check(func(v strictyaml.Value, s *string) {
		if what := badEngine(*s); what != "" {
			v.Problem(what, want)
		}
	})
	context := strictyaml.Text(strictyaml.TextRule{
		Pattern: contextRE, What: "is not the name of a context", Want: "want one that 'docker context ls' shows", Most: 128,
	})
	project := strictyaml.Text(strictyaml.TextRule{
		Pattern: composeProjectRE, What: "is not the name of a Compose project", Want: "want a-z, 0-9, _ and -, with a letter or digit first", Most: 127,
	})
	docker := strictyaml.Object(DockerTarget{},
		strictyaml.Optional("host", "The engine's address: unix://, tcp:// with TLS, or ssh://.", host, func(d *DockerTarget) *string { return &d.Host }),
		strictyaml.Optional("context", "A Docker context of whoever runs stella, in place of host.", context, func(d *DockerTarget) *string { return &d.Context }),
		strictyaml.Optional("tls", "The directory of ca.pem, cert.pem and key.pem, for tcp://.", absoluteShape("want an absolute path such as /etc/stella/tls/web-1"),
			func(d *DockerTarget) *string { return &d.TLS }),
		strictyaml.Optional("project", "The Compose project, with which names on the engine begin. Default: PROJECT-ENVIRONMENT.", project,
			func(d *DockerTarget) *string { return &d.Project }),
	).Describe(strictyaml.Schema{"oneOf": []strictyaml.Schema{
		{"required": []string{"host"}}, {"required": []string{"context"}},
	}}).Check(checkEngine)
	return strictyaml.Convert(docker, pointer[DockerTarget])
}

// checkEngine looks that there is one way to the engine, and a safe one.
func checkEngine(v strictyaml.Value, d *DockerTarget) {
	tcp := strings.HasPrefix(d.Host, "tcp://")
	switch host, context := v.Has("host"), v.Has("context"); {
	case host && context:
		v.At("context").Problem("is a second way to the engine", "keep one of host and context")
	case !host && !context:
		v.Problem("names no engine", "want one of host and context, such as host: unix:///var/run/docker.sock")
	case tcp && !v.Has("tls"):
		v.At("host").Problem("is without TLS: whoever reaches the port owns the machine", "add tls: DIRECTORY with ca.pem, cert.pem and key.pem, or use ssh://")
	case v.Has("tls") && !tcp && (d.Host != "" || context):
		v.At("tls").Problem("has no effect", "remove it: it is for tcp://")
	}
}

// badEngine says why an engine's address is refused. Its parts reach the ssh
// command: none may begin like an option.
func badEngine(s string) string {
	if what := checkURL(s, "unix", "tcp", "ssh"); what != "" {
		return what
	}
	scheme, rest, _ := strings.Cut(s, "://")
	if scheme == "unix" {
		if !strings.HasPrefix(rest, "/") || path.Clean(rest) != rest || rest == "/" {
			return "is not the path of a socket"
		}
		return ""
	}
	if strings.ContainsAny(rest, "/?#% \\'\"`$") {
		return "has more than a host"
	}
	user, host, has := strings.Cut(rest, "@")
	if !has {
		user, host = "", rest
	}
	switch {
	case host == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(user, "-") || strings.Contains(host, "@"):
		return "is not an engine's address"
	case scheme == "tcp" && (has || !isHostPort(host)):
		return "has no port"
	}
	return ""
}

// nameProjects fills in the Compose projects that are not named, and refuses two
// targets that would have the same names on one engine.
func nameProjects(v strictyaml.Value, p *Project, name stella.EnvName, e *Environment) {
	places := make([]string, len(e.Targets))
	for i, t := range e.Targets {
		if t.Docker == nil {
			continue
		}
		if t.Docker.Project == "" {
			t.Docker.Project = strings.TrimPrefix(p.Name+"-"+string(name), "-")
		}
		at := t.Docker.Host + t.Docker.Context
		if first := slices.Index(places, at+" "+t.Docker.Project); first >= 0 && at != "" {
			targets := v.At("targets")
			targets.Index(i).At("docker").Problem(
				"is the engine and the project of line "+strconv.Itoa(targets.Index(first).Line()), "name another project: for it")
		}
		places[i] = at + " " + t.Docker.Project
	}
}

func allowShape() strictyaml.Shape[[]Permission] {
	return strictyaml.List(strictyaml.Enum(permissions()...), 0, len(permissions())).Check(func(v strictyaml.Value, all *[]Permission) {
		texts := make([]string, len(*all))
		for i, one := range *all {
			texts[i] = string(one)
		}
		twice(v, texts, itself)
	})
}

func bindRootsShape() strictyaml.Shape[[]string] {
	const want = "want an absolute path such as /srv/shop"
	root := absoluteShape(want).Check(func(v strictyaml.Value, s *string) {
		if *s == "/" {
			v.Problem("is the whole file system", want)
		}
	})
	return strictyaml.List(root, 0, 50).Check(func(v strictyaml.Value, roots *[]string) { twice(v, *roots, itself) })
}

func profilesShape() strictyaml.Shape[[]string] {
	profile := strictyaml.Text(strictyaml.TextRule{
		Pattern: profileRE, What: "is not the name of a profile", Want: "want letters, digits and _ . -, with a letter or digit first", Most: 128,
	})
	return strictyaml.List(profile, 0, 100).Check(func(v strictyaml.Value, all *[]string) { twice(v, *all, itself) })
}
