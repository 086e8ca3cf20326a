// Package drifttest makes states to compare, for tests and benchmarks of whoever
// compares. Start with [Services]. Two calls share nothing, so that a comparison
// finds no shortcut that it would not have with what a target says. It is for
// tests only, and knows no rules: what differs is for package drift to say.
package drifttest

import (
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
)

// Services is a large environment: n services of ordinary size, with a secret
// each. Nothing is shared with another call's, strings included, as nothing is
// between what was rendered and what was observed. Of every hundred services the
// first changed differ from those of a call with none: in their image, their
// command or their environment.
func Services(n, changed int) stella.State {
	s := stella.State{Resources: make([]stella.Resource, n)}
	for i := range s.Resources {
		differs := ""
		if i%100 < changed {
			differs = []string{"image", "command", "environment"}[i/100%3]
		}
		s.Resources[i] = service(i, differs)
	}
	return s
}

func service(i int, differs string) stella.Resource {
	is := func(field, text, otherwise string) any {
		if field == differs {
			text = otherwise
		}
		return strings.Clone(text)
	}
	same := func(text string) any { return strings.Clone(text) }
	const image = "registry.example.com/shop/api:2.4.0@sha256:"
	return stella.Resource{
		ID: stella.ResourceID(fmt.Sprintf("service/s%06d", i)),
		Fields: map[string]any{
			"image":   is("image", image+strings.Repeat("4b", 32), image+strings.Repeat("4c", 32)),
			"command": []any{same("/app"), same("serve"), same("--port"), is("command", "8080", "8081")},
			"environment": map[string]any{
				"LOG_LEVEL": is("environment", "info", "debug"), "PORT": same("8080"), "DATABASE": same("db:5432"),
				"REGION": same("eu-west-1"), "PASSWORD": same("correct horse"),
			},
			"labels":  map[string]any{"team": same("shop"), "tier": same("backend")},
			"ports":   []any{map[string]any{"target": 8080.0, "published": same("8080"), "protocol": same("tcp"), "hostIP": same("")}},
			"restart": same("unless-stopped"),
			"user":    same("app"),
		},
		Secrets: []string{"/environment/PASSWORD"},
	}
}
