package configrepo

import (
	"github.com/stella-ops/stella/internal/strictyaml"
)

func targetsShape() strictyaml.Shape[[]Target] {
	return strictyaml.List(targetShape(), 1, 1000).Check(func(v strictyaml.Value, targets *[]Target) {
		names := make([]string, len(*targets))
		for i, t := range *targets {
			names[i] = t.Name
		}
		twice(v, names, func(item strictyaml.Value) strictyaml.Value { return item.At("name") })
	})
}

func targetShape() strictyaml.Shape[Target] {
	address := strictyaml.Text(strictyaml.TextRule{
		Pattern: addressRE, What: "is not an address", Want: "want a host name or an IP address, without a port", Most: 255,
	})
	return strictyaml.Object(Target{},
		strictyaml.Required("name", "The target's name, unique in the environment.", nameShape(), func(t *Target) *string { return &t.Name }),
		strictyaml.Optional("address", "What ${target.address} stands for in checks.", address, func(t *Target) *string { return &t.Address }),
		strictyaml.Optional("labels", "For deploy.placement.constraints in the Compose file: node.labels.NAME == VALUE.", labelsShape(),
			func(t *Target) *map[string]string { return &t.Labels }),
		strictyaml.Optional("variables", "Variables of this target, over the release's.", variablesShape(),
			func(t *Target) *map[string]string { return &t.Variables }),
		strictyaml.Optional("host", "A bare host without an engine.", hostShape(), func(t *Target) **HostTarget { return &t.Host }),
		strictyaml.Optional("docker", "A container engine.", dockerShape(), func(t *Target) **DockerTarget { return &t.Docker }),
	).Describe(strictyaml.Schema{"oneOf": []strictyaml.Schema{
		{"required": []string{"host"}}, {"required": []string{"docker"}},
	}}).Check(checkDriver)
}

func checkDriver(v strictyaml.Value, _ *Target) {
	switch host, docker := v.Has("host"), v.Has("docker"); {
	case host && docker:
		v.At("docker").Problem("is a second driver", "keep one of host and docker")
	case !host && !docker:
		v.Problem("has no driver", "want one of host and docker, such as host: {root: /srv/shop}")
	}
}

func hostShape() strictyaml.Shape[*HostTarget] {
	const want = "want an absolute path such as /srv/shop"
	root := absoluteShape(want).Check(func(v strictyaml.Value, s *string) {
		if *s == "/" {
			v.Problem("is the whole file system", want)
		}
	})
	host := strictyaml.Object(HostTarget{},
		strictyaml.Required("root", "The directory that the target owns.", root, func(h *HostTarget) *string { return &h.Root }))
	return strictyaml.Convert(host, pointer[HostTarget])
}

func pointer[T any](_ strictyaml.Value, t T) (*T, bool) { return &t, true }
